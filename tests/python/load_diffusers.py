"""Loads the U-Net that `fewstep convert --to diffusers` wrote with the diffusers library, samples with it, and compares.

    python load_diffusers.py FOLDER CASE.safetensors

FOLDER has the sub-folder `unet`. CASE has the tensors `levels` (noise levels, the largest first), `context` and `negative`
(texts, encoded), and `states`: the latents at every level, as fewstep got them with guidance WEIGHT (a number in the
header), the first step analytical and all of them Euler's. Only the first is taken from there.

Exit status: 0 all is well, 1 something differs, 77 diffusers is not installed.
"""

import pathlib
import sys

try:
    import numpy
    import torch
    from diffusers import UNet2DConditionModel
    from safetensors import safe_open
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)

# The tolerance of the golden case `diffusers_sd` for four guided steps of Euler: largest difference over the root mean square.
TOLERANCE = 3.8e-4


def main():
    folder, case = map(pathlib.Path, sys.argv[1:])
    with safe_open(case, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        weight = float(file.metadata()["weight"])
    unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", use_safetensors=True).eval()

    # Stable Diffusion's timesteps 0..999, and the level of each.
    betas = numpy.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=numpy.float64) ** 2
    alphas = numpy.log(numpy.cumprod(1 - betas)) / 2

    def epsilon(images, sigma):
        log_alpha = -numpy.log1p(sigma**2) / 2
        # Ascending for interp; beyond the first timestep the line goes on.
        time = numpy.interp(-log_alpha, -alphas, numpy.arange(1000.0))
        if log_alpha > alphas[0]:
            time = (alphas[0] - log_alpha) / (alphas[0] - alphas[1])
        scaled = images / (1 + sigma**2) ** 0.5
        both = torch.cat([tensors["negative"].expand(len(images), -1, -1), tensors["context"]])
        answer = unet(torch.cat([scaled, scaled]), torch.tensor(time, dtype=torch.float32), both).sample
        away, towards = answer.chunk(2)
        return away + weight * (towards - away)

    levels = tensors["levels"].tolist()
    expected = tensors["states"]
    images, worst = expected[0], 0.0
    with torch.no_grad():
        for i, (now, then) in enumerate(zip(levels, levels[1:])):
            slope = images / (1 + now**2) ** 0.5 if i == 0 else epsilon(images, now)
            images = images + (then - now) * slope
            wanted = expected[i + 1]
            worst = max(worst, ((images - wanted).abs().max() / wanted.square().mean().sqrt()).item())
    print(f"{len(levels) - 1} steps, largest difference {worst:.1e} of the root mean square, allowed {TOLERANCE:.1e}")
    return 0 if worst <= TOLERANCE else 1


sys.exit(main())
