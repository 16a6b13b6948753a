"""Few-step diffusion models in Python: images from a model file, and the network itself.

>>> import fewstep
>>> images = fewstep.sample("student.safetensors", seeds=range(4))          # float32, [4, channels, height, width]
>>> fewstep.pixels(images)                                                  # uint8, [4, height, width, channels]
>>> model = fewstep.load("student.safetensors")
>>> model.denoise(noisy, sigma=2.5)                                         # what the network takes noisy images for

Any kind of file that the program `fewstep` reads is read here: its own, EDM and SFD pickles (nothing in them is executed), PyTorch
state dicts, CompVis checkpoints and folders of diffusers. Everything is computed on the CPU, by as many threads as FEWSTEP_THREADS
says, and another Python thread may work meanwhile. The same seed gives the picture that `fewstep sample` gives.

What is asked for wrongly is a ValueError, a file that is not there a FileNotFoundError, work that fails a RuntimeError; each says in
one line what to do. Ctrl-C ends sampling after the next call of the network.

The program itself comes with the package: `fewstep` on the path of the environment, `fewstep.program()` from here. It trains and distils.
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, Union

import numpy as np
import numpy.typing as npt

from . import _native
from ._native import __version__

if TYPE_CHECKING:
    from .scheduler import FewStepScheduler

__all__ = ["FewStepScheduler", "Model", "load", "pixels", "program", "sample", "__version__"]

#: A class by its number or its name.
Label = Union[int, str]
#: Whose noise a seed stands for.
Noise = Literal["ours", "torch-cpu", "torch-cuda"]
#: Images, `[images, channels, height, width]`, in about [-1, 1].
Images = npt.NDArray[np.float32]


class Model:
    """A model that was read from a file; :func:`load` makes one."""

    def __init__(self, native: _native.Model) -> None:
        self._native = native

    def __repr__(self) -> str:
        card = self.card
        channels, height, width = self.shape
        return f"<fewstep.Model: {card['kind']}, {channels} x {height} x {width}, {self.evaluations()} evaluations>"

    @property
    def card(self) -> dict[str, Any]:
        """What the file says of itself: network, noise levels, sampling, recipe (`fewstep inspect FILE --json` shows the same)."""
        card: dict[str, Any] = json.loads(self._native.card)
        return card

    @property
    def hash(self) -> str:
        """SHA-256 of the file."""
        return self._native.hash

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of what the network takes and makes; of latents, where it makes those."""
        channels, height, width = self._native.shape
        return channels, height, width

    @property
    def classes(self) -> int:
        """How many classes the model knows; 0 for a model without classes."""
        return self._native.classes

    @property
    def latent(self) -> bool:
        """Whether the network makes latents, of which an autoencoder makes pictures."""
        return self._native.latent

    def evaluations(self, nfe: int | None = None, sampling: Mapping[str, Any] | None = None) -> int:
        """Calls of the network for an image, as :meth:`sample` takes these."""
        return self._native.evaluations(nfe, _json(sampling))

    def sample(
        self,
        seeds: int | Iterable[int] = 0,
        *,
        labels: Label | Sequence[Label] | None = None,
        nfe: int | None = None,
        guidance: float | None = None,
        sampling: Mapping[str, Any] | None = None,
        prompts: str | Sequence[str] | None = None,
        negative: str | None = None,
        batch: int | None = None,
        noise: Noise = "ours",
        latents: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> Images:
        """Images, `[seeds, channels, height, width]`, float32 in about [-1, 1]; :func:`pixels` makes bytes of them.

        The image of a seed depends on that seed only, not on the others or on `batch`.

        :param seeds: whole numbers from 0 to 2^64 - 1.
        :param labels: the class of all images, or one for each; without it each seed draws its own.
        :param nfe: calls of the network for an image, where the model can do with others than its card says.
        :param guidance: how closely the class or the text is followed; 1 is plain.
        :param sampling: other settings of the card's `sampling`, such as ``{"solver": {"kind": "ipndm"}, "steps": 6}``.
        :param prompts: what to show, for a model of texts: seed s shows prompt s modulo their number.
        :param negative: what not to show, where anything is guided.
        :param batch: images that are computed at once; more are faster and take more memory.
        :param noise: whose noise a seed stands for: that of `fewstep`, or PyTorch's.
        :param latents: leave the latents of a latent model as they are.
        :param progress: called now and then with the network calls that are done and all that there will be.
        """
        numbers = [int(seeds)] if isinstance(seeds, (int, np.integer)) else [int(seed) for seed in seeds]
        texts = [prompts] if isinstance(prompts, str) else prompts
        options: dict[str, Any] = {
            "nfe": nfe,
            "guidance": guidance,
            "sampling": _json(sampling),
            "prompts": None if texts is None else list(texts),
            "negative": negative,
            "batch": batch,
            "noise": noise,
            "latents": latents,
        }
        if labels is None or isinstance(labels, (int, str, np.integer)):
            label = None if labels is None else self._label(labels)
            return _images(self._native.sample(numbers, label=label, progress=progress, **options))
        each = [self._label(label) for label in labels]
        if len(each) != len(numbers):
            raise ValueError(f"{len(each)} labels for {len(numbers)} seeds: give one for each, or one for all")
        whole: Images | None = None
        for label in dict.fromkeys(each):
            of = [i for i, other in enumerate(each) if other == label]
            told = _part(progress, each.index(label), of, each) if progress else None
            drawn = _images(self._native.sample([numbers[i] for i in of], label=label, progress=told, **options))
            if whole is None:
                whole = np.empty((len(numbers), *drawn.shape[1:]), np.float32)
            whole[of] = drawn
        if whole is None:
            raise ValueError("`number of seeds` is 0, but must be at least 1")
        return whole

    def denoise(
        self,
        x: npt.ArrayLike,
        sigma: float,
        *,
        labels: Label | Sequence[Label] | None = None,
        nfe: int | None = None,
        prompts: str | Sequence[str] | None = None,
    ) -> Images:
        """The clean images that the model takes noisy ones for: D(x; sigma), of the shape of `x`.

        :param x: `[images, channels, height, width]`: clean images in [-1, 1] plus noise of standard deviation `sigma`.
        :param sigma: the noise level, one for all.
        :param labels: the class of all images, or one for each; without it the model is told none.
        :param nfe: which number of calls a model of several is told.
        :param prompts: what a model of texts is told, one for all or one for each.
        """
        noisy = np.ascontiguousarray(x, dtype="<f4")
        if noisy.ndim != 4:
            raise ValueError(f"x has the shape {noisy.shape}, but must be [images, channels, height, width]")
        if not np.isfinite(noisy).all():
            raise ValueError("x has numbers that are not finite (NaN or infinite)")
        count = noisy.shape[0]
        each: list[int] | None = None
        if isinstance(labels, (int, str, np.integer)):
            each = [self._label(labels)] * count
        elif labels is not None:
            each = [self._label(label) for label in labels]
        texts = [prompts] if isinstance(prompts, str) else prompts
        told = None if texts is None else list(texts)
        return _images(
            self._native.denoise(
                noisy.tobytes(), noisy.shape, float(sigma), labels=each, nfe=nfe, prompts=told
            )
        )

    def _label(self, label: Label) -> int:
        return self._native.class_of(label) if isinstance(label, str) else int(label)


def load(file: str | os.PathLike[str]) -> Model:
    """Reads a model file, or a folder of diffusers, of any kind that `fewstep` reads."""
    return Model(_native.Model.load(os.fspath(file)))


def sample(file: str | os.PathLike[str] | Model, seeds: int | Iterable[int] = 0, **options: Any) -> Images:
    """Images of a model file: :func:`load`, then :meth:`Model.sample`, whose options it takes."""
    model = file if isinstance(file, Model) else load(file)
    return model.sample(seeds, **options)


def pixels(images: npt.ArrayLike) -> npt.NDArray[np.uint8]:
    """The bytes of pictures, `[images, height, width, channels]`, as `fewstep sample` writes them.

    `PIL.Image.fromarray(pixels(images)[0].squeeze())` is one to look at.
    """
    array = np.asarray(images, np.float32)
    if array.ndim != 4:
        raise ValueError(f"images have the shape {array.shape}, but must be [images, channels, height, width]")
    if not np.isfinite(array).all():
        raise ValueError("numbers that are not finite (NaN or infinite) are no picture")
    scaled = np.clip(array * np.float32(127.5) + np.float32(128), 0, 255)
    return np.ascontiguousarray(scaled.astype(np.uint8).transpose(0, 2, 3, 1))


def program() -> str:
    """The path of the program `fewstep` that came with this package, for `subprocess.run`."""
    name = "fewstep.exe" if os.name == "nt" else "fewstep"
    schemes = [sysconfig.get_path("scripts"), sysconfig.get_path("scripts", f"{os.name}_user")]
    for folder in schemes:
        path = os.path.join(folder, name)
        if os.path.isfile(path):
            return path
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(f"there is no program {name} in {' or '.join(schemes)}: install the package anew")
    return found


def _json(settings: Mapping[str, Any] | None) -> str | None:
    return None if settings is None else json.dumps(dict(settings))


def _images(numbers: tuple[bytearray, Sequence[int]]) -> Images:
    data, shape = numbers
    return np.frombuffer(data, "<f4").reshape(shape)


def _part(
    progress: Callable[[int, int], object], first: int, of: Sequence[int], each: Sequence[int]
) -> Callable[[int, int], object]:
    """Progress of some of the images, as one of all of them."""
    before = sum(1 for label in each if each.index(label) < first)

    def tell(done: int, total: int) -> object:
        calls = total // len(of)
        return progress(before * calls + done, calls * len(each))

    return tell


def __getattr__(name: str) -> Any:
    # It needs diffusers, which nothing else here does.
    if name == "FewStepScheduler":
        from .scheduler import FewStepScheduler

        return FewStepScheduler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
