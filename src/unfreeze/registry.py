"""Registries: one file, one entry, found by scanning a package and the entry points of outsiders.

A registry looks at the modules of one package. The file `last.py` in `unfreeze/methods/` *is* the
method `last`; what it offers is the attribute that carries the registry's own name (`METHOD`).
Nothing is imported until it is asked for, so listing names costs no torch.

Outsiders add an entry point in the group `unfreeze.<registry>` (for example `unfreeze.methods`)
that points to an object of the same kind; its name is the entry's name.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from typing import Any, Generic, TypeVar

from unfreeze.errors import UserError, nearest

T = TypeVar("T")


@dataclass(frozen=True)
class Card:
    """What a person should know before choosing a technique. Honest about evidence and costs."""

    what: str
    when: str
    cost: str
    evidence: str
    source: str


@dataclass(frozen=True)
class Registry(Generic[T]):
    """The entries of one package.

    Parameters
    ----------
    kind : str
        What one entry is called in messages: "method".
    package : str
        The package whose modules are the entries: "unfreeze.methods".
    attribute : str
        The name under which a module offers its entry: "METHOD".
    """

    kind: str
    package: str
    attribute: str

    @cached_property
    def _inside(self) -> dict[str, str]:
        """Entry name to module name, for the files of the package."""
        folder = importlib.import_module(self.package)
        return {
            module.name.replace("_", "-"): f"{self.package}.{module.name}"
            for module in pkgutil.iter_modules(folder.__path__)
            if not module.name.startswith("_")
        }

    @cached_property
    def _outside(self) -> dict[str, metadata.EntryPoint]:
        group = f"unfreeze.{self.package.rsplit('.', 1)[-1]}"
        return {point.name: point for point in metadata.entry_points(group=group)}

    def names(self) -> list[str]:
        """Every name, sorted, without importing any entry."""
        return sorted({*self._inside, *self._outside})

    def get(self, name: str) -> T:
        """The entry of that name.

        Raises
        ------
        UserError
            If there is none; the message holds the nearest name.
        """
        key = name.replace("_", "-")
        if key in self._inside:
            entry: Any = getattr(importlib.import_module(self._inside[key]), self.attribute)
        elif key in self._outside:
            entry = self._outside[key].load()
        else:
            raise UserError(f"Unknown {self.kind} '{name}'. {nearest(name, self.names())}")
        return entry  # type: ignore[no-any-return]

    def items(self) -> Iterator[tuple[str, T]]:
        """Every entry with its name."""
        for name in self.names():
            yield name, self.get(name)
