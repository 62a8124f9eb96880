"""Replay in the loop: what is frozen is computed once per sample, kept, and played back.

While one phase's features are computed, those of later phases come along in the same pass, as far as nothing that
they depend on learns before: gradual unfreezing reads every row once through the frozen network, and never again.
Whether keeping pays is decided from counts, not from a clock, so that a resumed run decides alike.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from unfreeze.machine import free_disk, free_memory
from unfreeze.methods import Phase
from unfreeze.models.pretrained import Batch, Sample
from unfreeze.stack.budget import NoRoom, in_words, parse_budget
from unfreeze.stack.cache import PROCESS_CACHE, content_key
from unfreeze.stack.features import FeatureStore
from unfreeze.stack.filling import Filling
from unfreeze.stack.frontier import frontier
from unfreeze.stack.ledger import group_digests
from unfreeze.stack.replay import NotReplayable, Replay, capture_together, check_replay, flops_below, prepare_replay
from unfreeze.stack.shelf import cache_folder
from unfreeze.train.feed import Feed
from unfreeze.train.hooks import Hook
from unfreeze.train.job import Job, Played

STORE_TOLERANCE = {"float32": 1e-4, "bf16": 5e-2}
"""Largest difference between outputs from kept features and from the plain model, relative to their scale.
Features were computed in batches of another shape, so they agree up to rounding."""

VERIFIED = 8
"""Rows of each split for which kept features are compared with the plain model."""

FLOPS_PER_BYTE = {"cpu": 50, "cuda": 5000, "mps": 500}
"""Arithmetic that a machine does in the time in which it reads a byte of kept features: from memory on a CPU, over
the bus to an accelerator. An order of magnitude is enough: frozen layers cost a hundred times more, or next to
nothing."""

WORTH_WRITING = 1e12
"""Frozen arithmetic from which on features are written to disk for later runs: some seconds of a CPU."""


@dataclass(frozen=True)
class Level:
    """A frontier that may be replayed, and the key of its features."""

    phase: Phase
    replay: Replay
    key: str
    flops: float
    bytes: float

    def gain(self, reads: float, per_byte: int) -> float:
        """Arithmetic saved when so many rows are played back instead of computed."""
        return reads * (self.flops - self.bytes * per_byte)


@dataclass
class Replayed:
    """Features of one split at one frontier; with random augmentation, of a number of versions of each row."""

    replay: Replay
    stores: Sequence[FeatureStore]
    feed: Feed
    job: Job
    views: int = 1

    def outputs(self, rows: Sequence[int], epoch: int = 0) -> Tensor:
        """The model's outputs for these rows, with everything frozen played back."""
        return self.replay.forward(self.job.batch(self.feed.hollow_batch(rows)), self.features(rows, epoch))

    def features(self, rows: Sequence[int], epoch: int = 0) -> list[Tensor]:
        """What the frozen layers computed for these rows, in the version that this epoch reads."""
        start = epoch % self.views * len(self.feed)
        samples = [start + row for row in rows] if start else rows
        return [store.batch(samples).to(self.job.device) for store in self.stores]


def replay_phase(job: Job, index: int) -> dict[int, Replayed]:
    """Features for the training and validation feeds (by id), or {} with a note that says why there are none."""
    phase = job.phases[index]
    job.played[index] = None
    try:
        levels = chosen_levels(job, index)
        found = _replay(job, levels)
        computed = 0 if levels[0].key in job.computed else sum(views * len(feed) for _, feed, views in _feeds(job))
        job.played[index] = Played(levels[0].flops, computed)
        job.computed |= {level.key for level in levels}
        return found
    except (NotReplayable, NoRoom) as problem:
        if frontier(job.stack.names, phase.learn) > 0:
            job.note(f"phase '{phase.name}': frozen layers are computed plainly: {problem}")
    finally:
        for warning in PROCESS_CACHE.warnings():
            job.note(warning)
    return {}


def chosen_levels(job: Job, index: int, ready: Collection[str] = ()) -> list[Level]:
    """This phase's frontier, and those of later phases that the same pass can serve.

    Parameters
    ----------
    ready : collection of str
        Keys of features that will be there by then.

    Raises
    ------
    NotReplayable
        If this phase's cannot be replayed, or if computing plainly is cheaper.
    """
    phase = job.phases[index]
    _require_possible(job, phase)
    PROCESS_CACHE.budget = parse_budget(job.recipe.training.cache_budget)
    digests = group_digests(job.stack, _below(job, phase))
    first = _level(job, phase, digests)
    levels = [first, *_later(job, index, first, digests)]
    per_byte = FLOPS_PER_BYTE.get(job.device.type, 50)
    size = sum(_reads(job, 1, views_of(job), 1))
    spent = size * (first.flops + sum(level.bytes for level in levels) * per_byte)
    gains = {level.key: 0.0 for level in levels}
    for later in job.phases[index:]:
        level = next((level for level in levels if level.phase.learn == later.learn), None)
        if level is not None:
            gains[level.key] += level.gain(sum(_reads(job, later.epochs, later.epochs, later.epochs)), per_byte)
    levels = [first, *(level for level in levels[1:] if gains[level.key] > size * level.bytes * per_byte)]
    if sum(gains[level.key] for level in levels) <= spent and not (first.key in ready or _there(job, first)):
        if first.flops <= first.bytes * per_byte:
            raise NotReplayable("they are cheaper to compute than to read back")
        raise NotReplayable("each row is read once, so keeping it gains nothing")
    return levels


def views_of(job: Job) -> int:
    """Versions of each training row: one, or as many as are to be kept of an augmented one."""
    return job.recipe.training.cached_views or 1 if job.train.pipeline is not None else 1


def _reads(job: Job, epochs: float, views: float, validations: float) -> tuple[float, float]:
    """Rows of training and of validation that are read."""
    return len(job.train) * max(epochs, views), (len(job.validation) if job.validation else 0) * validations


def _require_possible(job: Job, phase: Phase) -> None:
    pipeline = job.train.pipeline
    if not job.recipe.training.replay:
        raise NotReplayable("replay is switched off")
    if frontier(job.stack.names, phase.learn) == 0:
        raise NotReplayable("nothing is frozen below the frontier")
    if pipeline is not None and (not job.recipe.training.cached_views or pipeline.mixes):
        raise NotReplayable("augmentation changes the inputs in every epoch")
    if any(type(hook).transform is not Hook.transform for hook in job.hooks):
        raise NotReplayable("a technique changes the batches")
    if len(job.train) < 3:
        raise NotReplayable("there are fewer than three training rows")


def _later(job: Job, index: int, first: Level, digests: Mapping[str, str]) -> Iterator[Level]:
    """Lower frontiers of later phases below which nothing learns before they begin."""
    learned: set[str] = set(job.phases[index].learn)
    seen = {first.replay.entry_name}
    for phase in job.phases[index + 1 :]:
        below = _below(job, phase)
        if below and not learned & set(below):
            try:
                level = _level(job, phase, digests)
            except NotReplayable:
                level = first
            if level.replay.entry_name not in seen:
                seen.add(level.replay.entry_name)
                yield level
        learned |= set(phase.learn)


def _below(job: Job, phase: Phase) -> tuple[str, ...]:
    return job.stack.names[: frontier(job.stack.names, phase.learn)]


def _level(job: Job, phase: Phase, digests: Mapping[str, str]) -> Level:
    first, second = _probes(job)
    job.working.module.eval()
    replay = prepare_replay(job.working.stack, phase.learn, first, second)
    share = _of_middling_length(job, first)
    rows = len(next(iter(first.values())))
    kept = sum(tensor.numel() * tensor.element_size() for tensor in _captured(replay, first)) / rows
    ragged = any(replay.has_length())
    return Level(
        phase,
        replay,
        _key(job, {name: digests[name] for name in _below(job, phase)}, replay),
        flops_below(replay, first) / rows * share,
        kept * (share if ragged else 1),
    )


def _of_middling_length(job: Job, batch: Batch) -> float:
    """By what to multiply counts of a batch: they grow with the tokens read, and about so with the length of rows."""
    lengths = job.train.lengths
    return sum(lengths) / len(lengths) / max(next(iter(batch.values())).shape[1] if job.reads_text else 1, 1)


@torch.no_grad()
def flops_of_a_row(job: Job) -> float:
    """Operations of products and convolutions in one forward pass of the whole model, for a middling training row."""
    batch, _ = _probes(job)
    job.working.module.eval()
    with FlopCounterMode(display=False) as counter:
        job.working.module(**batch)
    rows = len(next(iter(batch.values())))
    return float(counter.get_total_flops() / rows * _of_middling_length(job, batch))


@torch.no_grad()
def _captured(replay: Replay, batch: Batch) -> list[Tensor]:
    return replay.capture(batch)


def _key(job: Job, weights: Mapping[str, str], replay: Replay) -> str:
    recipe = job.recipe
    return content_key(
        weights=weights,
        model=job.pretrained.spec,
        preprocessing=job.pretrained.preprocess.config(),
        data=job.manifest.fingerprint,
        entry=replay.entry_name,
        precision=recipe.training.precision,
        kernels=recipe.training.fast_kernels,
        device=str(job.device),
        batch=f"{recipe.evaluation.batch_tokens} tokens" if job.reads_by_tokens else job.evaluation_batch_size,
        views=(views_of(job), recipe.training.augment, recipe.seed) if job.train.pipeline is not None else 1,
    )


def _feeds(job: Job) -> list[tuple[str, Feed, int]]:
    """Split, feed and versions of each row."""
    feeds = [("train", job.train, views_of(job))]
    return feeds + ([("validation", job.validation, 1)] if job.validation is not None else [])


def _there(job: Job, level: Level) -> bool:
    return all(PROCESS_CACHE.find(f"{level.key}/{split}") is not None for split, _, _ in _feeds(job))


def _replay(job: Job, levels: Sequence[Level]) -> dict[int, Replayed]:
    first = levels[0]
    found: dict[int, Replayed] = {}
    for split, feed, views in _feeds(job):
        stores = PROCESS_CACHE.find(f"{first.key}/{split}")
        if stores is None:
            wanted = [first, *(one for one in levels[1:] if PROCESS_CACHE.find(f"{one.key}/{split}") is None)]
            stores = _fill(job, wanted, split, feed, views)
        found[id(feed)] = Replayed(first.replay, stores, feed, job, views)
    try:
        for replayed in found.values():
            _verify(replayed)
    except NotReplayable:
        for level in levels:
            for split, _, _ in _feeds(job):
                PROCESS_CACHE.drop(f"{level.key}/{split}")
        raise
    return found


def _probes(job: Job) -> tuple[Batch, Batch]:
    """Two small batches of different shape: three of the shortest rows, and two of the longest."""
    lengths = job.train.lengths
    order = sorted(range(len(job.train)), key=lambda row: lengths[row])
    short, long = ([job.train.sample(row) for row in rows] for rows in (order[:3], order[-2:]))
    if lengths[order[2]] == lengths[order[-1]]:
        # Texts that were all cut to the same length; others, of validation, need not be.
        short = [_halved(sample) for sample in short]
    first, second = (job.pretrained.preprocess.collate(samples) for samples in (short, long))
    return job.batch(first), job.batch(second)


def _halved(sample: Sample) -> Sample:
    """The first half of a text's tokens; an image as it is."""
    return {name: values[: -(-len(values) // 2)] if values.dim() == 1 else values for name, values in sample.items()}


@torch.no_grad()
def _fill(job: Job, levels: Sequence[Level], split: str, feed: Feed, views: int) -> Sequence[FeatureStore]:
    """Run the frozen part once over a feed; returns the features of the first level and keeps those of the others.

    Raises
    ------
    NoRoom
        If the first level's fit nowhere. The others are kept as far as they fit.
    """
    job.working.module.eval()
    job.working.refresh(job.learned)
    job.progress.stage(f"computing frozen features of {len(feed)} rows")
    fillings: dict[str, Filling] = {}
    wanted = list(levels)

    def capture(rows: Sequence[int], view: int = 0) -> list[list[Tensor]]:
        batch = job.batch(feed.batch(rows, view) if feed.pipeline is not None else feed.batch(rows))
        return capture_together([level.replay for level in wanted], batch)

    parts = (
        ([view * len(feed) + row for row in rows], kept)
        for view in range(views)
        for batch in job.in_turn(feed, job.reading_batches(feed), view if feed.pipeline is not None else None)
        for rows, kept in job.portions.each(batch, partial(capture, view=view))
    )
    try:
        with job.fused(len(feed) * views, lambda: capture([0])):
            for samples, kept in parts:
                for level, features in zip(tuple(wanted), kept, strict=True):
                    try:
                        if level.key not in fillings:
                            fillings[level.key] = _filling(job, level, split, feed, views, features)
                        fillings[level.key].add(samples, features)
                    except NoRoom:
                        if level is levels[0]:
                            raise
                        wanted.remove(level)
                        fillings.pop(level.key, None)
    except BaseException:
        for filling in fillings.values():
            filling.discard()
        raise
    closed = {key: filling.close() for key, filling in fillings.items()}
    return closed[levels[0].key]


def _filling(job: Job, level: Level, split: str, feed: Feed, views: int, features: Sequence[Tensor]) -> Filling:
    return PROCESS_CACHE.filling(
        f"{level.key}/{split}",
        level.replay.has_length(),
        list(feed.lengths) * views,
        features,
        persist=level.flops * len(feed) * views >= WORTH_WRITING,
        description={
            "data": job.manifest.source,
            "split": split,
            "model": job.recipe.model.name,
            "frontier": level.replay.entry_name,
        },
    )


@torch.no_grad()
def _verify(replayed: Replayed) -> None:
    """Compare outputs from kept features with the plain model's on rows spread over the feed."""
    job, feed = replayed.job, replayed.feed
    rows = sorted({number * len(feed) // VERIFIED for number in range(VERIFIED)})
    job.working.module.eval()
    batch = job.batch(feed.batch(rows, 0) if feed.pipeline is not None else feed.batch(rows))
    tolerance = STORE_TOLERANCE[job.recipe.training.precision]
    try:
        check_replay(replayed.replay, batch, replayed.features(rows), tolerance)
    except RuntimeError as error:
        raise NotReplayable("kept features do not fit into its forward pass") from error


@dataclass(frozen=True)
class Expected:
    """What replay will do in a phase: play back what its `levels` keep, or nothing, and then why not.

    `ready` says that an earlier phase will have kept this one's features already.
    """

    phase: Phase
    levels: Sequence[Level] = ()
    why: str = ""
    ready: bool = False


def expectations(job: Job) -> list[Expected]:
    """For each phase what replay will do, as far as it can be known before."""
    found: list[Expected] = []
    ready: set[str] = set()
    for index, phase in enumerate(job.phases):
        try:
            levels = chosen_levels(job, index, ready)
            _require_room(job, levels[0])
        except NotReplayable as problem:
            found.append(Expected(phase, why=str(problem)))
            continue
        found.append(Expected(phase, levels, ready=levels[0].key in ready))
        ready |= {level.key for level in levels}
    return found


def _require_room(job: Job, level: Level) -> None:
    budget = PROCESS_CACHE.budget
    memory, disk = budget.memory(free_memory() + PROCESS_CACHE.bytes), budget.disk(free_disk(cache_folder()))
    for size in kept_bytes(job, level):
        if budget.nothing or size > max(memory, disk):
            raise NotReplayable(str(NoRoom(int(size), 0 if budget.nothing else max(memory, disk))))


def kept_bytes(job: Job, level: Level) -> tuple[float, float]:
    """What the features of one frontier take, of training and of validation."""
    train, validation = _reads(job, 1, views_of(job), 1)
    return level.bytes * train, level.bytes * validation


def forecast_lines(job: Job, expected: Sequence[Expected]) -> list[str]:
    """For each phase with a frozen part: whether it will be replayed, and what that takes; for the plan."""
    lines: list[str] = []
    for each in expected:
        name = each.phase.name
        if frontier(job.stack.names, each.phase.learn) == 0:
            continue
        if not each.levels:
            lines.append(f"{name}: frozen layers are computed plainly: {each.why}")
            continue
        level, rows = each.levels[0], sum(_reads(job, 1, views_of(job), 1))
        how = "kept from an earlier phase" if each.ready else "computed once"
        lines.append(
            f"{name}: {level.flops / 1e9:.3g} GFLOP a row below {level.replay.entry_name}, {how} for {rows:,.0f} "
            f"rows, {in_words(level.bytes * rows)} kept"
        )
    return lines
