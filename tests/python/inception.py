"""Compares `fewstep evaluate --features inception` with pytorch-fid and torch-fidelity.

Usage: python3 tests/python/inception.py [FEWSTEP] [--images N] [--runs N]

Makes weights by a formula (the published ones need not be at hand), two folders of N pictures (500), and measures the
Frechet distance between them with pytorch-fid (bilinear resize), torch-fidelity (that of TensorFlow) and FEWSTEP (or the one
on the path), --runs times in turn. Prints seconds and the largest memory of each. Says what it skips where one of the tools is
not installed. Exit status 0: the distances agree to 1e-3; 1: they do not; 77: neither tool is there.
"""

import argparse
import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile
import time


def there(name):
    return importlib.util.find_spec(name) is not None


def formula(name, shape):
    """The numbers of a tensor: see `formula` in src/feature/inception/formula.rs."""
    import numpy as np

    seed = 0xCBF29CE484222325
    for byte in name.encode():
        seed = (seed ^ byte) * 0x100000001B3 % 2**64
    count = int(np.prod(shape))
    with np.errstate(over="ignore"):
        z = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    s = 2 * ((z >> np.uint64(11)).astype(np.float64) / 2.0**53) - 1
    end = name.rsplit(".", 1)[-1]
    if end == "running_var":
        s = 1 + 0.3 * s
    elif end in ("running_mean", "bias"):
        s = 0.1 * s
    elif len(shape) > 1:
        s = 3**0.5 * (2 / np.prod(shape[1:])) ** 0.5 * s
    else:
        s = 1 + 0.1 * s
    return s.astype(np.float32).reshape(shape)


def weights(path):
    """Writes a state dict under the names of the PyTorch port."""
    import torch

    if there("pytorch_fid"):
        import torchvision
        from pytorch_fid import inception as port

        # The same layers as fid_inception_v3, without its download.
        model = torchvision.models.inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
        for name, block in [
            ("Mixed_5b", port.FIDInceptionA(192, pool_features=32)),
            ("Mixed_7b", port.FIDInceptionE_1(1280)),
        ]:
            setattr(model, name, block)
    else:
        from torch_fidelity import feature_extractor_inceptionv3 as port

        torch.nn.Module.load_state_dict, kept = lambda *_: None, torch.nn.Module.load_state_dict
        torch.load, load = lambda *_, **__: {}, torch.load
        model = port.FeatureExtractorInceptionV3("x", ["2048"], feature_extractor_weights_path="x")
        torch.nn.Module.load_state_dict, torch.load = kept, load
    state = {
        name: torch.from_numpy(formula(name, tuple(value.shape)))
        for name, value in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    torch.save(state, path)


def pictures(folder, count, seed):
    """Blurred noise of two kinds, 32 x 32 as CIFAR-10, so that the folders differ."""
    import numpy as np
    from PIL import Image, ImageFilter

    folder.mkdir()
    draw = np.random.default_rng(seed)
    for i in range(count):
        noise = draw.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        image = Image.fromarray(noise).filter(ImageFilter.GaussianBlur(0.5 + seed * draw.random()))
        image.save(folder / f"{i:05}.png")


def run_pytorch_fid(state, a, b):
    import torch
    from pytorch_fid import fid_score, inception

    inception.load_state_dict_from_url = lambda *_, **__: torch.load(state)
    return fid_score.calculate_fid_given_paths([a, b], 50, "cpu", 2048, 0)


def run_torch_fidelity(state, a, b):
    import torch_fidelity

    found = torch_fidelity.calculate_metrics(
        input1=a, input2=b, cuda=False, isc=False, fid=True, verbose=False, cache=False,
        feature_extractor_weights_path=state,
    )  # fmt: skip
    return found["frechet_inception_distance"]


TOOLS = {"pytorch_fid": (run_pytorch_fid, "bilinear"), "torch_fidelity": (run_torch_fidelity, "tensorflow")}


def measured(command):
    """Distance, seconds, and the largest memory in MB of a command that prints JSON."""
    before = time.perf_counter()
    # A process of its own each, so that the largest memory of children is that of this one.
    script = (
        "import json,resource,subprocess,sys\n"
        "done = subprocess.run(sys.argv[1:], capture_output=True, text=True)\n"
        "peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024\n"
        "print(json.dumps([done.returncode, done.stdout, done.stderr, peak]))"
    )
    run = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, text=True, check=True)
    status, out, errors, peak = json.loads(run.stdout)
    if status != 0:
        sys.exit(f"{command}: {errors}")
    return json.loads(out[out.index("{") :])["frechet"], time.perf_counter() - before, peak


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fewstep", nargs="?", default="fewstep")
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--tool", nargs=4)
    options = parser.parse_args()
    if options.tool:
        name, state, a, b = options.tool
        print(json.dumps({"frechet": float(TOOLS[name][0](state, a, b))}))
        return 0
    tools = {name: tool for name, tool in TOOLS.items() if there(name) and there("torch")}
    for name in TOOLS.keys() - tools.keys():
        print(f"skipped: {name} is not installed")
    if not tools:
        return 77
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        state, a, b = folder / "inception.pth", folder / "a", folder / "b"
        weights(state)
        pictures(a, options.images, 1)
        pictures(b, options.images, 2)
        for _ in range(options.runs):
            for name, (_, resize) in tools.items():
                theirs = measured([sys.executable, __file__, "--tool", name, state, a, b])
                ours = measured([
                    options.fewstep, "evaluate", a, "--reference", b, "--features", "inception", "--inception", state,
                    "--features-resize", resize, "--blocks", "0", "--json", "--quiet",
                ])  # fmt: skip
                off = abs(ours[0] / theirs[0] - 1)
                wrong += not off <= 1e-3
                print(
                    f"{name}: {theirs[0]:.6f} in {theirs[1]:.1f} s and {theirs[2]:.0f} MB; "
                    f"fewstep: {ours[0]:.6f} in {ours[1]:.1f} s and {ours[2]:.0f} MB; off by {off:.1e}"
                )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
