"""One call of the network in fewstep and in onnxruntime, side by side: A B A B, one process each, the same number of threads.

    cargo build --release
    python3 -m venv venv && venv/bin/pip install onnxruntime==1.30.0
    venv/bin/python benches/onnx.py

Each network has random weights (`fewstep bench NET --write-model FILE`), and onnxruntime is given what `fewstep convert FILE
--to onnx` writes: the denoiser with its preconditioning. `tests/onnx.rs` is where both are held to the same answers. Inside a process
each call is made once before it is timed `--repeats` times, of which the median counts; the table has the median of all pairs, and
in brackets the least and the most. A ratio is our time over onnxruntime's in one pair.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
NETS = {"fashion-mnist": 8, "bench64": 8, "cifar10": 2, "lsun-bedroom": 1, "stable-diffusion": 1}
DEFAULT = "fashion-mnist,bench64,cifar10"


def theirs(file, batch, threads, repeats):
    """A process of onnxruntime's side: prints the seconds of each call."""
    import numpy
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    # 64 is the side of latents of these models; 77 are CLIP's tokens.
    known = {"batch": batch, "height": 64, "width": 64, "tokens": 77}
    random = numpy.random.default_rng(0)
    feeds = {}
    for value in session.get_inputs():
        shape = [known.get(size, size) for size in value.shape]
        feeds[value.name] = random.standard_normal(shape, dtype=numpy.float32)
    feeds["sigma"] = numpy.full(batch, 2.0, numpy.float32)
    if "timestamps" in feeds:
        feeds["timestamps"][:] = 4
    seconds = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        session.run(None, feeds)
        seconds.append(time.perf_counter() - started)
    print(json.dumps(seconds[1:]))


def output(command, threads):
    environment = {**os.environ, "FEWSTEP_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    return subprocess.run([str(part) for part in command], env=environment, check=True, stdout=subprocess.PIPE).stdout


def shown(values, unit=1.0, digits=1):
    median, least, most = (unit * value for value in (statistics.median(values), min(values), max(values)))
    return f"{median:.{digits}f} ({least:.{digits}f} to {most:.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fewstep", type=pathlib.Path, default=ROOT / "target/release/fewstep")
    parser.add_argument("--nets", default=DEFAULT, help=f"of {', '.join(NETS)}")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--theirs", help=argparse.SUPPRESS)
    parser.add_argument("--batch", type=int, help="images at once [default: 8; 2 of cifar10, 1 of latents]")
    args = parser.parse_args()
    if args.theirs:
        return theirs(args.theirs, args.batch, args.threads, args.repeats)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for net in args.nets.split(","):
            batch = args.batch or NETS[net]
            file, graph = (pathlib.Path(folder) / f"{net}{end}" for end in (".safetensors", ".onnx"))
            output([args.fewstep, "-q", "bench", net, "--batch", batch, "--write-model", file], args.threads)
            output([args.fewstep, "-q", "convert", file, graph, "--to", "onnx"], args.threads)
            ours = [args.fewstep, "-q", "bench", file, "--batch", batch, "--work", "forward", "--json"]
            ours += ["--repeats", args.repeats]
            other = [sys.executable, __file__, "--theirs", graph, "--batch", batch]
            other += ["--threads", args.threads, "--repeats", args.repeats]
            pairs = []
            for _ in range(args.pairs):
                first = json.loads(output(ours, args.threads))["work"][0]["seconds"]
                second = json.loads(output(other, args.threads))
                pairs.append((statistics.median(first), statistics.median(second)))
            columns = list(zip(*pairs))
            ratios = [a / b for a, b in pairs]
            rows.append([net, batch, *(shown(column, 1e3) for column in columns), shown(ratios, digits=2)])
            print(f"{net}: {pairs}", file=sys.stderr, flush=True)
            file.unlink()
    print(f"{args.threads} threads, {args.pairs} pairs\n")
    print("| net | batch | fewstep, ms | onnxruntime, ms | ratio |\n| --- | --- | --- | --- | --- |")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


if __name__ == "__main__":
    main()
