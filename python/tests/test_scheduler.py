"""The scheduler alone, beside diffusers' own. That pipelines sample with it what `fewstep sample` does is in
`tests/python/folder.py`.

    python test_scheduler.py

Needs diffusers, and says so and passes where it is missing. Takes the installed package, or else the file beside it.
"""

import importlib.util
import pathlib
import sys
import tempfile
import unittest

try:
    import diffusers
    import torch
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)

try:
    from fewstep.scheduler import FewStepScheduler
except ImportError:
    path = pathlib.Path(__file__).resolve().parents[1] / "fewstep" / "scheduler.py"
    spec = importlib.util.spec_from_file_location("fewstep.scheduler", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules["fewstep.scheduler"] = module
    spec.loader.exec_module(module)
    FewStepScheduler = module.FewStepScheduler

THREE = {"levels": [4.0, 1.5, 0.5, 0.1], "times": [747.25, 480.5, 180.75], "start": 4.02}
TWO = {"levels": [3.0, 1.0, 0.1], "times": [670.0, 340.0]}


def network(scaled, time):
    """Something that is no straight line in both."""
    return torch.sin(scaled * 1.3 + float(time) / 300) + 0.1 * scaled


def sampled(scheduler, noise, predict=network):
    """As the loops of pipelines do it."""
    latents = noise * scheduler.init_noise_sigma
    for time in scheduler.timesteps:
        scaled = scheduler.scale_model_input(latents, time)
        latents = scheduler.step(predict(scaled, time), time, latents, return_dict=False)[0]
    return latents


class Scheduler(unittest.TestCase):
    def setUp(self):
        self.noise = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))

    def test_steps_are_those_of_diffusers_along_the_same_levels(self):
        for prediction in ["epsilon", "v_prediction", "sample"]:
            ours = FewStepScheduler(schedules={3: THREE}, prediction_type=prediction)
            ours.set_timesteps(3)
            theirs = diffusers.EulerDiscreteScheduler(prediction_type=prediction, beta_schedule="scaled_linear")
            theirs.set_timesteps(sigmas=THREE["levels"])
            theirs.timesteps = ours.timesteps
            # Theirs starts from the largest level.
            noise = self.noise * float(ours.init_noise_sigma) / float(theirs.init_noise_sigma)
            off = (sampled(ours, self.noise) - sampled(theirs, noise)).abs().max()
            self.assertLess(off, 1e-5, prediction)

    def test_steps_may_go_on_from_the_calls_before(self):
        # Euler's own steps as weights: 1 + h / sigma of the latents and -h / sigma of those without noise.
        levels = THREE["levels"]
        euler = [[[1 + (b - a) / a, (a - b) / a]] for a, b in zip(levels, levels[1:])]
        plain = FewStepScheduler(schedules={3: THREE})
        same = FewStepScheduler(schedules={3: THREE | {"weights": euler}})
        self.assertLess((sampled(plain, self.noise) - sampled(same, self.noise)).abs().max(), 1e-5)
        # A second slope: Adams and Bashforth's, as iPNDM has it, here by hand, from a free first step on.
        before = [1.2, 0.3]
        steps = []
        for (a, b), older in zip(zip(levels, levels[1:]), [5.0, *levels]):
            h = b - a
            steps.append([[1 + 1.5 * h / a, -1.5 * h / a], [-0.5 * h / older, 0.5 * h / older]])
        ours = FewStepScheduler(schedules={3: THREE | {"weights": steps, "before": before}})
        x = self.noise * 4.02
        slope = (before[0] * x - before[1] * x) / 5.0
        for level, then, time in zip(levels, levels[1:], THREE["times"]):
            now = network(x / (1 + level**2) ** 0.5, time)
            x, slope = x + (then - level) * (1.5 * now - 0.5 * slope), now
        self.assertLess((sampled(ours, self.noise) - x).abs().max(), 1e-4)
        # Once more is the same: nothing is kept from the picture before.
        ours.set_timesteps(3)
        self.assertLess((sampled(ours, self.noise) - x).abs().max(), 1e-4)
        with self.assertRaisesRegex(ValueError, "none of more calls"):
            FewStepScheduler(schedules={3: THREE | {"weights": steps}})

    def test_velocities_are_noise_in_another_form(self):
        noise = FewStepScheduler(schedules={3: THREE})
        velocity = FewStepScheduler(schedules={3: THREE}, prediction_type="v_prediction")
        sigma_of = dict(zip(THREE["times"], THREE["levels"]))

        def predict(scaled, time):
            sigma = sigma_of[float(time)]
            # v = a n - s x, where a x + s n is what is seen, with a = 1 / sqrt(1 + sigma^2), s = sigma a.
            a = (1 + sigma**2) ** -0.5
            n = network(scaled, time)
            x = (scaled - sigma * a * n) / a
            return a * n - sigma * a * x

        off = (sampled(noise, self.noise) - sampled(velocity, self.noise, predict)).abs().max()
        self.assertLess(off, 1e-4)

    def test_it_is_saved_and_loaded(self):
        ours = FewStepScheduler(schedules={2: TWO, 3: THREE}, prediction_type="v_prediction")
        with tempfile.TemporaryDirectory() as folder:
            ours.save_pretrained(folder)
            loaded = FewStepScheduler.from_pretrained(folder)
        self.assertEqual(loaded.schedules, ours.schedules)
        self.assertEqual(loaded.config.prediction_type, "v_prediction")
        for calls, start in [(2, 3.0), (3, 4.02)]:
            loaded.set_timesteps(calls)
            self.assertEqual((len(loaded.timesteps), loaded.init_noise_sigma), (calls, start))
            ours.set_timesteps(calls)
            self.assertTrue(torch.equal(sampled(loaded, self.noise), sampled(ours, self.noise)))
        again = FewStepScheduler.from_config(loaded.config)
        self.assertEqual(again.schedules, ours.schedules)

    def test_types_of_the_network_stay(self):
        ours = FewStepScheduler(schedules={2: TWO})
        half = sampled(ours, self.noise.half())
        self.assertEqual(half.dtype, torch.float16)
        ours.set_timesteps()
        step = ours.step(self.noise, ours.timesteps[0], self.noise)
        self.assertEqual(step.prev_sample.shape, self.noise.shape)
        self.assertTrue(torch.allclose(step.pred_original_sample, self.noise - 3.0 * self.noise))

    def test_a_network_is_told_the_number_of_steps(self):
        told = torch.nn.Linear(3, 2)
        text = {n: torch.full((2,), float(n)).numpy().tobytes().hex() for n in (2, 3)}
        ours = FewStepScheduler(
            schedules={2: TWO, 3: THREE}, step_biases={str(n): {"bias": of} for n, of in text.items()})
        with self.assertRaisesRegex(ValueError, "attach"):
            ours.set_timesteps(2)
        ours.attach(told)
        for calls in [3, 2, 3]:
            ours.set_timesteps(calls)
            self.assertEqual(told.bias.tolist(), [calls, calls])
        with self.assertRaisesRegex(ValueError, "no parameter bias"):
            ours.attach(torch.nn.Identity())

    def test_a_picture_gets_the_noise_of_a_level(self):
        ours = FewStepScheduler(schedules={3: THREE})
        image = torch.zeros_like(self.noise)
        noisy = ours.add_noise(image, self.noise, ours.timesteps[1:])
        self.assertTrue(torch.allclose(noisy[0], self.noise[0] * 1.5) and torch.allclose(noisy[1], self.noise[1] * 0.5))
        ours.set_begin_index(2)
        self.assertTrue(torch.allclose(ours.add_noise(image, self.noise, ours.timesteps[2:])[0], self.noise[0] * 0.5))
        ours.scale_model_input(noisy, ours.timesteps[2])
        self.assertEqual(ours.step_index, 2)

    def test_what_cannot_be_is_said(self):
        for schedule, word in [
            ({}, "needs `levels` and `times`"),
            ({"levels": [3.0, 1.0], "times": [1.0, 2.0]}, "needs 2 and 3"),
            ({"levels": [1.0, 3.0, 0.1], "times": [1.0, 2.0]}, "must decrease"),
            ({"levels": [3.0, 1.0, float("nan")], "times": [1.0, 2.0]}, "must decrease"),
            ({"levels": ["x", 1.0, 0.1], "times": [1.0, 2.0]}, "lists of numbers"),
        ]:
            with self.assertRaisesRegex(ValueError, word):
                FewStepScheduler(schedules={2: schedule})
        with self.assertRaisesRegex(ValueError, "prediction_type"):
            FewStepScheduler(schedules={2: TWO}, prediction_type="flow")
        with self.assertRaisesRegex(ValueError, "lacks the 3 calls"):
            FewStepScheduler(schedules={2: TWO, 3: THREE}, step_biases={2: {}})
        ours = FewStepScheduler(schedules={2: TWO, 3: THREE})
        with self.assertRaisesRegex(ValueError, "2 or 3 calls"):
            ours.set_timesteps(50)
        with self.assertRaisesRegex(ValueError, "must be given"):
            ours.set_timesteps()
        with self.assertRaisesRegex(ValueError, "no schedules"):
            FewStepScheduler().set_timesteps(2)
        with self.assertRaisesRegex(ValueError, "none of"):
            ours.step(self.noise, 5.0, self.noise)
        ours.set_timesteps(2)
        sampled(ours, self.noise)
        with self.assertRaisesRegex(ValueError, "all steps"):
            ours.step(self.noise, ours.timesteps[0], self.noise)


if __name__ == "__main__":
    done = unittest.main(argv=sys.argv[:1], exit=False).result
    if done.wasSuccessful():
        print(f"{done.testsRun} tests of the scheduler passed")
    sys.exit(not done.wasSuccessful())
