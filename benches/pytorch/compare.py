"""fewstep against PyTorch on this machine's CPU, side by side: A B A B, one process each, the same number of threads.

    cargo build --release
    python3 -m venv venv && venv/bin/pip install -r benches/pytorch/requirements.txt
    venv/bin/python benches/pytorch/compare.py

First it is checked that both compute the same from the same weights; a difference above a tolerance ends the run with
status 1. Then each piece of work is timed in pairs of processes. See README.md beside this file.
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

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
NETS = {"fashion-mnist": 8, "bench64": 8, "cifar10": 2}
WORK = ["forward", "gradient", "round", "cold"]
NAMES = {
    "forward": "forward",
    "gradient": "forward + backward",
    "round": "round of distillation",
    "cold": "images, cold process",
}


def run(command, threads):
    """Runs a command; returns what it printed, its wall-clock seconds and its peak memory in bytes."""
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": str(threads),
        "MKL_NUM_THREADS": str(threads),
        "FEWSTEP_THREADS": str(threads),
    }
    started = time.perf_counter()
    command = [str(part) for part in command]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
    text = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"status {process.returncode}: {' '.join(command)}")
    # Linux counts kilobytes, macOS bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return text, seconds, usage.ru_maxrss * unit


class Net:
    """A network, its file, and the variants of PyTorch's side that are fastest here."""

    def __init__(self, name, args, folder):
        self.name, self.args, self.folder = name, args, folder
        self.batch = args.batch or NETS[name]
        self.file = folder / f"{name}.safetensors"
        self.results = folder / f"{name}-results.safetensors"
        self.variants = {"forward": "contiguous", "gradient": "contiguous"}
        self.ours("--write-model", self.file, model=name)

    def ours(self, *arguments, model=None):
        command = [self.args.fewstep, "-q", "bench", model or self.file, "--batch", self.batch]
        return run([*command, *arguments], self.args.threads)

    def theirs(self, verb, *arguments):
        command = [sys.executable, HERE / "worker.py", verb, "--model", self.file]
        command += ["--batch", self.batch, "--threads", self.args.threads]
        command += ["--teacher", self.variants["forward"], "--student", self.variants["gradient"]]
        return run([*command, *arguments], self.args.threads)

    def try_variants(self):
        text, *_ = self.theirs("trial", "--repeats", self.args.repeats)
        found = json.loads(text)
        for work in self.variants:
            times = found[work]
            self.variants[work] = min(times, key=times.get)
            listed = ", ".join(f"{name} {1e3 * t:.0f} ms" for name, t in times.items())
            print(f"{self.name}, PyTorch {found['torch']}, {NAMES[work]}: {listed}", flush=True)

    def check(self):
        """Whether both compute the same."""
        self.ours("--write-results", self.results)
        text, *_ = self.theirs("check", "--results", self.results)
        self.results.unlink()
        rows = json.loads(text)
        rows.pop("torch")
        fine = True
        print(f"\n{self.name}, batch {self.batch}: largest differences between fewstep and PyTorch")
        for kind, row in rows.items():
            passed = row["difference"] <= row["tolerance"]
            fine = fine and passed
            verdict = "" if passed else "  TOO LARGE"
            print(f"  {kind:<24}{row['difference']:9.1e}  tolerance {row['tolerance']:.0e}{verdict}")
        print(flush=True)
        return fine

    def measure(self, work):
        """One pair: (seconds, peak memory) of ours and of theirs."""
        if work == "cold":
            return self.cold()
        arguments = ["--work", work, "--repeats", self.args.repeats]
        text, _, our_memory = self.ours(*arguments, "--json")
        ours = statistics.median(json.loads(text)["work"][0]["seconds"])
        text, _, their_memory = self.theirs("time", *arguments)
        theirs = statistics.median(json.loads(text)["seconds"])
        return {"ours": ours, "theirs": theirs, "memory": (our_memory, their_memory)}

    def cold(self):
        """From the start of a process to PNG files, two evaluations an image. Both draw PyTorch's noise."""
        images = self.args.images
        out = [self.folder / f"{self.name}-{side}" for side in ("ours", "theirs")]
        command = [self.args.fewstep, "-q", "sample", self.file, "--seeds", f"0-{images - 1}"]
        command += ["--steps", 3, "--solver", "euler", "--analytic-first-step", "true"]
        # Pictures of an earlier time would not be drawn again.
        command += ["--noise", "torch-cpu", "--batch", 32, "--overwrite", "--out", out[0]]
        _, ours, our_memory = run(command, self.args.threads)
        command = [sys.executable, HERE / "sample.py", "--model", self.file, "--images", images]
        command += ["--variant", self.variants["forward"], "--batch", 32]
        command += ["--threads", self.args.threads, "--out", out[1]]
        text, theirs, their_memory = run(command, self.args.threads)
        self.same_pictures(*out)
        return {
            "ours": ours,
            "theirs": theirs,
            "import": float(text),
            "memory": (our_memory, their_memory),
        }

    def same_pictures(self, ours, theirs):
        from PIL import Image

        worst, count = 0, 0
        for path in sorted(theirs.glob("*.png")):
            pair = [Image.open(folder / path.name).tobytes() for folder in (ours, theirs)]
            assert len(pair[0]) == len(pair[1]), path
            worst = max(worst, *(abs(a - b) for a, b in zip(*pair)))
            count += 1
        assert count == self.args.images
        if worst > 1:
            raise SystemExit(f"{self.name}: pictures differ by up to {worst} of 255, more than rounding's 1")


def spread(values, form):
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{form(middle)} ({form(least)}-{form(most)})"


def milliseconds(seconds):
    return f"{1e3 * seconds:.0f}" if seconds >= 0.1 else f"{1e3 * seconds:.1f}"


def row(net, work, pairs):
    ratios = [pair["ours"] / pair["theirs"] for pair in pairs]
    ours, theirs = ([pair[side] for pair in pairs] for side in ("ours", "theirs"))
    memory = [max(pair["memory"][side] for pair in pairs) / 1e6 for side in (0, 1)]
    name = f"{net.args.images} {NAMES[work]}" if work == "cold" else NAMES[work]
    batch = 32 if work == "cold" else net.batch
    return (
        f"| {net.name} | {name} | {batch} | {spread(ours, milliseconds)} | {spread(theirs, milliseconds)} "
        f"| **{spread(ratios, '{:.2f}'.format)}** | {memory[0]:.0f} | {memory[1]:.0f} |"
    )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fewstep", default=ROOT / "target/release/fewstep", help="the program")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--nets", default=",".join(NETS), help="default: %(default)s")
    parser.add_argument("--work", default=",".join(WORK), help="default: %(default)s")
    parser.add_argument("--batch", type=int, help="default: 8, cifar10: 2")
    parser.add_argument("--pairs", type=int, default=5, help="pairs of processes [%(default)s]")
    parser.add_argument("--repeats", type=int, default=5, help="timings in each process [%(default)s]")
    parser.add_argument("--images", type=int, default=64, help="of the cold process [%(default)s]")
    parser.add_argument("--json", type=pathlib.Path, help="write all times to this file")
    parser.add_argument("--only-check", action="store_true", help="compare results and time nothing")
    args = parser.parse_args()
    nets, works = args.nets.split(","), args.work.split(",")
    for given, known in [(nets, list(NETS)), (works, WORK)]:
        unknown = [name for name in given if name not in known]
        if unknown:
            parser.error(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
    if not pathlib.Path(args.fewstep).exists():
        parser.error(f"{args.fewstep} is not there: cargo build --release, or --fewstep PATH")
    rows, record, failed = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in nets:
            net = Net(name, args, pathlib.Path(folder))
            if not args.only_check:
                net.try_variants()
            if not net.check():
                failed.append(name)
            if args.only_check:
                continue
            for work in works:
                pairs = [net.measure(work) for _ in range(args.pairs)]
                rows.append(row(net, work, pairs))
                record.append({"net": name, "work": work, "batch": net.batch, "pairs": pairs})
                print(rows[-1], flush=True)
                if work == "cold":
                    part = spread([pair["import"] for pair in pairs], "{:.2f}".format)
                    print(f"  of PyTorch's time, s to import it: {part}", flush=True)
    if rows:
        threads = f"{args.threads} thread{'s' * (args.threads > 1)}"
        print(f"\nMedian (least-most) of {args.pairs} pairs of processes, {threads}; memory: the largest of the process.\n")
        print("| net | work | batch | fewstep, ms | PyTorch, ms | ratio | fewstep, MB | PyTorch, MB |")
        print("| --- | --- | --- | --- | --- | --- | --- | --- |")
        print("\n".join(rows))
    if args.json:
        args.json.write_text(json.dumps({"threads": args.threads, "rows": record}, indent=1))
    if failed:
        raise SystemExit(f"not the same results: {', '.join(failed)}")


if __name__ == "__main__":
    main()
