"""PyTorch's side of the cold start: from the start of the process to PNG files, at two evaluations an image."""

import time

started = time.perf_counter()

import argparse
import pathlib

import torch

imported = time.perf_counter()

from PIL import Image

from method import few_step, levels
from network import load


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--variant", default="contiguous")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    denoiser, config = load(args.model, args.variant)
    shape = config["channels"], config["resolution"], config["resolution"]
    grid = levels(3, 0.006, 80.0)
    args.out.mkdir(parents=True, exist_ok=True)
    with torch.inference_mode():
        for first in range(0, args.images, args.batch):
            seeds = range(first, min(first + args.batch, args.images))
            noise, labels = [], []
            for seed in seeds:
                generator = torch.Generator().manual_seed(seed)
                noise.append(torch.randn(shape, generator=generator))
                if config.get("classes", 0):
                    labels.append(torch.randint(config["classes"], [], generator=generator))
            told = torch.eye(config["classes"])[torch.stack(labels)] if labels else None
            start = torch.stack(noise) * grid[0]
            images = few_step(lambda x, sigma: denoiser(x, sigma, told), start, grid)
            pixels = (images * 127.5 + 128).clamp(0, 255).to(torch.uint8)
            for seed, image in zip(seeds, pixels.permute(0, 2, 3, 1).numpy()):
                image = image[:, :, 0] if image.shape[2] == 1 else image
                Image.fromarray(image).save(args.out / f"{seed:06}.png")
    print(imported - started)


if __name__ == "__main__":
    main()
