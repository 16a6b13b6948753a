"""Distils small models of Stable Diffusion, writes them with `convert --to diffusers`, samples from the folders with the plain
pipeline in the default call, and compares the pictures with those of `fewstep sample` for the same noise.

    python folder.py FEWSTEP [KIND]        KIND: first, second, xl; all if not given

Exit status: 0 all is well, 1 something differs, 77 diffusers is not installed.
"""

import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers  # noqa: F401, the pipelines need it
    from diffusers import DiffusionPipeline
    from PIL import Image
    from safetensors import safe_open
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)

import diffusers
import tiny

diffusers.utils.logging.disable_progress_bar()
HERE = pathlib.Path(__file__).resolve()

# Mean absolute difference of two pictures, in grey levels of 0 to 255. f32 on both sides: what is left are roundings to u8.
ALLOWED = 0.05
# And of half precision on one side, the weights and all that is between.
ALLOWED_HALF = 1.0
# Of times that are computed from levels once more.
ALLOWED_LEVELS = 0.1
# A wrong scheduler must be told from this.
WRONG = 1.0

RECIPE = """
kind = "distillation"
seed = 3
trajectories = 6
batch = 3
steps = {steps}
substeps = 2
spacing = {{ kind = "discrete", rho = 1.0, table = {{ beta-start = 0.00085, beta-end = 0.012 }} }}
sigma-max = 14.614641229333609
sigma-min = 0.1
teacher-solver = {{ kind = "dpm-solver-pp", order = 2, prediction = "noise" }}
guidance = {guidance}
learning-rate = 1e-3
"""
PROMPT, SEEDS = "a cat", [0, 1, 2, 3]


class World:
    """A folder in which the program runs."""

    def __init__(self, program, folder):
        self.program, self.folder, self.worst = program, pathlib.Path(folder), {}

    def run(self, arguments, more=()):
        command = [self.program, *arguments.split(), *more]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{arguments}: {done.stderr}"
        return done.stderr

    def ours(self, student, guidance, more=""):
        out = f"ours-{len(list(self.folder.glob('ours-*')))}"
        self.run(f"sample {student} --seeds 0-3 --noise torch-cpu --guidance {guidance} --override --out {out} {more}",
                 ["--prompt", PROMPT])
        return [numpy.asarray(Image.open(self.folder / out / f"{seed:06}.png").convert("RGB")) for seed in SEEDS]

    def compare(self, what, theirs, ours, allowed):
        off = [numpy.abs(a.astype(float) - b).mean() for a, b in zip(theirs, ours)]
        print(f"{what}: off by {max(off):.4f} grey levels, allowed {allowed}")
        assert max(off) <= allowed, what
        return max(off)


def noise():
    """What `--noise torch-cpu` draws, for each seed alone."""
    return torch.cat([torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in SEEDS])


def load(folder, **how):
    return DiffusionPipeline.from_pretrained(folder, **how)


def theirs(pipe, calls, guidance, dtype=torch.float32):
    pipe.set_progress_bar_config(disable=True)
    pictures = []
    for latents in noise().split(1):
        # The default call but for the noise: the same for both.
        made = pipe(PROMPT, num_inference_steps=calls, guidance_scale=guidance, latents=latents.to(dtype), output_type="pil")
        pictures.append(numpy.asarray(made.images[0].convert("RGB")))
    return pictures


def types(folder):
    """All types of numbers in a folder's files of weights."""
    found = set()
    for path in folder.rglob("*.safetensors"):
        with safe_open(path, "pt") as file:
            found |= {file.get_tensor(name).dtype for name in file.keys()}
    return {dtype for dtype in found if dtype.is_floating_point}


def scheduler_of_package():
    """Our scheduler under the name by which a folder asks for it, whether the package is installed or not."""
    name = "fewstep.scheduler"
    path = HERE.parents[2] / "python" / "fewstep" / "scheduler.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module.FewStepScheduler


def one_file(kind, world, run, calls, guided):
    """The same student as a single file, read by diffusers without a network and by us."""
    student = f"{run}/student.safetensors"
    said = world.run(f"convert {student} one.safetensors --to single-file --dtype f32")
    assert "sigmas" in said and "Euler" in said, said
    ours = world.ours(student, guided)
    back = world.ours("one.safetensors", guided, "--vocabulary base/tokenizer")
    assert all((a == b).all() for a, b in zip(back, ours)), "the file is another model"
    with safe_open(world.folder / "one.safetensors", "pt") as file:
        texts = file.metadata()
    levels = [float(level) for level in texts["fewstep.sigmas"].split(", ")]
    assert len(levels) == calls + 2 and levels[-1] == 0.1, levels
    # Settings are those of a folder, which is not asked for weights; then as any program would: Euler along these levels.
    settings = world.folder / "settings"
    shutil.copytree(world.folder / "base", settings, ignore=shutil.ignore_patterns("*.safetensors", "*.bin"))
    pipeline = {"xl": diffusers.StableDiffusionXLPipeline}.get(kind, diffusers.StableDiffusionPipeline)
    pipe = pipeline.from_single_file(world.folder / "one.safetensors", config=str(settings), local_files_only=True)
    schedule = FewStepSchedule(levels, pipe.scheduler.config)
    pipe.scheduler = scheduler_of_package()(schedules={calls: schedule}, prediction_type=pipe.scheduler.config.prediction_type)
    world.compare(f"{kind}, one file of {calls} calls", theirs(pipe, calls, guided), ours, ALLOWED_LEVELS)
    world.run(f"convert {student} half.safetensors --to single-file")
    assert 0.45 < (world.folder / "half.safetensors").stat().st_size / (world.folder / "one.safetensors").stat().st_size < 0.6


def FewStepSchedule(levels, config):
    """The schedule of a student with a free first step, from its levels alone."""
    betas = numpy.linspace(config.beta_start**0.5, config.beta_end**0.5, config.num_train_timesteps) ** 2
    logs = -numpy.log(numpy.cumprod(1 - betas)) / 2
    times = [float(numpy.interp(numpy.log1p(level**2) / 2, logs, numpy.arange(len(logs)))) for level in levels[1:-1]]
    start = levels[0] * (1 + (levels[1] - levels[0]) / (1 + levels[0] ** 2) ** 0.5)
    return {"levels": levels[1:], "times": times, "start": start}


def test(kind, world):
    guided = {"first": 7.5, "second": 7.5, "xl": 5.0}[kind]
    tiny.pipeline(kind).save_pretrained(world.folder / "base")
    (world.folder / "prompts.txt").write_text("a cat\ntwo\n")
    pickle = world.folder / "base/unet/diffusion_pytorch_model.bin"
    pickle.write_text("what must not be left")
    (world.folder / "base/unet/diffusion_pytorch_model.fp16.safetensors").write_text("neither")
    distil = "distill recipe.toml --teacher base --prompts prompts.txt"

    def distilled(name, steps, more=""):
        (world.folder / "recipe.toml").write_text(RECIPE.format(steps=steps, guidance=guided))
        world.run(f"{distil} --out {name} {more}")
        return f"{name}/student.safetensors"

    calls_of_kind = [2, 3, 4] if kind == "first" else [3]
    for calls in calls_of_kind:
        student = distilled(f"run-{calls}", calls + 1)
        said = world.run(f"convert {student} folder-{calls} --to diffusers")
        assert "EulerDiscreteScheduler" in said and f"num_inference_steps={calls}" in said, said
        folder = world.folder / f"folder-{calls}"
        names = sorted(path.name for path in (folder / "unet").iterdir())
        assert names == ["config.json", "diffusion_pytorch_model.safetensors", "fewstep.safetensors"], names
        assert types(folder) == {torch.float32}
        pipe = load(folder)
        assert type(pipe.scheduler).__module__.startswith("diffusers."), pipe.scheduler
        for guidance in [1, guided]:
            ours = world.ours(student, guidance)
            world.compare(f"{kind}, {calls} calls, guidance {guidance}", theirs(pipe, calls, guidance), ours, ALLOWED)
            # fewstep reads the folder as the student that it is.
            back = world.ours(f"folder-{calls}", guidance)
            assert all((a == b).all() for a, b in zip(back, ours)), "the folder is another model"
        print(f"{kind}, {calls} calls: grey levels spread by {numpy.std(ours):.1f}")
        # What must be seen to be wrong: the base's scheduler, as the folder had it once.
        other = tiny.pipeline(kind).scheduler
        pipe.scheduler = other
        off = [numpy.abs(a.astype(float) - b).mean() for a, b in zip(theirs(pipe, calls, guided), ours)]
        print(f"{kind}, {calls} calls, the base's scheduler: off by {max(off):.2f}")
        assert max(off) > WRONG
        # What the folder says of itself is a program that runs.
        program = re.search("```python\n(.*?)```", (folder / "README.md").read_text(), re.S)[1]
        done = subprocess.run([sys.executable, "-c", program], cwd=world.folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    # Half precision throughout, and the variant of the teacher that is not there.
    calls = calls_of_kind[-1]
    student = f"run-{calls}/student.safetensors"
    world.run(f"convert {student} half --to diffusers --dtype f16")
    assert types(world.folder / "half") == {torch.float16}
    pipe = load(world.folder / "half", dtype=torch.float32)
    ours = world.ours(student, guided)
    world.compare(f"{kind}, {calls} calls, weights in f16", theirs(pipe, calls, guided), ours, ALLOWED_HALF)

    one_file(kind, world, f"run-{calls_of_kind[-1]}", calls_of_kind[-1], guided)
    if kind != "first":
        return

    # Without a free first step, and other levels; our own scheduler, saved and loaded.
    FewStepScheduler = scheduler_of_package()
    for name, more in [
        ("all", "--set analytic-first-step=false"),
        ("ramp", "--set spacing={kind=\"polynomial\",rho=7}"),
    ]:
        student = distilled(name, 3, more)
        world.run(f"convert {student} folder-{name} --to diffusers")
        world.run(f"convert {student} own-{name} --to diffusers --scheduler fewstep")
        calls = 3 if name == "all" else 2
        ours = world.ours(student, guided)
        pipe = load(world.folder / f"folder-{name}")
        world.compare(f"{kind}, {name}", theirs(pipe, calls, guided), ours, ALLOWED)
        pipe = load(world.folder / f"own-{name}")
        assert isinstance(pipe.scheduler, FewStepScheduler)
        pipe.scheduler.save_pretrained(world.folder / "saved")
        pipe.scheduler = FewStepScheduler.from_pretrained(world.folder / "saved")
        world.compare(f"{kind}, {name}, our scheduler", theirs(pipe, calls, guided), ours, ALLOWED)
        whole = world.folder / "whole"
        pipe.save_pretrained(whole)
        assert isinstance(load(whole).scheduler, FewStepScheduler)

    # One whose steps go on from the calls before.
    for n, solver in enumerate(["{kind=\"ipndm\",order=3}", "{kind=\"dpm-solver-pp\",order=2}"]):
        student = distilled(f"past-{n}", 4, f"--set student-solver={solver}")
        world.run(f"convert {student} own-past-{n} --to diffusers --scheduler fewstep")
        pipe = load(world.folder / f"own-past-{n}")
        world.compare(f"{kind}, {solver}, our scheduler", theirs(pipe, 3, guided), world.ours(student, guided), ALLOWED)

    # A student of several numbers of calls: folded for one, and all of them with our scheduler.
    student = distilled("several", 4, "--set variable-steps=[3,5]")
    world.run(f"convert {student} own --to diffusers --scheduler fewstep")
    pipe = load(world.folder / "own")
    try:
        theirs(pipe, 3, 1)
        raise AssertionError("it samples without being told")
    except ValueError as error:
        assert "attach" in str(error), error
    pipe.scheduler.attach(pipe.unet)
    pictures = []
    for calls in [2, 4, 3, 2]:
        ours = world.ours(student, guided, f"--nfe {calls}")
        made = theirs(pipe, calls, guided)
        world.compare(f"{kind}, SFD-v at {calls} calls, our scheduler", made, ours, ALLOWED)
        pictures.append(made)
        if calls == 2:
            continue
        world.run(f"convert {student} folded-{calls} --to diffusers --nfe {calls}")
        made = theirs(load(world.folder / f"folded-{calls}"), calls, guided)
        world.compare(f"{kind}, SFD-v folded for {calls} calls", made, ours, ALLOWED)
    assert all((a == b).all() for a, b in zip(pictures[0], pictures[-1])), "what it was told before counts"
    try:
        theirs(pipe, 7, 1)
        raise AssertionError("it samples with any number of calls")
    except ValueError as error:
        assert "2 or 3 or 4 calls" in str(error), error
    index = json.loads((world.folder / "own/model_index.json").read_text())
    assert index["scheduler"] == ["fewstep.scheduler", "FewStepScheduler"], index


def main():
    kinds = sys.argv[2:] or ["first", "second", "xl"]
    for kind in kinds:
        with tempfile.TemporaryDirectory() as folder:
            test(kind, World(sys.argv[1], folder))
    print(f"all folders are their students: {', '.join(kinds)}")


if __name__ == "__main__":
    main()
