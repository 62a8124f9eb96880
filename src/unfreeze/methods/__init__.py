"""Methods: named ways to fine-tune. One file each; `METHODS` finds them."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase, StackView
from unfreeze.registry import Registry

METHODS: Registry[Method] = Registry("method", "unfreeze.methods", "METHOD")

from unfreeze.methods._parse import parse_method  # noqa: E402  (needs METHODS)
from unfreeze.methods._resolve import as_recipe, dump_phases, phases_of, written_epochs  # noqa: E402  (needs METHODS)

__all__ = [
    "METHODS",
    "Method",
    "MethodContext",
    "Phase",
    "StackView",
    "as_recipe",
    "dump_phases",
    "parse_method",
    "phases_of",
    "written_epochs",
]
