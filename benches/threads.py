#!/usr/bin/env python3
"""How much two threads gain over one, and how much this machine lets anything gain.

    cargo build --release
    python3 benches/threads.py                        # fashion-mnist and bench64
    python3 benches/threads.py --nets cifar10 --work forward --pairs 3

Three runs of `fewstep bench` in turn, several times: one thread; two threads; and two processes at once with one thread each,
which share nothing but the machine. The last is the most that two threads could give here: where it is well below 2, it is
memory, cache or clock that both need, or somebody else's work on the same processor.
"""

import argparse
import json
import statistics
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def start(options, net, threads):
    command = [options.fewstep, "bench", net, "--json", "--quiet", "--threads", str(threads)]
    command += ["--work", options.work, "--repeats", str(options.repeats)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def times(process):
    out, _ = process.communicate()
    if process.returncode:
        raise SystemExit(f"fewstep bench failed with status {process.returncode}")
    return {work["work"]: statistics.median(work["seconds"]) for work in json.loads(out)["work"]}


def shown(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nets", default="fashion-mnist,bench64")
    parser.add_argument("--work", default="forward,gradient,round")
    parser.add_argument("--pairs", type=int, default=5, help="times that all three are run")
    parser.add_argument("--repeats", type=int, default=5, help="times inside a process, of which the median counts")
    parser.add_argument("--fewstep", default=str(ROOT / "target/release/fewstep"))
    options = parser.parse_args()
    print("| net | work | two threads, times as fast as one | two processes, times the work of one |")
    print("| --- | --- | --- | --- |")
    for net in options.nets.split(","):
        gains, limits = {}, {}
        for _ in range(options.pairs):
            one = times(start(options, net, 1))
            two = times(start(options, net, 2))
            both = [times(process) for process in [start(options, net, 1), start(options, net, 1)]]
            for work, alone in one.items():
                gains.setdefault(work, []).append(alone / two[work])
                limits.setdefault(work, []).append(sum(alone / each[work] for each in both))
        for work in gains:
            print(f"| `{net}` | {work} | **{shown(gains[work])}** | {shown(limits[work])} |", flush=True)


if __name__ == "__main__":
    main()
