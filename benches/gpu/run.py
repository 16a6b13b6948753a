"""Tries fewstep on a GPU, cheapest first, in at most eight minutes; prints a table as it goes.

    python3 run.py                 # the first card, cuda:0
    python3 run.py cuda:1
    python3 run.py cpu --small     # how it is tried without a card

In a folder that `bash check-gpu.sh cuda` has packed. It needs the driver, NVRTC (of the CUDA toolkit, or of PyTorch's wheel)
and, for what is compared with it, PyTorch; no cargo and no network. Each line also goes to results.md, so that nothing is lost
where the time ends. Exit status: 0 if every step that ran did what it should.
"""

import argparse
import filecmp
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
SECONDS = 8 * 60


class Failed(Exception):
    """A step that did not do what it should, in a line."""


class Bench:
    def __init__(self, args):
        self.args = args
        self.started = time.monotonic()
        self.failed = []
        self.work = args.out
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.lines = open(self.work / "results.md", "w", encoding="utf-8")
        self.say("| step | result | seconds |\n| --- | --- | --- |")

    def say(self, text):
        print(text, flush=True)
        print(text, file=self.lines, flush=True)

    def left(self):
        return self.args.seconds - (time.monotonic() - self.started)

    def step(self, name, work, least=5):
        """Does a step if there is time for it, and says what came of it."""
        if self.left() < least:
            self.say(f"| {name} | not tried: no time left | |")
            return None
        started = time.monotonic()
        answer = None
        try:
            answer = work()
            text = answer if isinstance(answer, str) else answer[0]
        except Failed as failure:
            text = f"**failed**: {failure}"
            self.failed.append(name)
        except subprocess.TimeoutExpired:
            text = "stopped: no time left"
        self.say(f"| {name} | {text} | {time.monotonic() - started:.1f} |")
        return answer

    def run(self, *command, okay=(0,), limit=None):
        """What a command prints; it ends when the time does."""
        command = [str(part) for part in command]
        limit = min(self.left(), limit or self.left())
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=max(limit, 1), cwd=self.work, env=environment()
        )
        if done.returncode not in okay:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing said").splitlines()[-1]
            raise Failed(f"status {done.returncode}: {last[:300]}".replace("|", "/"))
        return done.stdout

    def fewstep(self, *arguments, device=None, okay=(0,), limit=None):
        verb, *rest = arguments
        return self.run(
            self.args.fewstep, "--quiet", verb, *rest, "--device", device or self.args.device, okay=okay, limit=limit
        )


def environment():
    """PyTorch's wheels bring their own NVRTC, which CubeCL finds if the loader does."""
    found = {**os.environ}
    try:
        import nvidia.cuda_nvrtc as nvrtc

        folder = pathlib.Path(next(iter(nvrtc.__path__))) / "lib"
        found["LD_LIBRARY_PATH"] = os.pathsep.join(filter(None, [found.get("LD_LIBRARY_PATH"), str(folder)]))
    except ImportError:
        pass
    return found


def milliseconds(seconds):
    return f"{seconds * 1e3:.3g} ms"


def verify(bench, *paths, device=None):
    """The last line; a case that fails names itself."""
    text = bench.fewstep("verify", *paths, device=device, okay=(0, 1, 3)).strip().splitlines()
    wrong = [line.split()[0] for line in text if "  FAIL" in line]
    if wrong:
        raise Failed(f"{text[-1]}; {', '.join(sorted(set(wrong))[:8])}")
    return text[-1]


def determinism(bench):
    files = [bench.work / f"twice-{i}.safetensors" for i in (1, 2)]
    for file in files:
        bench.fewstep("bench", "fashion-mnist", "--batch", 16, "--write-results", file)
    same = filecmp.cmp(*files, shallow=False)
    return "the same bytes" if same else "not the same bytes: sums are in another order each time"


def ours(bench, net, batch, number, device=None):
    text = bench.fewstep(
        "bench", net, "--batch", batch, "--precision", number, "--repeats", bench.args.repeats, "--json", device=device
    )
    found = json.loads(text)
    times = {row["work"]: sorted(row["seconds"]) for row in found["work"]}
    return {work: all[len(all) // 2] for work, all in times.items()}


def theirs(bench, model, batch, number, compiled):
    device = "cuda" if bench.args.device.startswith("cuda") else "cpu"
    command = [sys.executable, HERE / "amp.py", "--model", model, "--batch", batch, "--type", number]
    command += ["--device", device, "--repeats", bench.args.repeats, *(["--compile"] if compiled else [])]
    return json.loads(bench.run(*command).splitlines()[-1])


def compare(bench, net, batch, number):
    """Both sides in turn; a ratio is our time over PyTorch's."""
    model = bench.work / f"{net}.safetensors"
    if not model.exists():
        bench.fewstep("bench", net, "--write-model", model, device="cpu")
    mine = bench.step(
        f"{net}, batch {batch}, {number}",
        lambda: said({work: t for work, t in ours(bench, model, batch, number).items()}),
        20,
    )
    for compiled in (False, True):
        if not bench.args.pytorch or (compiled and (bench.args.small or bench.left() < 120)):
            continue

        def other():
            found = theirs(bench, model, batch, number, compiled)
            times = found["seconds"]
            ratios = [f"{work} {mine[1][work] / times[work]:.2f}" for work in times if mine and work in mine[1]]
            memory = f"; {found['peak-memory'] / 1e6:.0f} MB" if "peak-memory" in found else ""
            return said(times)[0] + memory + (f"; ours over it: {', '.join(ratios)}" if ratios else "")

        how = "torch.compile" if compiled else "AMP, channels-last"
        bench.step(f"... PyTorch, {how}", other, 20)


def said(times):
    return ", ".join(f"{work} {milliseconds(t)}" for work, t in times.items()), times


def launches(bench, net, batch):
    text = bench.fewstep("bench", net, "--batch", batch, "--work", "forward,round", "--launches")
    (bench.work / f"launches-{net}.txt").write_text(text)
    lines = text.splitlines()
    return "; ".join(" ".join(line.split()) for line in lines if " launches of " in line or " tensors sent" in line)


def memory(bench):
    if not shutil.which("nvidia-smi"):
        return "no nvidia-smi"
    text = bench.run("nvidia-smi", "--query-gpu=name,driver_version,memory.used,memory.total", "--format=csv,noheader")
    return text.strip().splitlines()[0]


def trained(bench, seconds):
    """Trains a teacher for a while, stops it as Ctrl-C does, goes on, and says how far it came."""
    command = [bench.args.fewstep, "--quiet", "train", "fashion-mnist-teacher", "--data", bench.args.data]
    command += ["--device", bench.args.device, "--out", "teacher", "--tick", "5s", "--resume", "--set", "batch=128"]
    command = [str(part) for part in command]
    for _ in range(2):
        run = subprocess.Popen(
            command, cwd=bench.work, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        try:
            run.wait(timeout=min(seconds / 2, max(bench.left() - 10, 1)))
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)
        errors = run.communicate()[1].strip()
        if run.returncode not in (0, 130):
            raise Failed(f"status {run.returncode}: {(errors or 'nothing said').splitlines()[-1][:300]}")
    lines = (bench.work / "teacher" / "metrics.jsonl").read_text().splitlines()
    last = json.loads(lines[-1])
    return f"{last['images']} images, stopped and resumed; {last['rate']:.0f}/s, loss {last['loss']:.3f}"


def demo(bench):
    small = ["--trajectories", 64, "--images", 64] if bench.args.small else []
    text = bench.fewstep("demo", "--out", "demo", *small)
    return " ".join(text.strip().splitlines()[-1].split()).replace("|", "/")


def stopped(bench):
    """A distillation that is stopped and resumed gives the bytes of one that is not."""
    recipe = ["distill", "demo", "--teacher", HERE / "fashion-mnist-teacher.safetensors", "--set", "trajectories=512"]
    bench.fewstep(*recipe, "--out", "whole")
    bench.fewstep(*recipe, "--out", "parts", "--stop-after", 2)
    bench.fewstep(*recipe, "--out", "parts", "--resume")
    files = [bench.work / run / "student.safetensors" for run in ("whole", "parts")]
    return "the same bytes" if filecmp.cmp(*files, shallow=False) else "not the same bytes"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("device", nargs="?", default="cuda:0")
    parser.add_argument("--small", action="store_true", help="small sizes, for a processor in place of the card")
    parser.add_argument("--seconds", type=int, default=SECONDS, help="when to stop [%(default)s]")
    parser.add_argument("--fewstep", type=pathlib.Path, default=HERE / "fewstep")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("results"))
    args = parser.parse_args()
    args.out, args.fewstep = args.out.resolve(), args.fewstep.resolve()
    args.data = HERE / "data"
    args.repeats = 1 if args.small else 5
    bench = Bench(args)
    try:
        import torch  # noqa: F401

        args.pytorch = True
    except ImportError:
        args.pytorch = False
        bench.say("| PyTorch | not installed: nothing is compared with it | |")
    devices = bench.step("devices", lambda: "; ".join(bench.run(args.fewstep, "devices").strip().splitlines())) or ""
    bench.step("card", lambda: memory(bench))
    tiny = HERE / "golden" / "network_song_tiny.safetensors"
    bench.step("verify, the smallest network", lambda: verify(bench, tiny))
    bench.step("verify, the bundled cases", lambda: verify(bench), 10)
    bench.step("a round twice", lambda: determinism(bench), 10)
    bench.step("a distillation, stopped and resumed", lambda: stopped(bench), 10)
    nets = [("fashion-mnist", 8)] if args.small else [("bench64", 128), ("cifar10", 128)]
    for net, batch in nets:
        for number in ["f32", "bf16"] if args.small else ["f32", "bf16", "f16"]:
            compare(bench, net, batch, number)
        bench.step(f"{net}: kernels", lambda: launches(bench, net, batch), 20)
    bench.step("memory after", lambda: memory(bench))
    bench.step("demo", lambda: demo(bench), 20)
    if args.data.exists():
        bench.step("training a teacher", lambda: trained(bench, 20 if args.small else 60), 30)
    if "vulkan:0" in devices and not args.device.startswith("vulkan"):
        bench.step("vulkan: the bundled cases", lambda: verify(bench, device="vulkan:0"), 20)
        bench.step("vulkan: bench64", lambda: said(ours(bench, "bench64", 128, "f32", "vulkan:0")), 20)
    for folder in sorted(HERE.glob("golden*")):
        bench.step(f"verify {folder.name}", lambda: verify(bench, folder), 20)
    bench.say(f"\n{bench.args.device}: {time.monotonic() - bench.started:.0f} s; failed: {', '.join(bench.failed) or 'nothing'}")
    return int(bool(bench.failed))


if __name__ == "__main__":
    sys.exit(main())
