"""PyTorch's side on a GPU: one network at one batch, in a type of numbers, timed; the answer is JSON on stdout.

run.py calls this, each time in a process of its own. Networks and method are those of the comparison on the CPU
(../pytorch, in the packed folder beside this file); weights stay f32 and `torch.autocast` computes in less, as AMP does.
"""

import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(folder) for folder in (HERE / "pytorch", HERE.parent / "pytorch") if folder.exists()]

import torch  # noqa: E402

from method import Distillation  # noqa: E402
from network import load, read_json  # noqa: E402
from worker import RECIPE, SIGMA  # noqa: E402

TYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


class Side:
    """Everything on one device, in channels-last with PyTorch's own attention."""

    def __init__(self, args):
        self.args = args
        self.device = torch.device(args.device)
        sizes = read_json(args.model)["network"]
        self.shape = sizes["channels"], sizes["resolution"], sizes["resolution"]
        self.classes = sizes.get("classes", 0)
        self.teacher, self.student = self.network(), None
        self.distillation = None

    def network(self):
        network = load(self.args.model, "channels-last+sdpa")[0].to(self.device)
        return torch.compile(network) if self.args.compile else network

    def autocast(self):
        if self.args.type == "f32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=TYPES[self.args.type])

    def noise(self, factor):
        images = torch.randn(self.args.batch, *self.shape, device=self.device) * factor
        return images.to(memory_format=torch.channels_last)

    def labels(self):
        if not self.classes:
            return None
        drawn = torch.randint(self.classes, [self.args.batch], device=self.device)
        return torch.eye(self.classes, device=self.device)[drawn]

    def forward(self):
        with torch.inference_mode(), self.autocast():
            return self.teacher(self.noise(SIGMA), SIGMA, self.labels())

    def gradient(self):
        self.student = self.student or self.network()
        self.student.zero_grad(set_to_none=True)
        with self.autocast():
            answer = self.student(self.noise(SIGMA), SIGMA, self.labels())
        (answer.float() * self.noise(1)).sum().backward()

    def round(self):
        if not self.distillation:
            self.student = self.student or self.network()
            self.distillation = Distillation(self.teacher, self.student, RECIPE)
        with self.autocast():
            self.distillation.round(self.noise(RECIPE["sigma-max"]), self.labels())

    def wait(self):
        if self.device.type == "cuda":
            torch.cuda.synchronize()

    def seconds(self, work):
        """The median; what compiles is not counted."""
        times = []
        for _ in range(self.args.repeats + 2):
            self.wait()
            started = time.perf_counter()
            work()
            self.wait()
            times.append(time.perf_counter() - started)
        return statistics.median(times[2:])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--type", choices=TYPES, default="f32")
    parser.add_argument("--work", default="forward,gradient,round")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    # As on our side: products of f32 in full, unless a smaller type was asked for.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True
    side = Side(args)
    answer = {"torch": torch.__version__}
    answer["seconds"] = {work: side.seconds(getattr(side, work)) for work in args.work.split(",")}
    if side.device.type == "cuda":
        answer["peak-memory"] = torch.cuda.max_memory_allocated()
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
