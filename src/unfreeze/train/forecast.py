"""What a run will take of memory, counted before it trains.

Whatever has a size that follows from the recipe is counted: weights, gradients, the optimizer's state, copies, kept
features, encoded rows. What a pass takes is seen on a few of the longest rows (`footprint`). The process itself is what
it is at this moment. The forecast is the fullest of a run's moments.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from heapq import nlargest

import torch
from torch import Tensor, nn

from unfreeze.machine import free_memory, resident_memory
from unfreeze.methods import Phase
from unfreeze.models.head import Head
from unfreeze.models.quantised import QuantisedLinear
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.stack.cache import PROCESS_CACHE
from unfreeze.stack.frontier import set_modes
from unfreeze.train.feed import Feed
from unfreeze.train.footprint import FEW, MORE, Footprint, bytes_of, footprint_of
from unfreeze.train.job import Job
from unfreeze.train.memory import forget_attempt, moving, release
from unfreeze.train.order import training_batches
from unfreeze.train.replaying import Expected, expectations, kept_bytes
from unfreeze.train.touched_rows import touched_rows

HEAP, HEAP_TWICE, RETURNED, ELSEWHERE = 1.15, 2.5, 1.05, 1.1
"""A pass takes so many times what its tensors do, since memory that was freed in pieces of one size does not serve
another. Measured with the C library's allocator on a CPU: 1.0 to 1.3, with gradient checkpointing 2.8, and 1.0 to 1.05
where freed memory is returned. Other devices: `ELSEWHERE`."""

GATE_ROWS = 16
"""Rows that the reloaded model reads at a time."""

LIBRARIES = 150_000_000
"""Bytes of what evidence imports: cleanlab, scikit-learn, pandas. Measured: 146 MB."""

KEPT = 0.05
"""Of all tensors of a moment: what the C library keeps of memory that was freed before, on a CPU where it is not told
to return it. Chosen so that forecasts are near what is measured (benchmarks/forecasts.py)."""

EPOCHS_LOOKED_AT = 5
"""Of each phase, for the lengths that its batches will have; then most have been seen."""

FLOAT = 4


@dataclass(frozen=True)
class Moment:
    """What a run takes while it does one thing: the `parts` add up to `bytes`. `learns` tells updates from the rest."""

    name: str
    bytes: int
    parts: Mapping[str, int]
    learns: bool = False


@dataclass(frozen=True)
class Setting:
    """What may be chosen to need less memory.

    Parameters
    ----------
    micro_batch, evaluation_rows : int
        Rows of a pass in training, and of one that only reads.
    checkpointing : bool
        Whether activations are computed twice instead of being kept.
    return_memory : bool
        Whether freed memory is returned to the system at once.
    optimizer : str
    in_memory : bool
        Whether kept features may stand in memory, or on disk only.
    """

    micro_batch: int
    evaluation_rows: int
    checkpointing: bool
    return_memory: bool
    optimizer: str
    in_memory: bool = True

    @property
    def heap(self) -> float:
        """How many times its tensors a pass takes on a CPU."""
        return RETURNED if self.return_memory else HEAP_TWICE if self.checkpointing else HEAP


@dataclass(frozen=True)
class PhaseNeeds:
    """What a phase takes beside what is there anyway.

    Parameters
    ----------
    learned : int
        Parameters that have learned by its end.
    gradients : int
        Bytes of the gradients, and of hooks' copies of what learns.
    update : Footprint
        Of forward and backward pass.
    features : sequence of float
        Bytes of the features that it keeps, for each frontier and split.
    """

    phase: Phase
    learned: int
    gradients: int
    update: Footprint
    features: Sequence[float] = ()


@dataclass
class Needs:
    """What a job takes, as far as it does not depend on its `Setting`. All in bytes."""

    job: Job
    test: Feed | None
    process: int
    private: int
    weights: int
    whole: int
    copy: int
    encoded: int
    best: int
    phases: Sequence[PhaseNeeds]
    reading: Footprint
    _shapes: dict[tuple[int, int], frozenset[tuple[int, int]]] = field(default_factory=dict)

    def moments(self, setting: Setting) -> list[Moment]:
        """Every moment at which a run may be at its fullest, in their order."""
        found: list[Moment] = []
        moment = partial(self._moment, setting)
        features, kernels, heap = 0, 0, setting.heap if self.job.device.type == "cpu" else ELSEWHERE
        for index, needs in enumerate(self.phases):
            name = f"phase {index + 1}, {needs.phase.name}"
            features += self._placed(needs.features, features, setting)
            kernels += needs.update.kept_kernels(self._learning_shapes(index, setting.micro_batch))
            kernels += 0 if index else self.reading.kept_kernels(self._reading_shapes(setting.evaluation_rows))
            state = int(needs.learned * FLOAT * OPTIMIZERS.get(setting.optimizer).state)
            best = self.best if self.job.device.type == "cpu" else 0
            kept = {"gradients": needs.gradients, "optimizer": state, "best weights": best, "kept features": features}
            kept["kernels"] = kernels
            # Preflight reads two rows at least.
            activations = int(heap * needs.update.peak(max(2, self._learning_rows(index, setting.micro_batch))))
            found.append(replace(moment(f"{name}: an update", **kept, activations=activations), learns=True))
            reading = int(min(heap, HEAP) * self.reading.peak(setting.evaluation_rows))
            found.append(moment(f"{name}: reading", **kept, activations=reading))
        reloaded = 2 * self.whole + int(min(heap, HEAP) * 2 * self.reading.peak(GATE_ROWS))
        second = self.private if self.job.recipe.evaluation.gate == "process" else 0
        if self.job.device.type == "cpu":
            gate = {"kept features": features, "kernels": kernels, "reloaded model": reloaded, "second process": second}
            found.append(moment("saving and reloading", **gate))
        if self.job.device.type == "cpu" and self.job.recipe.evaluation.report:
            reading = int(min(heap, HEAP) * self.reading.peak(setting.evaluation_rows))
            told = {"kept features": features, "kernels": kernels, "model before": self.whole + self.copy}
            found.append(moment("collecting evidence", **told, activations=reading, libraries=LIBRARIES))
        return found

    def _moment(self, setting: Setting, name: str, **parts: int) -> Moment:
        tensors = {"weights": self.weights, "working copy": self.copy, "encoded rows": self.encoded}
        tensors |= {part.replace("_", " "): size for part, size in parts.items()}
        on_cpu = self.job.device.type == "cpu"
        kept = int(KEPT * sum(tensors.values())) if on_cpu and not setting.return_memory else 0
        named = {"process": self.process, **tensors, "kept by the allocator": kept}
        named = {part: size for part, size in named.items() if size}
        return Moment(name, sum(named.values()), named)

    def _placed(self, sizes: Sequence[float], before: int, setting: Setting) -> int:
        """How much of new features comes into memory, beside so much that is there."""
        if not setting.in_memory or self.job.device.type != "cpu":
            return 0
        allowed, taken = PROCESS_CACHE.budget.memory(free_memory() + PROCESS_CACHE.bytes), 0
        for size in sizes:
            if before + taken + size <= allowed:
                taken += int(size)
        return taken

    def _learning_shapes(self, index: int, micro_batch: int) -> int:
        """How many shapes the passes of a phase have."""
        return len(self._passes(index, micro_batch)) if self.phases[index].update.kernels else 0

    def _learning_rows(self, index: int, micro_batch: int) -> int:
        """How many of the longest rows hold as much as the largest pass of a phase."""
        if not self.job.reads_text:
            return micro_batch
        largest = max(rows * length for rows, length in self._passes(index, micro_batch))
        return math.ceil(largest / self.job.longest)

    def _passes(self, index: int, micro_batch: int) -> frozenset[tuple[int, int]]:
        if (index, micro_batch) not in self._shapes:
            self._shapes[index, micro_batch] = frozenset(learning_shapes(self.job, index, micro_batch))
        return self._shapes[index, micro_batch]

    def _reading_shapes(self, rows: int) -> int:
        if not self.reading.kernels:
            return 0
        feeds = [self.job.train, *(feed for feed in (self.job.validation, self.test) if feed is not None)]
        return len({shape for feed in feeds for shape in _shapes_of(feed, self.job.reading_batches(feed, rows))})


@dataclass(frozen=True)
class PhaseTime:
    """How long a phase takes: `seconds` by what it does."""

    name: str
    updates: int
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Forecast:
    """What a run will take: bytes at its fullest moment, and seconds where they were measured.

    Parameters
    ----------
    device : str
        Whose memory is meant. On a GPU it is what torch takes there, without the driver's own.
    """

    device: str
    peak: Moment
    moments: Sequence[Moment]
    seconds: float | None = None
    phases: Sequence[PhaseTime] = ()


def forecast(job: Job, test: Feed | None = None, expected: Sequence[Expected] | None = None) -> Forecast:
    """The memory that a job will take; the job is left as it was.

    Parameters
    ----------
    test : Feed, optional
        The test split, which is read at the end.
    expected : sequence of Expected, optional
        `expectations(job)`, if they are known already.
    """
    return forecast_of(needs_of(job, test, expectations(job) if expected is None else expected), setting_of(job))


def forecast_of(needs: Needs, setting: Setting) -> Forecast:
    """The memory that a job will take with some setting."""
    moments = needs.moments(setting)
    return Forecast(str(needs.job.device), max(moments, key=lambda moment: moment.bytes), moments)


def setting_of(job: Job) -> Setting:
    """What a job's recipe says of everything that may be chosen."""
    training = job.recipe.training
    return Setting(
        min(training.micro_batch or job.batch_size, job.batch_size, len(job.train)),
        job.evaluation_batch_size,
        bool(training.gradient_checkpointing),
        bool(training.return_memory),
        training.optimizer,
        training.cache_budget != "disk",
    )


def needs_of(job: Job, test: Feed | None, expected: Sequence[Expected]) -> Needs:
    """Count and measure. Nothing of the job changes, and torch's generators stand where they stood."""
    with touched_rows(job), torch.random.fork_rng([job.device] if job.device.type == "cuda" else []):
        stand_ins = bytes_of(tensor for module in job.working.modules[2:] for tensor in _tensors(module))
        reading = footprint_of(lambda rows: _reading(job, longest(job, rows)), lambda: _there(job))
        phases = [_phase_needs(job, index, each) for index, each in enumerate(expected)]
    job.working.set_learning(())
    feeds = [feed for feed in (job.train, job.validation, test) if feed is not None]
    width = next(module.in_features for module in job.working.module.modules() if isinstance(module, Head))
    encoded = sum(feed.bytes_at_most for feed in feeds) + sum(hook.kept(width) for hook in job.hooks)
    on_cpu = job.device.type == "cpu"
    release()
    weights = bytes_of(_tensors(job.stack.module))
    # A base in few bits is read whole before it is made small.
    small = [layer for layer in job.stack.module.modules() if isinstance(layer, QuantisedLinear)]
    whole = weights + sum(layer.quantised_weights * FLOAT - bytes_of(layer.buffers()) for layer in small)
    models = bytes_of([*_tensors(job.stack.module), *_tensors(job.working.module)])
    resident, shared = resident_memory()
    process = max(0, resident - models - sum(feed.bytes for feed in feeds) - PROCESS_CACHE.bytes) if on_cpu else 0
    return Needs(
        job=job,
        test=test,
        process=process,
        private=max(0, process - shared),
        weights=weights,
        whole=whole,
        copy=models - weights + stand_ins,
        encoded=encoded if on_cpu else 0,
        best=sum(bytes_of(_tensors_of(job, name)) for name in job.learned),
        phases=phases,
        reading=reading,
    )


def learning_shapes(job: Job, index: int, micro_batch: int) -> Iterator[tuple[int, int]]:
    """Rows and length of the passes of a phase's first epochs."""
    for epoch in range(min(EPOCHS_LOOKED_AT, math.ceil(job.phases[index].epochs))):
        key = (job.recipe.seed, 0, index, epoch)
        batches = training_batches(job.train.lengths, job.batch_size, key=key, weights=job.row_weights)
        parts = (rows[at : at + micro_batch] for rows in batches for at in range(0, len(rows), micro_batch))
        yield from _shapes_of(job.train, (each for part in parts for each in job.passes(part, job.phases[index].learn)))


def forward_of(
    job: Job, expected: Expected, rows: Sequence[int], learning: bool = True
) -> Callable[[], Callable[[], Tensor]]:
    """What makes a batch of these rows, and gives what computes its outputs as a phase will.

    That is from what the frozen layers gave, if it is kept.

    Parameters
    ----------
    learning : bool
        As an update reads them, augmented; else as validation does.
    """
    view = 0 if learning and job.train.pipeline is not None else None

    def plain() -> Callable[[], Tensor]:
        return partial(job.working.module, **job.batch(job.train.batch(rows, view)))

    if not expected.levels:
        set_modes(job.working.stack, expected.phase.learn)
        return plain
    replay = expected.levels[0].replay
    job.working.module.eval()
    with torch.no_grad():
        features = [kept.clone() for kept in replay.capture(job.batch(job.train.batch(rows, view)))]
    set_modes(job.working.stack, expected.phase.learn)
    return lambda: partial(replay.forward, job.batch(job.train.hollow_batch(rows)), features)


def longest(job: Job, count: int) -> list[int]:
    """The longest rows and, since a batch without padding may be computed in another way, the shortest as the last."""
    rows, lengths = range(len(job.train)), job.train.lengths
    some = nlargest(count - 1, rows, key=lengths.__getitem__)
    return [some[number % len(some)] for number in range(count - 1)] + [min(rows, key=lengths.__getitem__)]


def _phase_needs(job: Job, index: int, expected: Expected) -> PhaseNeeds:
    phase = expected.phase
    so_far = {name for earlier in job.phases[: index + 1] for name in earlier.learn}
    learned, learning = (_trained(job, names) for names in (so_far, phase.learn))
    copies = 1 + sum(hook.copies for hook in job.hooks)
    sizes = [] if expected.ready else [size for level in expected.levels for size in kept_bytes(job, level)]
    return PhaseNeeds(phase, learned, learning * FLOAT * copies, _update(job, expected), sizes)


def _update(job: Job, expected: Expected) -> Footprint:
    """Of a phase's forward and backward pass, where gradients are there already, as from the second one on."""
    learn = expected.phase.learn
    job.working.set_learning(learn)
    buffers = moving(job.stack, learn)

    def prepare(rows: int) -> Callable[[], None]:
        chosen = longest(job, rows)
        # The batch is made before, row by row: the pass itself is the same for any number of rows.
        forward, targets = forward_of(job, expected, chosen)(), job.train.targets[torch.tensor(chosen)].to(job.device)

        def run() -> None:
            loss = job.task.loss(forward().float(), targets, job.loss_options)
            (loss.total / loss.weight).backward()  # type: ignore[no-untyped-call]
            job.working.collect(learn)

        return run

    prepare(FEW)()
    found = footprint_of(prepare, lambda: [*_there(job), *_gradients(job)])
    forget_attempt(job.working.modules, buffers)
    return found


def _reading(job: Job, rows: Sequence[int]) -> Callable[[], Tensor]:
    forward = forward_of(job, Expected(job.phases[-1]), rows, learning=False)()
    job.working.module.eval()
    return torch.inference_mode()(lambda: forward().float())


def _there(job: Job) -> Iterator[Tensor]:
    """What is in memory anyway: weights, buffers, and the rows that a pass reads."""
    yield from (tensor for module in job.working.modules for tensor in _tensors(module))
    for row in set(longest(job, MORE)):
        yield from job.train.sample(row).values()


def _trained(job: Job, names: Iterable[str]) -> int:
    """How many numbers of these groups the optimizer moves."""
    parameters = (parameter for name in names for _, parameter in job.stack.parameters(job.stack.group(name)))
    return sum(job.working.trained(parameter).numel() for parameter in parameters)


def _gradients(job: Job) -> Iterator[Tensor]:
    trained = (job.working.trained(parameter) for parameter in job.stack.module.parameters())
    return (parameter.grad for parameter in trained if parameter.grad is not None)


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    yield from module.parameters()
    yield from module.buffers()


def _tensors_of(job: Job, name: str) -> Iterator[Tensor]:
    group = job.stack.group(name)
    yield from (tensor for named in (job.stack.parameters(group), job.stack.buffers(group)) for _, tensor in named)


def _shapes_of(feed: Feed, batches: Iterable[Sequence[int]]) -> Iterator[tuple[int, int]]:
    return ((len(rows), max(feed.lengths[row] for row in rows)) for rows in batches)
