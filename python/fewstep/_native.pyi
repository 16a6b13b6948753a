from collections.abc import Callable, Sequence

__version__: str

class Model:
    @staticmethod
    def load(path: str) -> Model: ...
    @property
    def card(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...
    @property
    def classes(self) -> int: ...
    @property
    def latent(self) -> bool: ...
    def class_of(self, name: str) -> int: ...
    def evaluations(self, nfe: int | None = None, sampling: str | None = None) -> int: ...
    def sample(
        self,
        seeds: Sequence[int],
        *,
        label: int | None = None,
        nfe: int | None = None,
        guidance: float | None = None,
        sampling: str | None = None,
        prompts: Sequence[str] | None = None,
        negative: str | None = None,
        batch: int | None = None,
        noise: str = "ours",
        latents: bool = False,
        progress: Callable[[int, int], object] | None = None,
    ) -> tuple[bytearray, Sequence[int]]: ...
    def denoise(
        self,
        bytes: bytes,
        shape: Sequence[int],
        sigma: float,
        *,
        labels: Sequence[int] | None = None,
        nfe: int | None = None,
        prompts: Sequence[str] | None = None,
    ) -> tuple[bytearray, Sequence[int]]: ...
