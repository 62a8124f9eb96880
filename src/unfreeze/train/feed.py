"""From examples to batches: encoded once, augmented on the way where training asks for it.

What texts were encoded to is packed, and lies in a mapped file where it is large. Images are decoded by as many threads
as there are cores.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cache, cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from unfreeze.data.images import decode
from unfreeze.data.manifest import Examples, ImageRef, Input, Manifest
from unfreeze.machine import cores
from unfreeze.models.pretrained import Batch, Preprocessor, Sample
from unfreeze.tasks._task import encode_targets
from unfreeze.train.order import generator
from unfreeze.train.packed import Packed, can_be_packed, pack, packed_bytes

if TYPE_CHECKING:
    from unfreeze.data.augmentations._pipeline import Pipeline
    from unfreeze.tasks._task import Task

MEMO_BYTES = 4 * 1024**3
"""Encoded images are kept in memory up to this size; beyond it they are decoded again."""

ENCODED_TOGETHER = 2000
"""Texts that are tokenized in one call."""

TENSOR = 1000
"""Bytes that a small tensor takes beside its numbers: measured on encoded texts."""

LOOKED_AT = 16
"""Rows whose size stands for those of all."""

_KEEPING = threading.Lock()


@dataclass
class Feed:
    """One split, ready to be read by row numbers.

    Parameters
    ----------
    targets : Tensor of shape (rows, …)
    pipeline : Pipeline, optional
        Augmentation, for training only. Its randomness depends on seed, epoch and row alone.
    most : int
        Bytes of encoded images that are kept.
    """

    examples: Examples
    targets: Tensor
    preprocess: Preprocessor
    max_pixels: int
    pipeline: Pipeline | None = None
    seed: int = 0
    most: int = MEMO_BYTES
    _memo: dict[int, Sample] = field(default_factory=dict)
    _memo_bytes: int = 0
    _packed: Packed | None = None
    _begun: dict[tuple[int, int | None], Future[Any]] = field(default_factory=dict)
    _given: dict[tuple[int, int | None], Sample] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.examples)

    @cached_property
    def lengths(self) -> list[int]:
        """Length of each encoded row; 1 for images, which are not decoded for it."""
        if self._has_images or not len(self):
            return [1] * len(self)
        lengths: list[int] = []

        def encoded() -> Iterator[list[Sample]]:
            for start in range(0, len(self), ENCODED_TOGETHER):
                some = encode_all(self.preprocess, self.examples.inputs[start : start + ENCODED_TOGETHER])
                lengths.extend(map(self.preprocess.length, some))
                yield some

        portions = encoded()
        first = next(portions)
        if can_be_packed(first[0]):
            self._packed = pack(chain([first], portions), list(first[0]))
            self._memo.clear()
        else:
            self._memo.update(enumerate(chain(first, chain.from_iterable(portions))))
        return lengths

    def sample(self, row: int) -> Sample:
        """One encoded row without augmentation."""
        if self._packed is not None:
            return self._packed.sample(row)
        if row not in self._memo:
            encoded = self.preprocess.encode(self.examples.inputs[row])
            size = sum(tensor.numel() * tensor.element_size() for tensor in encoded.values())
            with _KEEPING:
                if self._memo_bytes + size > self.most:
                    return encoded
                self._memo[row] = encoded
                self._memo_bytes += size
        return self._memo[row]

    @property
    def bytes(self) -> int:
        """What the rows that are kept encoded take in memory now."""
        packed = 0 if self._packed is None else self._packed.bytes
        return packed + sum(_bytes(sample) for sample in self._memo.values())

    @property
    def bytes_at_most(self) -> int:
        """What they will take once every row has been read."""
        if not len(self) or self._packed is not None or (self.pipeline is not None and self.pipeline.inputs):
            return self.bytes
        rows = range(0, len(self), -(-len(self) // LOOKED_AT))
        some = [self.sample(row) for row in rows]
        if can_be_packed(some[0]):
            numbers = sum(tensor.numel() for sample in some for tensor in sample.values())
            return packed_bytes(len(self), numbers / len(some))
        size = len(self) * sum(map(_bytes, some)) // len(some)
        return min(size, self.most) if isinstance(self.examples.inputs[0], ImageRef) else size

    def augmented(self, row: int, epoch: int, picture: Any = None) -> Sample:
        """One encoded row as the pipeline changes it in this epoch.

        Parameters
        ----------
        picture : PIL.Image, optional
            The image if it has been decoded before.
        """
        if self.pipeline is None:
            return self.sample(row)
        draw = generator(self.seed, 1, epoch, row)
        if not self.pipeline.inputs:
            sample = dict(self.sample(row))
        elif self._has_images:
            sample = self._image(self.pipeline.input(picture or self._decoded(row), draw))
        else:
            sample = self.preprocess.encode(self.pipeline.input(self.examples.inputs[row], draw))
        return self.pipeline.sample(sample, draw, self._facts)

    def _image(self, picture: Any) -> Sample:
        return self.preprocess.from_pil(picture)  # type: ignore[attr-defined, no-any-return]

    @cached_property
    def _facts(self) -> Any:
        return getattr(self.preprocess, "facts", {})

    def batch(self, rows: Sequence[int], epoch: int | None = None) -> Batch:
        """A padded batch; with an epoch, augmented."""
        return self.preprocess.collate(self._read(rows, epoch))

    def expect(self, rows: Sequence[int], epoch: int | None = None) -> None:
        """Begin to decode images that will be asked for next, and forget others."""
        if self._has_images:
            keys = [(row, epoch) for row in rows]
            self._begun = {key: self._begun.get(key) or self._begin(*key) for key in keys}

    def give(self, rows: Sequence[int], epoch: int, samples: Sequence[Sample]) -> None:
        """What was read elsewhere, of rows that will be asked for next; others are forgotten."""
        self._given = {(row, epoch): sample for row, sample in zip(rows, samples, strict=True)}

    def forget(self) -> None:
        """Nothing that was begun or given will be asked for."""
        self._begun, self._given = {}, {}

    def _read(self, rows: Sequence[int], epoch: int | None) -> list[Sample]:
        """Random changes are made here, one after the other: they draw from a generator that all threads share."""
        if not self._has_images:
            return [self.sample(row) if epoch is None else self.augmented(row, epoch) for row in rows]
        keys = [(row, epoch) for row in rows]
        if all(key in self._given for key in keys):
            return [self._given[key] for key in keys]
        begun = [self._begun.get(key) or self._begin(*key) for key in keys]
        found = [each.result() for each in begun]
        if epoch is None:
            return found
        return [self.augmented(row, epoch, one) for row, one in zip(rows, found, strict=True)]

    def _begin(self, row: int, epoch: int | None) -> Future[Any]:
        """The encoded row, or where each epoch changes it before that, the decoded image."""
        return _readers().submit(self._decoded if epoch is not None and self.changes_images else self.sample, row)

    @property
    def changes_images(self) -> bool:
        """Whether each epoch changes images before they are encoded."""
        return self._has_images and self.pipeline is not None and bool(self.pipeline.inputs)

    def _decoded(self, row: int) -> Any:
        return decode(self.examples.inputs[row], self.max_pixels)  # type: ignore[arg-type]

    @cached_property
    def _has_images(self) -> bool:
        return len(self) > 0 and isinstance(self.examples.inputs[0], ImageRef)

    def hollow_batch(self, rows: Sequence[int]) -> Batch:
        """A batch whose images are not decoded, for replay: only its shape matters."""
        if not self._has_images:
            return self.batch(rows)
        one = self._one
        return {name: torch.zeros((), dtype=t.dtype).expand(len(rows), *t.shape[1:]) for name, t in one.items()}

    @cached_property
    def _one(self) -> Batch:
        return self.preprocess.collate([self.sample(0)])


@cache
def _readers() -> ThreadPoolExecutor:
    """What decodes images: as many threads as this process has cores."""
    return ThreadPoolExecutor(cores(), thread_name_prefix="images")


def _bytes(sample: Sample) -> int:
    return sum(tensor.numel() * tensor.element_size() + TENSOR for tensor in sample.values())


def make_feed(
    examples: Examples,
    manifest: Manifest,
    task: Task,
    preprocess: Preprocessor,
    *,
    max_pixels: int,
    pipeline: Pipeline | None = None,
    seed: int = 0,
    most: int = MEMO_BYTES,
) -> Feed:
    """A feed with its targets encoded."""
    targets = encode_targets(task.encode, examples.targets, manifest)
    return Feed(examples, targets, preprocess, max_pixels, pipeline, seed, most)


def encode_all(preprocess: Preprocessor, items: Sequence[Input]) -> list[Sample]:
    """Many rows at once: fast tokenizers work on them in parallel, and so do threads on images."""
    together = getattr(preprocess, "encode_many", None)
    if together is not None:
        return list(together(items))
    return list(_readers().map(preprocess.encode, items))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch on a device."""
    return {name: tensor.to(device, non_blocking=True) for name, tensor in batch.items()}
