"""Loads adapters that fewstep wrote with `load_lora_weights` of the diffusers library, and compares the U-Net's answers.

    python load_lora.py FOLDER CASE.safetensors

FOLDER has the sub-folder `unet` and the files `diffusers.safetensors` and `kohya.safetensors`, which hold the same adapters.
CASE has the tensors `noisy`, `times` and `context`, and `answer`: what fewstep's network says with the adapters.

Exit status: 0 all is well, 1 something differs, 77 diffusers or PEFT is not installed.
"""

import pathlib
import sys

try:
    import peft  # noqa: F401, diffusers needs it for adapters
    import torch
    from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from safetensors.torch import load_file
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)

# Roundings of f32 in some twenty layers: largest difference over the root mean square. That of the golden case `lora`.
TOLERANCE = 5.1e-5


def main():
    folder, case = map(pathlib.Path, sys.argv[1:])
    case = load_file(case)
    expected = case["answer"]

    def off(unet):
        with torch.no_grad():
            answer = unet(case["noisy"], case["times"], case["context"]).sample
        return ((answer - expected).abs().max() / expected.square().mean().sqrt()).item()

    failed = False
    for name in ["diffusers", "kohya"]:
        unet = UNet2DConditionModel.from_pretrained(folder, subfolder="unet", use_safetensors=True).eval()
        without = off(unet)
        pipeline = StableDiffusionPipeline(
            vae=None, text_encoder=None, tokenizer=None, unet=unet, scheduler=EulerDiscreteScheduler(),
            safety_checker=None, feature_extractor=None, requires_safety_checker=False)
        pipeline.load_lora_weights(folder, weight_name=f"{name}.safetensors")
        found = off(pipeline.unet)
        print(f"{name}: off by {found:.1e} of the root mean square, allowed {TOLERANCE:.1e}; without adapters {without:.1e}")
        failed |= not found <= TOLERANCE or not without > 10 * TOLERANCE
    sys.exit(failed)


if __name__ == "__main__":
    main()
