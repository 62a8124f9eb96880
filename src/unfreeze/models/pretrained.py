"""What a loaded model is: a module, its preprocessing and where it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from torch import Tensor, nn

from unfreeze.data.manifest import Input, Modality
from unfreeze.recipe import ModelRecipe
from unfreeze.stack.additions import Addition
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack

Sample: TypeAlias = dict[str, Tensor]
"""One encoded example without padding and without a batch dimension."""

Batch: TypeAlias = dict[str, Tensor]
"""Keyword arguments of the module's forward, each of shape (rows, …)."""


class Preprocessor(Protocol):
    """Turns inputs into samples and samples into batches."""

    def encode(self, item: Input) -> Sample:
        """One example, unpadded. Deterministic: augmentation happens elsewhere."""

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Pad to the longest and stack."""

    def length(self, sample: Sample) -> int:
        """How long a sample is, for length-aware batches (tokens; 1 for images)."""

    def config(self) -> dict[str, Any]:
        """Everything that changes what `encode` returns, as plain values: the cache's key."""

    def save(self, folder: Path) -> None:
        """Write what is needed to make this preprocessor again."""


@dataclass(frozen=True)
class Rates:
    """Learning rates of a family: what it was pre-trained with, what fine-tuning starts from, and who says so.

    Both are for AdamW unless the source says otherwise; `fine_tuning` is at most a tenth of `pretraining`.
    """

    pretraining: float
    fine_tuning: float
    source: str


@dataclass(frozen=True)
class Family:
    """What is particular about one family of architectures: one file in `unfreeze/models/families/`.

    Parameters
    ----------
    name : str
        Shown to people, and the file's name.
    modality : "text" or "image"
    library : "transformers" or "timm"
    matches : sequence of str
        transformers model types, or regular expressions over timm names.
    patterns : sequence of GroupPattern
        The layer groups, lowest first; the last is the new head.
    rates : Rates
    tiny : callable () -> object
        Makes a tiny random-weight configuration by the family's own library, for tests: a transformers
        config, or the name and keyword arguments of a timm model.
    pooling : "mean", "first" or "last"
        How token features become one vector (text only).
    """

    name: str
    modality: Modality
    library: str
    matches: Sequence[str]
    patterns: Sequence[GroupPattern]
    rates: Rates
    tiny: Callable[[], Any]
    pooling: str = "mean"
    extras: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Provenance:
    """Where the weights came from. `sha256` is over the weights as loaded, before any change."""

    name: str
    source: str
    revision: str | None
    licence: str | None
    sha256: str
    parameters: int

    @property
    def commit(self) -> str | None:
        """The Hub's commit, where the weights came from there: the same files for ever; a tag or branch may move on."""
        known = self.source == "hub" and re.fullmatch(r"[0-9a-f]{40}", self.revision or "") is not None
        return self.revision if known else None


@dataclass
class Pretrained:
    """A loaded model with a new head.

    `module(**batch)` returns a tensor of shape (rows, outputs). `spec` holds the plain values from
    which `unfreeze.models.store.load` builds the same architecture again without any network.

    A parameter-efficient method leaves `additions`, what of the module is its own, and `tuned`, lines for the plan that
    say what it did; `asked` then says where the rest, which a saved model does not hold, comes from.
    """

    module: nn.Module
    preprocess: Preprocessor
    family: Family
    provenance: Provenance
    spec: dict[str, Any]
    asked: ModelRecipe | None = None
    additions: Sequence[Addition] = ()
    tuned: Sequence[str] = ()

    def stack(self) -> LayerStack:
        """The module's layer groups, lowest first."""
        return build_stack(self.module, self.family.patterns, self.additions)
