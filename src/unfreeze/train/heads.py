"""Many linear heads trained together on what enters them.

Each goes the way that the loop would take it in a run of its own, up to rounding: its seed gives the initial weights,
the order and the dropout; gradients are clipped, rates follow their schedule and the best epoch is kept head by head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from unfreeze.errors import RecipeError
from unfreeze.grid import Grid
from unfreeze.models.heads import initial_heads
from unfreeze.optim.schedules import SCHEDULES, rate_factor
from unfreeze.optim.stacked import STACKED, clip
from unfreeze.train.course import Course
from unfreeze.train.head_inputs import head_of
from unfreeze.train.job import Job, reseed
from unfreeze.train.order import generator, training_batches

SCORED_TOGETHER = 2**24
"""Outputs for validation rows that are held at once."""

Place = tuple[int, int]
"""Number of the seed, number of the configuration."""


class HeadTraining:
    """The training of every head of a grid. Afterwards `best` holds the weights of each one's best epoch.

    Parameters
    ----------
    job : Job
        With one phase, in which the head learns, and a validation split. Its seed, head_lr and weight_decay are those
        of no head in particular.
    inputs, held_out : Tensor of shape (rows, width)
        What enters the head for each row of training and of validation.
    """

    def __init__(self, job: Job, grid: Grid, inputs: Tensor, held_out: Tensor) -> None:
        head, configurations = head_of(job), grid.configurations
        self.job, self.grid, self.inputs, self.held_out = job, grid, inputs, held_out
        self.phase, self.steps = job.phases[0], job.steps(job.phases[0])
        self.step, self.epoch = 0, 0
        self.heads = initial_heads(head, grid.seeds, len(configurations))
        self.best, self._gradient = self.heads.like(), self.heads.like()
        self.courses = {(seed, one): Course() for seed in range(len(grid.seeds)) for one in range(len(configurations))}
        self._shape = (len(grid.seeds), len(configurations))
        # In double precision, as the loop's are.
        self._highest = torch.tensor([rate for rate, _ in configurations], dtype=torch.float64)
        self._rates = self._highest.expand(self._shape)
        decays = torch.tensor([decay for _, decay in configurations]).expand(self._shape).to(inputs)
        # As parameter_groups has it: a bias does not decay.
        self._optimizer = STACKED[job.recipe.training.optimizer](self.heads.parts, (decays, torch.zeros_like(decays)))
        self._stalls = torch.zeros(self._shape, dtype=torch.long)
        self._loss_sum = torch.zeros(self._shape, device=inputs.device)
        self._rows_read = torch.zeros(len(grid.seeds), 1, device=inputs.device)
        self._dropout = head.dropout

    def run(self) -> None:
        """Train until the epochs are over, or every head has stopped or diverged.

        Raises
        ------
        RecipeError
            If the task's loss is not a sum over rows.
        """
        self.job.progress.phase(0, self.phase, self.steps)
        self._dropout.train()
        while self.step < self.steps and not all(course.over for course in self.courses.values()):
            self._run_epoch()
            self._finish_epoch()
        self._dropout.eval()

    def _run_epoch(self) -> None:
        """One pass over the training rows in the order of each seed; the last one may be cut short."""
        job = self.job
        orders = [
            training_batches(job.train.lengths, job.batch_size, key=(seed, 0, 0, self.epoch), weights=job.row_weights)
            for seed in self.grid.seeds
        ]
        for batches in list(zip(*orders, strict=True))[: self.steps - self.step]:
            self._update(batches)

    def _update(self, batches: Sequence[list[int]]) -> None:
        """One step of every head on the mean loss of its seed's batch."""
        losses = torch.cat([self._backward(seeds, rows) for seeds, rows in _together(batches)])
        most = self.job.recipe.training.grad_clip
        if most:
            clip(self._gradient.parts, most, models=2)
        self._rates = self._highest * self._factors()
        self._optimizer.step(self._gradient.parts, self._rates.to(self.inputs))
        self.step += 1
        self.job.progress.step(self.step, float(losses.nanmean()), float(self._rates.max()))

    def _factors(self) -> Tensor:
        """The schedule's factor of each head for this update."""
        training = self.job.recipe.training
        schedule = SCHEDULES.get(training.schedule)
        by_stalls = [
            rate_factor(schedule, self.step, self.steps, training.warmup, many) for many in range(self.epoch + 1)
        ]
        return torch.tensor(by_stalls, dtype=torch.float64)[self._stalls]

    def _backward(self, seeds: slice, rows: Tensor) -> Tensor:
        """Gradients of the heads of some seeds for batches of shape (seeds, rows); returns their losses."""
        read = self.inputs.index_select(0, rows.flatten().to(self.inputs.device))
        inputs = self._dropped(seeds, read.view(*rows.shape, -1))
        outputs = self.heads.outputs(inputs, seeds).requires_grad_()
        losses = self._losses(outputs, rows)
        (slope,) = torch.autograd.grad(losses.sum(), outputs)
        self.heads.slope(slope, inputs, self._gradient, seeds)
        losses = losses.detach()
        self._loss_sum[seeds] += losses * rows.shape[1]
        self._rows_read[seeds] += rows.shape[1]
        return losses

    def _losses(self, outputs: Tensor, rows: Tensor) -> Tensor:
        """The task's own mean loss of each head; outputs of shape (seeds, rows, heads, outputs)."""
        targets = self.job.train.targets[rows.flatten()].to(outputs.device)
        # Every head's rows below each other: to the task it is one large batch.
        each = targets.repeat_interleave(outputs.shape[2], dim=0)
        loss = self.job.task.loss(outputs.flatten(0, 2), each, self.job.loss_options)
        if loss.rows is None:
            raise RecipeError(f"A sweep needs a loss for each row, and the task '{self.job.task.name}' gives none.")
        return loss.rows.view(outputs.shape[:3]).mean(dim=1)

    def _dropped(self, seeds: slice, inputs: Tensor) -> Tensor:
        """Inputs of shape (seeds, rows, width), dropped as a run of each seed would at this update."""
        if not self._dropout.p:
            return inputs
        each = zip(inputs, self.grid.seeds[seeds], strict=True)
        return torch.stack([self._drop(batch, seed) for batch, seed in each])

    def _drop(self, batch: Tensor, seed: int) -> Tensor:
        parts = []
        for number, part in enumerate(batch.split(self.job.recipe.training.micro_batch or len(batch))):
            reseed(part.device, int(generator(seed, 2, self.step, number).integers(2**62)))
            parts.append(self._dropout(part))
        return torch.cat(parts)

    @torch.no_grad()
    def _finish_epoch(self) -> None:
        """Validate every head, and keep the weights of those that were never better."""
        self.epoch += 1
        # A loss that was not finite once has left its mark on the sum.
        finite = self._loss_sum.isfinite() & self.heads.weight.isfinite().flatten(2).all(dim=-1)
        for course, fine in zip(self.courses.values(), finite.flatten().tolist(), strict=True):
            course.diverged = course.diverged or (0 if fine or course.over else self.epoch)
        better = torch.zeros_like(finite)
        for place, figures in self._figures().items():
            value = figures["validation"][self.job.metric]
            score = value if self.job.task.higher_is_better(self.job.metric) else -value
            better[place] = self.courses[place].take(figures, score, self.job.recipe.training.early_stopping)
            self._stalls[place] = self.courses[place].stalls
        for best, now in zip(self.best.parts, self.heads.parts, strict=True):
            best[better] = now[better]
        self.job.progress.epoch(self._told())

    def _figures(self) -> dict[Place, dict[str, Any]]:
        """What the loop's history says of an epoch, for every head that is still learning."""
        losses = (self._loss_sum / self._rows_read).cpu()
        self._loss_sum.zero_()
        self._rows_read.zero_()
        return {
            place: {
                "epoch": self.epoch,
                "phase": self.phase.name,
                "step": self.step,
                "lr": float(self._rates[place]),
                "loss": float(losses[place]),
                "validation": scores,
            }
            for place, scores in self._validate().items()
        }

    def _validate(self) -> dict[Place, dict[str, float]]:
        """The task's figures on validation of every head that is still learning."""
        job, feed = self.job, self.job.validation
        assert feed is not None, "a sweep has validation rows"
        scorers = {place: job.task.scorer(job.manifest) for place, course in self.courses.items() if not course.over}
        size = max(1, SCORED_TOGETHER // self.heads.bias.numel())
        for start in range(0, len(feed), size):
            outputs = self.heads.outputs_alike(self.held_out[start : start + size]).cpu()
            for place, scorer in scorers.items():
                scorer.update(outputs[place], feed.targets[start : start + size])
        return {place: scorer.compute() for place, scorer in scorers.items()}

    def _told(self) -> dict[str, Any]:
        """The epoch for people: the best of all heads so far."""
        known = [course for course in self.courses.values() if course.history]
        if not known:
            return {"epoch": self.epoch}
        best = max(known, key=lambda course: course.best)
        value = best.figures["validation"][self.job.metric]
        return {"epoch": self.epoch, "loss": best.history[-1]["loss"], f"best {self.job.metric}": value}


def _together(batches: Sequence[list[int]]) -> Iterator[tuple[slice, Tensor]]:
    """The seeds' batches as one, or one by one where the rest of an epoch comes at another update for each seed."""
    if len({len(rows) for rows in batches}) == 1:
        yield slice(None), torch.tensor(batches)
        return
    for seed, rows in enumerate(batches):
        yield slice(seed, seed + 1), torch.tensor([rows])
