"""The steps of few-step students, as a scheduler of the diffusers library.

``fewstep convert STUDENT FOLDER --to diffusers --scheduler fewstep`` writes a pipeline whose scheduler this is. It holds what the
schedulers of diffusers cannot:

* noise levels that are given one by one, for each number of network calls that the student was made for;
* an end above zero;
* a free first step, which is in the noise that sampling starts from;
* steps that go on from what the network said in the calls before (a student of iPNDM, DEIS or DPM-Solver++);
* what a student that is told its number of steps is told (:meth:`FewStepScheduler.attach`).

>>> import fewstep
>>> from diffusers import StableDiffusionPipeline
>>> pipe = StableDiffusionPipeline.from_pretrained("FOLDER")
>>> pipe.scheduler.attach(pipe.unet)                  # only for a student that is told its number of steps
>>> pipe("a lighthouse in a storm", num_inference_steps=3).images[0]

It can also be made by hand, for a U-Net of a student or with adapters (LoRA) of one:

>>> schedule = {"levels": [4.13, 1.64, 0.72, 0.1], "times": [751.8, 504.7, 257.5], "start": 4.156}
>>> pipe.scheduler = fewstep.FewStepScheduler(schedules={3: schedule})

The module needs diffusers and torch, which the package does not ask for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.schedulers.scheduling_utils import SchedulerMixin
from diffusers.utils import BaseOutput

__all__ = ["FewStepScheduler", "FewStepSchedulerOutput", "Schedule"]

#: What a network may predict, in diffusers' words.
PREDICTIONS = ("epsilon", "v_prediction", "sample")


@dataclass(frozen=True)
class Schedule:
    """What happens in one number of network calls.

    Attributes:
        levels: Noise level (sigma) of each call, the largest first, and the one where sampling ends: one more than calls.
        times: What the network is told in each call; fractions are allowed.
        start: Standard deviation of the noise that the first call is given.
        weights: For each call, how the latents at the next level are made: for this call and those before it, the newest first,
            the weight of the latents and that of the latents without noise. Empty for Euler's steps.
        before: Of a free first step, which calls no network: the latents before it and those without noise, in parts of those
            that the first call is given. None where no step goes on from it.
    """

    levels: tuple[float, ...]
    times: tuple[float, ...]
    start: float
    weights: tuple[tuple[tuple[float, float], ...], ...] = ()
    before: tuple[float, float] | None = None

    @classmethod
    def of(cls, calls: int, said: Mapping[str, Any]) -> Schedule:
        """The schedule that a configuration says.

        Raises:
            ValueError: It is not one of so many calls, its levels do not decrease, or a number is no positive one.
        """
        try:
            levels = tuple(float(level) for level in said["levels"])
            times = tuple(float(time) for time in said["times"])
            start = float(said.get("start", levels[0]))
            weights = tuple(tuple((float(a), float(b)) for a, b in step) for step in said.get("weights") or ())
            pair = said.get("before")
            before = None if pair is None else (float(pair[0]), float(pair[1]))
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ValueError(
                f"the schedule of {calls} calls needs `levels` and `times`, lists of numbers: {said!r}") from error
        if len(times) != calls or len(levels) != calls + 1:
            raise ValueError(
                f"the schedule of {calls} calls has {len(times)} times and {len(levels)} levels; "
                f"it needs {calls} and {calls + 1}")
        past = 0 if before is None else 1
        if weights and (len(weights) != calls or any(not 1 <= len(of) <= i + 1 + past for i, of in enumerate(weights))):
            raise ValueError(f"the weights of {calls} calls must be {calls} lists, none of more calls than there were")
        finite = all(math.isfinite(number) for number in (*levels, *times, start))
        if not finite or levels[-1] < 0 or start <= 0 or any(a <= b for a, b in zip(levels, levels[1:])):
            raise ValueError(f"the levels of {calls} calls must decrease to 0 or more: {list(levels)}, start {start}")
        return cls(levels, times, start, weights, before)


@dataclass
class FewStepSchedulerOutput(BaseOutput):
    """What a step makes.

    Attributes:
        prev_sample: `[batch, channels, height, width]`, the latents at the next level.
        pred_original_sample: The latents without noise, as the network sees them now.
    """

    prev_sample: torch.Tensor
    pred_original_sample: torch.Tensor | None = None


class FewStepScheduler(SchedulerMixin, ConfigMixin):
    """Steps along levels that are given, one list for each number of network calls: Euler's, or sums of what the calls before gave.

    Latents are in variance exploding form (image + sigma x noise), as in ``EulerDiscreteScheduler``.

    Args:
        num_train_timesteps: Levels that the network was trained on.
        prediction_type: What the network predicts: ``epsilon``, ``v_prediction`` or ``sample``.
        schedules: By number of calls (of text in a file): ``levels``, ``times`` and ``start``, see :class:`Schedule`.
        step_biases: By number of calls: what the student is told of it, as other biases of the layers that tell the U-Net's blocks
            the time; by parameter of the U-Net, little-endian float32 in hexadecimal. None for a student that is told nothing.

    Raises:
        ValueError: A schedule that cannot be.
    """

    _compatibles: list[str] = []
    order = 1

    @register_to_config
    def __init__(
        self,
        num_train_timesteps: int = 1000,
        prediction_type: str = "epsilon",
        schedules: Mapping[str | int, Mapping[str, Any]] | None = None,
        step_biases: Mapping[str | int, Mapping[str, str]] | None = None,
    ) -> None:
        if prediction_type not in PREDICTIONS:
            raise ValueError(f"prediction_type is {prediction_type!r}; it must be one of {', '.join(PREDICTIONS)}")
        said = {int(calls): schedule for calls, schedule in (schedules or {}).items()}
        self.schedules: dict[int, Schedule] = {calls: Schedule.of(calls, said[calls]) for calls in sorted(said)}
        self._biases: dict[int, Mapping[str, str]] = {int(calls): of for calls, of in (step_biases or {}).items()}
        lacking = [calls for calls in self.schedules if self._biases and calls not in self._biases]
        if lacking:
            raise ValueError(f"step_biases lacks the {lacking[0]} calls that schedules has")
        self._unet: torch.nn.Module | None = None
        self._told: int | None = None
        self._schedule: Schedule | None = None
        #: Latents and latents without noise of the calls before, the newest first.
        self._past: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._step_index: int | None = None
        self._begin_index: int | None = None
        self.num_inference_steps: int | None = None
        if self.schedules:
            # As other schedulers, it can be looked at before it is used.
            self._take(max(self.schedules))

    # What pipelines ask for.

    @property
    def init_noise_sigma(self) -> float:
        """Standard deviation of the noise that sampling starts from."""
        return self._current().start

    @property
    def step_index(self) -> int | None:
        """The next step, counted from 0; None before the first."""
        return self._step_index

    @property
    def begin_index(self) -> int | None:
        """The first step, where a pipeline has set one."""
        return self._begin_index

    def set_begin_index(self, begin_index: int = 0) -> None:
        """Sets the first step, for pipelines that start from a picture."""
        self._begin_index = begin_index

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
    ) -> None:
        """Takes the levels for a number of network calls; if the U-Net is attached, tells it.

        Args:
            num_inference_steps: Calls of the network; those of the only schedule if not given.
            device: Where the times go.

        Raises:
            ValueError: The student was not made for so many calls, or must be told of them and is not attached.
        """
        if not self.schedules:
            raise ValueError("this scheduler has no schedules; `fewstep convert --to diffusers --scheduler fewstep` writes them")
        if num_inference_steps is None:
            if len(self.schedules) > 1:
                raise ValueError(f"num_inference_steps must be given: {self._choices()}")
            num_inference_steps = next(iter(self.schedules))
        if num_inference_steps not in self.schedules:
            raise ValueError(f"num_inference_steps is {num_inference_steps}; this student was made for {self._choices()}")
        if self._biases:
            self._tell(num_inference_steps)
        self._take(num_inference_steps, device)

    def scale_model_input(self, sample: torch.Tensor, timestep: float | torch.Tensor | None = None) -> torch.Tensor:
        """The latents as the network takes them: divided by sqrt(sigma^2 + 1).

        Args:
            sample: `[batch, channels, height, width]`, at the level of the next step.
            timestep: The time of that step.
        """
        if self._step_index is None:
            self._find(timestep)
        sigma = self._current().levels[self._index()]
        return sample / math.sqrt(sigma * sigma + 1)

    def step(
        self,
        model_output: torch.Tensor,
        timestep: float | torch.Tensor,
        sample: torch.Tensor,
        return_dict: bool = True,
    ) -> FewStepSchedulerOutput | tuple[torch.Tensor, torch.Tensor]:
        """One step to the next level.

        Args:
            model_output: What the network predicts, `[batch, channels, height, width]`.
            timestep: The time that it was told.
            sample: The latents that it was given, before :meth:`scale_model_input`.
            return_dict: Whether to return an object rather than a tuple.

        Returns:
            The latents at the next level, and those without noise as the network sees them; in the type of `model_output`.
        """
        if self._step_index is None:
            self._find(timestep)
        index = self._index()
        levels = self._current().levels
        sigma, then = levels[index], levels[index + 1]
        output, noisy = model_output.float(), sample.float()
        total = sigma * sigma + 1
        if self.config.prediction_type == "epsilon":
            image = noisy - sigma * output
        elif self.config.prediction_type == "v_prediction":
            image = noisy / total - sigma / math.sqrt(total) * output
        else:
            image = output
        moved = self._moved(index, noisy, image) if self._current().weights else noisy + (then - sigma) * (noisy - image) / sigma
        self._step_index = index + 1
        moved, image = moved.to(model_output.dtype), image.to(model_output.dtype)
        if not return_dict:
            return moved, image
        return FewStepSchedulerOutput(prev_sample=moved, pred_original_sample=image)

    def _moved(self, index: int, noisy: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        schedule = self._current()
        if not self._past and schedule.before is not None:
            self._past = [(noisy * schedule.before[0], noisy * schedule.before[1])]
        self._past.insert(0, (noisy, image))
        weights = schedule.weights[index]
        if len(weights) > len(self._past):
            raise ValueError("the steps of this student go on from all calls before; start with the first")
        del self._past[max(len(of) for of in schedule.weights):]
        return sum((a * x + b * d for (a, b), (x, d) in zip(weights, self._past)), torch.zeros_like(noisy))

    def add_noise(
        self, original_samples: torch.Tensor, noise: torch.Tensor, timesteps: torch.Tensor
    ) -> torch.Tensor:
        """Latents with the noise of the levels that belong to these times, for pipelines that start from a picture.

        Args:
            original_samples: `[batch, channels, height, width]`.
            noise: The same, of standard deviation 1.
            timesteps: One for each, of :attr:`timesteps`.
        """
        levels = self._current().levels
        if self._begin_index is not None:
            taken = [levels[self._begin_index if self._step_index is None else self._step_index]] * len(timesteps)
        else:
            taken = [levels[self._index_of(time)] for time in timesteps]
        sigma = torch.tensor(taken, device=original_samples.device, dtype=original_samples.dtype)
        return original_samples + noise * sigma.reshape(-1, *[1] * (original_samples.dim() - 1))

    def __len__(self) -> int:
        return int(self.config.num_train_timesteps)

    # What students of several numbers of steps need.

    def attach(self, unet: torch.nn.Module) -> FewStepScheduler:
        """Lets the scheduler tell a U-Net how many calls there will be, whenever that number is set.

        Of a student that is told its number of steps, the folder has the U-Net for one of them. What it is told for another
        one is a constant in each of its blocks: other biases, which are written into it. Needed after loading, and for each U-Net.

        Raises:
            ValueError: It has none of the layers that are told.
        """
        if self._biases:
            names = next(iter(self._biases.values()))
            missing = [name for name in names if name not in dict(unet.named_parameters())]
            if missing:
                raise ValueError(f"the U-Net has no parameter {missing[0]}: it is not the student's")
        self._unet, self._told = unet, None
        return self

    def _tell(self, calls: int) -> None:
        if self._unet is None:
            raise ValueError(
                "this student is told how many steps there are: call `pipe.scheduler.attach(pipe.unet)` once, before sampling")
        if self._told == calls:
            return
        parameters = dict(self._unet.named_parameters())
        with torch.no_grad():
            for name, text in self._biases[calls].items():
                numbers = torch.frombuffer(bytearray.fromhex(text), dtype=torch.float32)
                parameters[name].copy_(numbers.to(parameters[name]))
        self._told = calls

    # How it keeps count.

    def _take(self, calls: int, device: str | torch.device | None = None) -> None:
        schedule = self.schedules[calls]
        self._schedule = schedule
        self.num_inference_steps = calls
        self.timesteps = torch.tensor(schedule.times, dtype=torch.float32, device=device)
        #: As in the schedulers of diffusers: the level of each call, and the end.
        self.sigmas = torch.tensor(schedule.levels, dtype=torch.float32)
        self._step_index = self._begin_index = None
        self._past = []

    def _current(self) -> Schedule:
        if self._schedule is None:
            raise ValueError("call set_timesteps first")
        return self._schedule

    def _choices(self) -> str:
        return f"{' or '.join(str(calls) for calls in self.schedules)} calls"

    def _index_of(self, time: float | torch.Tensor | None) -> int:
        if time is None:
            return 0
        wanted = float(time)
        times: Sequence[float] = self.timesteps.tolist()
        for index, own in enumerate(times):
            if math.isclose(own, wanted, rel_tol=1e-6, abs_tol=1e-4):
                return index
        raise ValueError(f"the time {wanted} is none of {times}")

    def _find(self, time: float | torch.Tensor | None) -> None:
        self._step_index = self._index_of(time) if self._begin_index is None else self._begin_index

    def _index(self) -> int:
        index = self._step_index or 0
        if index >= len(self.timesteps):
            raise ValueError("all steps have been taken; call set_timesteps for the next picture")
        return index
