"""Replay in the loop: whether it pays for a phase, filling the features, reading them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from unfreeze.methods import Phase
from unfreeze.models.pretrained import Sample
from unfreeze.stack.cache import PROCESS_CACHE, content_key
from unfreeze.stack.features import FeatureStore
from unfreeze.stack.frontier import frontier
from unfreeze.stack.ledger import group_digests
from unfreeze.stack.replay import NotReplayable, Replay, check_replay, prepare_replay
from unfreeze.train.feed import Feed, to_device
from unfreeze.train.hooks import Hook
from unfreeze.train.job import Job
from unfreeze.train.order import reading_batches

MEMORY_SHARE = 0.4
"""Share of the free memory that features may take."""

STORE_TOLERANCE = {"float32": 1e-4, "bf16": 5e-2}
"""Largest difference between outputs from kept features and from the plain model, relative to their scale.
Features were computed in batches of another shape, so they agree up to rounding."""

VERIFIED = 8
"""Rows of each split for which kept features are compared with the plain model."""


@dataclass
class Replayed:
    """Features of one split at one frontier."""

    replay: Replay
    stores: Sequence[FeatureStore]
    feed: Feed

    def outputs(self, rows: Sequence[int], device: torch.device) -> Tensor:
        """The model's outputs for these rows, with everything frozen played back."""
        features = [store.batch(rows).to(device) for store in self.stores]
        return self.replay.forward(to_device(self.feed.hollow_batch(rows), device), features)


def replay_phase(job: Job, phase: Phase) -> dict[int, Replayed]:
    """Features for the training and validation feeds (by id), or {} with a note that says why there are none."""
    reason = _not_worth_it(job, phase)
    if reason is None:
        try:
            return _replay(job, phase)
        except NotReplayable as problem:
            reason = str(problem)
    if frontier(job.stack.names, phase.learn) > 0:
        job.note(f"phase '{phase.name}': frozen layers are computed plainly: {reason}")
    return {}


def _not_worth_it(job: Job, phase: Phase) -> str | None:
    if not job.recipe.training.replay:
        return "replay is switched off"
    if frontier(job.stack.names, phase.learn) == 0:
        return "nothing is frozen below the frontier"
    if job.train.pipeline is not None:
        return "augmentation changes the inputs in every epoch"
    if any(type(hook).transform is not Hook.transform for hook in job.hooks):
        return "a technique changes the batches"
    if phase.epochs <= 1:
        return "each row is read once, so keeping it gains nothing"
    return None


def _replay(job: Job, phase: Phase) -> dict[int, Replayed]:
    feeds = [feed for feed in (job.train, job.validation) if feed is not None and len(feed)]
    replay = prepare_replay(job.stack, phase.learn, *_probes(job))
    below = job.stack.names[: frontier(job.stack.names, phase.learn)]
    key = content_key(
        weights=group_digests(job.stack, below),
        model=job.pretrained.spec,
        preprocessing=job.pretrained.preprocess.config(),
        data=job.manifest.fingerprint,
        entry=replay.entry_name,
        precision=job.recipe.training.precision,
        device=str(job.device),
        batch=job.evaluation_batch_size,
    )
    found: dict[int, Replayed] = {}
    for number, feed in enumerate(feeds):
        stores = PROCESS_CACHE.get(f"{key}/{number}", lambda feed=feed: _fill(job, replay, feed))  # type: ignore[misc]
        found[id(feed)] = Replayed(replay, stores, feed)
    try:
        for replayed in found.values():
            _verify(job, replayed)
    except NotReplayable:
        for number in range(len(feeds)):
            PROCESS_CACHE.drop(f"{key}/{number}")
        raise
    return found


def _probes(job: Job) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Two small batches of different shape: three of the shortest rows, and two of the longest."""
    lengths = job.train.lengths
    order = sorted(range(len(job.train)), key=lambda row: lengths[row])
    if len(order) < 3:
        raise NotReplayable("there are fewer than three training rows")
    short, long = ([job.train.sample(row) for row in rows] for rows in (order[:3], order[-2:]))
    if lengths[order[2]] == lengths[order[-1]]:
        # Texts that were all cut to the same length; others, of validation, need not be.
        short = [_halved(sample) for sample in short]
    first, second = (job.pretrained.preprocess.collate(samples) for samples in (short, long))
    return to_device(first, job.device), to_device(second, job.device)


def _halved(sample: Sample) -> Sample:
    """The first half of a text's tokens; an image as it is."""
    return {name: values[: -(-len(values) // 2)] if values.dim() == 1 else values for name, values in sample.items()}


@torch.no_grad()
def _fill(job: Job, replay: Replay, feed: Feed) -> list[FeatureStore]:
    """Run the frozen part once over a feed."""
    stores = [FeatureStore(ragged) for ragged in replay.has_length()]
    job.stack.module.eval()
    batches = reading_batches(feed.lengths, job.evaluation_batch_size)
    job.progress.stage(f"computing frozen features of {len(feed)} rows")
    for number, rows in enumerate(batches):
        with job.arithmetic():
            kept = replay.capture(to_device(feed.batch(rows), job.device))
        if number == 0:
            _require_memory(feed, rows, kept)
        for store, features in zip(stores, kept, strict=True):
            store.add(rows, [feed.lengths[row] for row in rows], features.cpu())
    for store in stores:
        store.close()
    return stores


def _require_memory(feed: Feed, rows: Sequence[int], kept: Sequence[Tensor]) -> None:
    size = sum(tensor.numel() * tensor.element_size() for tensor in kept)
    expected = size / sum(feed.lengths[row] for row in rows) * sum(feed.lengths)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    # Twice, since the parts and the whole exist together for a moment.
    if 2 * expected > MEMORY_SHARE * free:
        raise NotReplayable(
            f"their features would take {expected / 1e9:.1f} GB of memory, of which {free / 1e9:.1f} GB are free"
        )


@torch.no_grad()
def _verify(job: Job, replayed: Replayed) -> None:
    """Compare outputs from kept features with the plain model's on rows spread over the feed."""
    count = len(replayed.feed)
    rows = sorted({number * count // VERIFIED for number in range(VERIFIED)})
    job.stack.module.eval()
    check = _FromStore(replayed, rows, job.device)
    tolerance = STORE_TOLERANCE[job.recipe.training.precision]
    try:
        with job.arithmetic():
            check_replay(check, to_device(replayed.feed.batch(rows), job.device), tolerance)  # type: ignore[arg-type]
    except RuntimeError as error:
        raise NotReplayable("kept features do not fit into its forward pass") from error


@dataclass
class _FromStore:
    """Looks like a Replay whose `capture` reads the store instead of computing."""

    replayed: Replayed
    rows: Sequence[int]
    device: torch.device

    @property
    def module(self) -> torch.nn.Module:
        return self.replayed.replay.module

    def capture(self, batch: object) -> list[Tensor]:
        return [store.batch(self.rows).to(self.device) for store in self.replayed.stores]

    def forward(self, batch: object, features: Sequence[Tensor]) -> Tensor:
        return self.replayed.outputs(self.rows, self.device)
