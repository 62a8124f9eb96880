"""How long a run will take: a few passes of each phase are timed on this machine, on batches of middling size.

The clock tells of the machine as it is at that moment. A pass is taken to last in proportion to the tokens that it
reads, padding included.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch.optim import Optimizer

from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.stack.replay import capture_together
from unfreeze.train.feed import Feed
from unfreeze.train.footprint import FEW
from unfreeze.train.forecast import PhaseTime, forward_of
from unfreeze.train.job import Job
from unfreeze.train.loop import make_optimizer, put, taken
from unfreeze.train.memory import forget_attempt, moving
from unfreeze.train.order import training_batches
from unfreeze.train.replaying import Expected, views_of
from unfreeze.train.touched_rows import touched_rows

SHORT = 0.3
"""Seconds: a pass that is over sooner is timed several times."""

REPEATED = 5


@dataclass(frozen=True)
class Typical:
    """A batch of middling size, which is one of `batches` of its size that read as many tokens as all of them."""

    rows: Sequence[int]
    batches: float


def times_of(job: Job, test: Feed | None, expected: Sequence[Expected]) -> list[PhaseTime]:
    """Seconds of each phase, and of what comes after the last; the job is left as it was."""
    weights = taken(job)
    with touched_rows(job) as touched, torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
        optimizer = make_optimizer(job, touched)
        for group in optimizer.param_groups:
            group["lr"] = 0.0  # all that an update costs, and no weight moves
        found = [_phase(job, index, each, optimizer) for index, each in enumerate(expected)]
    put(job, weights)  # to the bit, whatever the optimizer makes of a rate of zero
    job.working.set_learning(())
    job.working.refresh(job.learned)
    scoring = _reading_rate(job) * (_tokens(job, job.validation) + _tokens(job, test))
    return [*found, PhaseTime("at the end", 0, {"scoring": scoring})]


def typical(lengths: Sequence[int], batches: Iterable[Sequence[int]]) -> Typical:
    """The batch whose tokens, with padding, are nearest to the mean."""
    sizes = [(len(rows) * max(lengths[row] for row in rows), rows) for rows in batches]
    total = sum(size for size, _ in sizes)
    size, rows = min(sizes, key=lambda sized: abs(sized[0] - total / len(sizes)))
    return Typical(rows, total / size)


def _phase(job: Job, index: int, expected: Expected, optimizer: Optimizer) -> PhaseTime:
    phase, steps = expected.phase, job.steps(expected.phase)
    seconds = {"frozen layers": _frozen_seconds(job, expected)}
    seconds["updates"] = steps * _update_seconds(job, index, expected, optimizer)
    if job.validation is not None:
        epochs = -(-steps // job.steps_per_epoch)
        seconds["validation"] = epochs * _tokens(job, job.validation) * _reading_rate(job, expected)
    return PhaseTime(phase.name, steps, seconds)


def _update_seconds(job: Job, index: int, expected: Expected, optimizer: Optimizer) -> float:
    """Mean seconds of an update of this phase."""
    learn = expected.phase.learn
    key = (job.recipe.seed, 0, index, 0)
    batches = training_batches(job.train.lengths, job.batch_size, key=key, weights=job.row_weights)
    batch = typical(job.train.lengths, batches)
    job.working.set_learning(learn)
    buffers = moving(job.stack, learn)
    update = _update_of(job, expected, batch.rows, optimizer)
    _update_of(job, expected, batch.rows[:FEW], optimizer)()
    seconds = _seconds(job, update) * batch.batches / len(batches)
    forget_attempt(job.working.modules, buffers)
    optimizer.state.clear()
    return seconds


def _update_of(job: Job, expected: Expected, rows: Sequence[int], optimizer: Optimizer) -> Callable[[], None]:
    """An update on a batch, as the loop has it, in its micro-batches."""
    learn, training = expected.phase.learn, job.recipe.training
    size = min(training.micro_batch or len(rows), len(rows))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    passes = [(forward_of(job, expected, part), job.train.targets[torch.tensor(part)]) for part in parts]
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def update() -> None:
        optimizer.zero_grad(set_to_none=True)
        job.working.refresh(learn)
        for forward, targets in passes:
            loss = job.task.loss(forward()().float(), targets.to(job.device), job.loss_options)
            (loss.total / len(rows)).backward()  # type: ignore[no-untyped-call]
            job.working.collect(learn)
        if training.grad_clip:
            torch.nn.utils.clip_grad_norm_([p for p in learning if p.grad is not None], training.grad_clip)
        optimizer.step()

    return update


def _frozen_seconds(job: Job, expected: Expected) -> float:
    """Of the one pass through the frozen layers; 0 where its features are there, or nothing is kept."""
    levels = expected.levels
    if not levels or expected.ready or PROCESS_CACHE.find(f"{levels[0].key}/train") is not None:
        return 0.0
    batches = job.reading_batches(job.train)
    batch = typical(job.train.lengths, batches)
    view = None if job.train.pipeline is None else 0

    @torch.no_grad()
    def capture(rows: Sequence[int]) -> None:
        capture_together([level.replay for level in levels], job.batch(job.train.batch(rows, view)))

    job.working.module.eval()
    capture(batch.rows[:FEW])
    # Once only: the second time the rows would be there, decoded.
    seconds = _once(job, lambda: capture(batch.rows)) * batch.batches * views_of(job)
    return seconds * (1 + (len(job.validation) / len(job.train) / views_of(job) if job.validation else 0))


def _reading_rate(job: Job, expected: Expected | None = None) -> float:
    """Seconds that scoring takes for each token; from kept features, where a phase has some."""
    batch = typical(job.train.lengths, job.reading_batches(job.train)).rows
    forward = forward_of(job, expected or Expected(job.phases[-1]), batch, learning=False)
    job.working.module.eval()

    @torch.inference_mode()
    def read() -> None:
        forward()().float().cpu()

    read()
    return _seconds(job, read) / _padded(job.train, batch)


def _tokens(job: Job, feed: Feed | None) -> int:
    """What scoring a feed reads, padding included."""
    if feed is None or not len(feed):
        return 0
    return sum(_padded(feed, rows) for rows in job.reading_batches(feed))


def _padded(feed: Feed, rows: Sequence[int]) -> int:
    return len(rows) * max(feed.lengths[row] for row in rows)


def _seconds(job: Job, work: Callable[[], None]) -> float:
    """Of a piece of work: the median where it is short."""
    found = [_once(job, work)]
    while found[-1] < SHORT and len(found) < REPEATED:
        found.append(_once(job, work))
    return statistics.median(found)


def _once(job: Job, work: Callable[[], None]) -> float:
    _wait(job)
    started = time.perf_counter()
    work()
    _wait(job)
    return time.perf_counter() - started


def _wait(job: Job) -> None:
    if job.device.type == "cuda":
        torch.cuda.synchronize(job.device)
