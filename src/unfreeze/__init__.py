"""Fine-tune pre-trained networks on your own data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Plan",
    "Recipe",
    "Run",
    "compare",
    "evaluate",
    "fit",
    "inspect_data",
    "load",
    "load_recipe",
    "load_together",
    "merge",
    "plan",
    "predict",
    "resume",
    "soup",
    "sweep",
    "write_report",
]

if TYPE_CHECKING:
    from unfreeze.api import (
        compare,
        evaluate,
        fit,
        inspect_data,
        load,
        merge,
        plan,
        predict,
        resume,
        soup,
        sweep,
        write_report,
    )
    from unfreeze.planning import Plan
    from unfreeze.recipe import Recipe
    from unfreeze.recipe_io import load_recipe
    from unfreeze.run import Run
    from unfreeze.several import load_together

_HOMES = {
    "Plan": "planning",
    "Recipe": "recipe",
    "Run": "run",
    "load_recipe": "recipe_io",
    "load_together": "several",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import unfreeze` needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module 'unfreeze' has no attribute '{name}'")
    import importlib

    return getattr(importlib.import_module(f"unfreeze.{_HOMES.get(name, 'api')}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
