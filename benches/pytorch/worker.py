"""PyTorch's side: times one piece of work, tries variants of it, or compares results with those of fewstep.

compare.py calls this, each time in a process of its own; the answer is JSON on stdout.
"""

import argparse
import json
import statistics
import time

import torch
from safetensors.torch import load_file

from method import Distillation
from network import VARIANTS, load, read_json

# What `fewstep bench` does, whose recipe has no dropout either.
RECIPE = {
    "steps": 3,
    "substeps": 4,
    "sigma-min": 0.006,
    "sigma-max": 80.0,
    "analytic-first-step": True,
    "learning-rate": 5e-5,
}
SIGMA = 2.0

# Largest differences that count as the same. Each is a share of the largest value of its tensor, except where it says
# otherwise. Both sides compute in f32, with sums in another order (our convolutions use a minimal algorithm), so they
# differ by rounding, which grows with the depth of a network. The tolerances are some ten times what the three networks
# show, measured in the comment behind each; a wrong coefficient or a missing term is a hundred times larger.
TOLERANCES = {
    "forward": 2e-5,  # 3e-6
    "gradient": 2e-4,  # 3e-5; worst of all parameters
    "teacher": 2e-5,  # 1e-6; after 4, 8 and 12 calls
    "student": 5e-5,  # 3e-6; the last after one update
    "distances": 2e-5,  # 2e-6 of the distance
    # Adam's first update is the learning rate times the sign of the gradient, so that an entry whose gradient is nearly
    # zero may move the other way. Hence two means over all entries, of the difference as a share of the learning rate:
    # its size, and how often it is above a tenth.
    "weights, mean / rate": 1e-3,  # 2e-5
    "weights, share off": 1e-3,  # 5e-6
}


class Work:
    """One network at work on one batch."""

    def __init__(self, path, batch, teacher, student):
        self.path, self.batch = path, batch
        self.teacher_variant, self.student_variant = teacher, student
        config = read_json(path)["network"]
        self.shape = config["channels"], config["resolution"], config["resolution"]
        self.classes = config.get("classes", 0)
        self.x = torch.randn(batch, *self.shape) * SIGMA
        self.direction = torch.randn(batch, *self.shape)
        self.y = self.labels()
        self.network = self.distillation = None

    def labels(self):
        if not self.classes:
            return None
        return torch.eye(self.classes)[torch.randint(self.classes, [self.batch])]

    def forward(self):
        self.network = self.network or load(self.path, self.teacher_variant)[0]
        with torch.inference_mode():
            return self.network(self.x, SIGMA, self.y)

    def gradient(self):
        self.network = self.network or load(self.path, self.student_variant)[0]
        self.network.zero_grad(set_to_none=True)
        (self.network(self.x, SIGMA, self.y) * self.direction).sum().backward()

    def round(self):
        if not self.distillation:
            variants = self.teacher_variant, self.student_variant
            teacher, student = (load(self.path, variant)[0] for variant in variants)
            self.distillation = Distillation(teacher, student, RECIPE)
        noise = torch.randn(self.batch, *self.shape) * RECIPE["sigma-max"]
        return self.distillation.round(noise, self.labels())


def seconds(work, repeats):
    """Times after one that does not count."""
    times = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return times[1:]


def trial(args):
    """The variants' medians for a forward pass and for forward and backward."""
    medians = {"forward": {}, "gradient": {}}
    for name, found in medians.items():
        for variant in VARIANTS:
            work = Work(args.model, args.batch, variant, variant)
            found[variant] = statistics.median(seconds(getattr(work, name), args.repeats))
    return medians


def distance(ours, theirs):
    """The largest difference as a share of the largest value."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-30)).item()


def without_key_biases(name, values):
    """Biases of keys move all scores of a query alike and have no gradient in theory: only rounding."""
    if not name.endswith("qkv.bias"):
        return values.flatten()
    return values[torch.arange(len(values)) % 3 != 1]


def check(args):
    """Compares with the file of `fewstep bench --write-results`."""
    expected, how = load_file(args.results), read_json(args.results)
    recipe, sigma = how["recipe"], how["sigma"]
    for key, value in RECIPE.items():
        assert recipe[key] == value, f"fewstep's round has {key} = {recipe[key]}, this one {value}"
    assert sigma == SIGMA
    labels = expected.get("labels")
    found = dict.fromkeys(TOLERANCES, 0.0)

    def worst(kind, value):
        found[kind] = max(found[kind], value)

    teacher = load(args.model, args.teacher)[0]
    student = load(args.model, args.student)[0]
    with torch.inference_mode():
        denoised = teacher(expected["forward/noisy"], sigma, labels)
    worst("forward", distance(expected["forward/denoised"], denoised))
    denoised = student(expected["forward/noisy"], sigma, labels)
    (denoised * expected["gradient/direction"]).sum().backward()
    parameters = dict(student.named_parameters())
    for name, parameter in parameters.items():
        if parameter.grad is None:
            assert f"gradient/{name}" not in expected, name
            continue
        pair = expected[f"gradient/{name}"], parameter.grad
        worst("gradient", distance(*(without_key_biases(name, side) for side in pair)))

    states = []
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    distillation = Distillation(teacher, student, recipe)
    noise = expected["round/teacher.0"]
    distances = distillation.round(noise, labels, lambda *state: states.append(state))
    assert len(states) == recipe["steps"]
    for i, (at, target) in enumerate(states, 1):
        worst("teacher", distance(expected[f"round/teacher.{i}"], target))
        worst("student", distance(expected[f"round/student.{i}"], at))
    for ours, theirs in zip(expected["round/distances"].tolist(), distances, strict=True):
        worst("distances", abs(ours - theirs) / abs(theirs))
    rate, total, moved = recipe["learning-rate"], 0, 0
    sums = {"weights, mean / rate": 0.0, "weights, share off": 0.0}
    for name, parameter in parameters.items():
        ours = without_key_biases(name, expected[f"after/{name}"])
        theirs = without_key_biases(name, parameter.detach())
        off = (ours - theirs).abs() / rate
        sums["weights, mean / rate"] += off.sum(dtype=torch.float64).item()
        sums["weights, share off"] += (off > 0.1).sum().item()
        total += off.numel()
        moved += (theirs != without_key_biases(name, before[name])).sum().item()
    # Otherwise nothing has been compared.
    assert moved > 0.9 * total, f"only {moved} of {total} weights moved"
    for kind, value in sums.items():
        worst(kind, value / total)
    return {
        kind: {"difference": value, "tolerance": TOLERANCES[kind]} for kind, value in found.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("verb", choices=["time", "trial", "check"])
    parser.add_argument("--model", required=True)
    parser.add_argument("--results", help="check: a file of fewstep bench --write-results")
    parser.add_argument("--work", choices=["forward", "gradient", "round"])
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--teacher", choices=VARIANTS, default=VARIANTS[0])
    parser.add_argument("--student", choices=VARIANTS, default=VARIANTS[0])
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    if args.verb == "time":
        work = Work(args.model, args.batch, args.teacher, args.student)
        answer = {"seconds": seconds(getattr(work, args.work), args.repeats)}
    else:
        answer = {"trial": trial, "check": check}[args.verb](args)
    print(json.dumps({"torch": torch.__version__, **answer}))


if __name__ == "__main__":
    main()
