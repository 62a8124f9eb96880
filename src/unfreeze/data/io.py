"""The data layer's files in a run folder: `quarantine.jsonl` and `manifest.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Column, Finding, Manifest, Quarantined, Slice
from unfreeze.data.values import plain


def write_quarantine(path: Path, rows: Iterable[Quarantined]) -> None:
    """One JSON object per row that was left out: where it came from, why, and its values."""
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            content = {"origin": plain(row.origin), "reason": plain(row.reason), "row": plain(row.row)}
            file.write(json.dumps(content, ensure_ascii=False, allow_nan=False) + "\n")


def write_manifest(path: Path, manifest: Manifest) -> None:
    """The manifest as JSON."""
    path.write_text(json.dumps(plain(manifest.to_dict()), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """The manifest that `write_manifest` wrote."""
    return manifest_from(json.loads(path.read_text(encoding="utf-8")))


def manifest_from(content: dict[str, Any]) -> Manifest:
    """A manifest from the plain values of `Manifest.to_dict`."""
    columns = tuple(Column(**column) for column in content["columns"])
    findings = tuple(Finding(**{**f, "examples": tuple(f["examples"])}) for f in content["findings"])
    slices = tuple(
        Slice(**{**s, "groups": tuple(s["groups"]), "edges": tuple(s["edges"])}) for s in content.get("slices", ())
    )
    labels = tuple(content["labels"])
    return Manifest(**{**content, "columns": columns, "labels": labels, "findings": findings, "slices": slices})
