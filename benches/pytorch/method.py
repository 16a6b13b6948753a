"""Sampling and one round of Simple and Fast Distillation in plain PyTorch (arXiv 2409.19681, Algorithm 2)."""

import math

import torch


def levels(steps, sigma_min, sigma_max, rho=7.0):
    """Noise levels with equal steps in sigma^(1/rho)."""
    top, bottom = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    inner = [(top + i / steps * (bottom - top)) ** rho for i in range(1, steps)]
    return [sigma_max, *inner, sigma_min]


def euler(x, denoised, sigma, to):
    return x + (to - sigma) / sigma * (x - denoised)


def analytic_step(x, sigma, to):
    """Euler with the slope x / sqrt(1 + sigma^2), which costs no call."""
    return x + (to - sigma) / math.sqrt(1 + sigma * sigma) * x


def dpm_solver_pp(denoise, x, grid, order=3):
    """DPM-Solver++, multistep, data prediction, lower order at the end; yields the images at each level after the
    first."""
    past = []
    steps = len(grid) - 1
    for i, (sigma, to) in enumerate(zip(grid, grid[1:])):
        past = [denoise(x, sigma), *past[: order - 1]]
        h = math.log(sigma / to)
        now = i + 1 if i + 1 < order else min(order, steps - i)
        phi1 = math.expm1(-h)
        weights = [-phi1]
        if now >= 2:
            r0 = math.log(grid[i - 1] / sigma) / h
        if now == 2:
            slope = -0.5 * phi1 / r0
            weights = [-phi1 + slope, -slope]
        if now == 3:
            r1 = math.log(grid[i - 2] / grid[i - 1]) / h
            phi2 = phi1 / h + 1
            phi3 = phi2 / h - 0.5
            share = r0 / (r0 + r1)
            # D1 = (1 + share) (m0 - m1) / r0 - share (m1 - m2) / r1; D2 = the difference of both / (r0 + r1).
            first = (phi2 * (1 + share) - phi3 / (r0 + r1)) / r0
            second = (-phi2 * share + phi3 / (r0 + r1)) / r1
            weights = [-phi1 + first, -first + second, -second]
        x = (to / sigma) * x
        for weight, denoised in zip(weights, past):
            x = torch.add(x, denoised, alpha=weight)
        yield x


class Distillation:
    """`student` begins with the teacher's weights."""

    def __init__(self, teacher, student, recipe):
        # Evaluation mode: `recipe` is without dropout.
        self.teacher, self.student, self.recipe = teacher.eval(), student.eval(), recipe
        rate = recipe["learning-rate"]
        self.optimizer = torch.optim.Adam(student.parameters(), lr=rate, fused=True)
        steps, substeps = recipe["steps"], recipe["substeps"]
        ends = recipe["sigma-min"], recipe["sigma-max"]
        self.grid = levels(steps, *ends)
        self.fine = levels(steps * substeps, *ends)

    def targets(self, noise, labels):
        """The teacher's images at the student's levels."""
        with torch.inference_mode():
            walk = dpm_solver_pp(lambda x, sigma: self.teacher(x, sigma, labels), noise, self.fine)
            return [x for i, x in enumerate(walk, 1) if i % self.recipe["substeps"] == 0]

    def round(self, noise, labels, report=None):
        """One update for each step that calls the network; returns the distances."""
        distances = []
        x = noise
        targets = self.targets(noise, labels)
        for i, (sigma, to) in enumerate(zip(self.grid, self.grid[1:])):
            if i == 0 and self.recipe["analytic-first-step"]:
                x = analytic_step(x, sigma, to)
                distance = (x - targets[i]).abs().sum() / len(x)
            else:
                end = euler(x, self.student(x, sigma, labels), sigma, to)
                distance = (end - targets[i]).abs().sum() / len(x)
                self.optimizer.zero_grad(set_to_none=True)
                distance.backward()
                self.optimizer.step()
                x = end.detach()
            distances.append(distance.item())
            if report:
                report(x, targets[i])
        return distances


def few_step(denoise, noise, grid):
    """Euler with the analytical first step: a student's sampler."""
    x = analytic_step(noise, grid[0], grid[1])
    for sigma, to in zip(grid[1:], grid[2:]):
        x = euler(x, denoise(x, sigma), sigma, to)
    return x
