"""Evidence: what can be shown about a run beyond its figures. One file each; `EVIDENCE` finds them."""

from __future__ import annotations

from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Registry

EVIDENCE: Registry[Evidence] = Registry("kind of evidence", "unfreeze.evidence", "EVIDENCE")

__all__ = ["EVIDENCE", "Evidence"]
