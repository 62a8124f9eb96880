"""What the data turned out to be, and the examples that training reads.

`Table` is what a source gives: named columns of plain Python values. `Prepared` is what the data
layer hands to the rest: the examples by split, and the manifest that tells everything found on the
way. Nothing here imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

Modality = Literal["text", "image"]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@dataclass(frozen=True)
class ImageRef:
    """An image that has not been decoded yet: a file, or the bytes of one (exactly one of the two)."""

    path: Path | None = None
    data: bytes | None = None


Input: TypeAlias = "str | tuple[str, str] | ImageRef"
Target: TypeAlias = "str | tuple[str, ...] | float"


@dataclass
class Table:
    """Named columns of equal length; `origin[i]` tells a person where row i came from ("a.csv, line 12").

    `split` is set when the source itself separates splits (folders named train/…, or a `datasets` dict).
    `root` is the folder within which paths to images have to lie.
    """

    columns: dict[str, Sequence[Any]]
    origin: Sequence[str]
    split: list[SplitName] | None = None
    root: Path | None = None

    def __len__(self) -> int:
        return len(self.origin)


@dataclass(frozen=True)
class Quarantined:
    """A row that was left out, and why."""

    origin: str
    reason: str
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """One thing that the audit noticed. `kind` is a short stable word, `message` is for people."""

    kind: str
    severity: Literal["info", "warning", "error"]
    message: str
    count: int = 0
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """The role that a column plays, and why it was given that role."""

    name: str
    role: Literal["text", "pair", "image", "target", "group", "split", "slice", "other"]
    reason: str


@dataclass(frozen=True)
class Slice:
    """A column by whose values figures are told for each group; see `unfreeze.data.slices`.

    `groups` are their names, in order. `numbers` says that values are numbers, `edges` where they are cut: a group
    ends at its edge, which belongs to it. `distinct` counts the different values that were found.
    """

    column: str
    groups: tuple[str, ...]
    edges: tuple[float, ...] = ()
    numbers: bool = False
    distinct: int = 0


@dataclass(frozen=True)
class Manifest:
    """Rows, hashes, labels, splits, findings: written to `manifest.json` in the run folder.

    `labels` are the class names in the order of the head's outputs; empty for regression.
    `counts[split][label]` counts rows; for regression the label is "".
    `fingerprint` is a sha256 over the examples' contents, their targets and splits.
    `target_mean` and `target_scale` standardise regression targets (training split only).
    """

    source: str
    modality: Modality
    task: str
    task_reason: str
    columns: tuple[Column, ...]
    labels: tuple[str, ...]
    rows: dict[str, int]
    counts: dict[str, dict[str, int]]
    split_reason: str
    fingerprint: str
    findings: tuple[Finding, ...] = ()
    quarantined: int = 0
    target_mean: float = 0.0
    target_scale: float = 1.0
    slices: tuple[Slice, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Examples:
    """Rows that are fit to learn from or to be scored: parallel sequences.

    `split` is named where these are one split of a source that has several. `meta` holds, for each column named in
    evaluation.slices, the group of each row.
    """

    inputs: Sequence[Input]
    targets: Sequence[Target]
    origin: Sequence[str]
    split: str = ""
    meta: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.inputs)


@dataclass(frozen=True)
class Prepared:
    """The data layer's result."""

    manifest: Manifest
    splits: dict[SplitName, Examples]
    quarantine: tuple[Quarantined, ...] = ()
