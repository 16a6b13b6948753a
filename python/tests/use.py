"""What people write, for the type checker."""

import numpy as np

import fewstep


def use() -> None:
    model: fewstep.Model = fewstep.load("student.safetensors")
    images = model.sample(range(4), labels=[0, 1, 2, "shirt"], nfe=2, progress=lambda done, of: None)
    clean = model.denoise(np.zeros((1, 1, 8, 8)), 2.5, labels=3)
    pictures = fewstep.pixels(images + clean)
    whole = fewstep.sample("student.safetensors", seeds=[1, 2], guidance=2.0)
    print(pictures.shape, whole.dtype, model.card["kind"], model.shape[0], fewstep.program())
