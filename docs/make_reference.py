"""Write the tables of docs/recipe.md and docs/methods.md from the recipe and the registries.

python docs/make_reference.py
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from unfreeze._options import rows
from unfreeze.data.augmentations import AUGMENTATIONS
from unfreeze.methods import METHODS
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.optim.schedules import SCHEDULES
from unfreeze.recipe_io import option_table

DOCS = Path(__file__).parent

RECIPE = """\
# Recipe

A recipe says what is wanted. It is the same whether it comes as YAML (`unfreeze fit recipe.yaml`), flags
(`--epochs 3`, or `--set training.epochs=3` for any option) or keyword arguments in Python. Every option may be left
out; `null` means that it is decided from the data and the model, and the plan says how and why.

```yaml
data: reviews.csv
model: all-MiniLM-L6-v2
method: gradual
training:
  epochs: 6
  optimizer: adamw
  schedule: cosine
```

Problems are reported all at once, each with its line and the nearest valid name. A finished run holds
`recipe.resolved.yaml`, which is a recipe again.

An expert writes the phases out. `unfreeze plan DATA --dump-phases` writes those of a method, to edit:

```yaml
data: reviews.csv
method:
  phases:
    - {name: probe, learn: head, epochs: 2, lr: 1e-3}
    - {name: top, learn: "last:3", until: plateau, epochs: 4}
    - {name: all, learn: all, epochs: 2, lr: 2e-5, scales: {"block [0-2]": 0.3}}
```

## Options
"""

METHOD = """\
# Methods

A method says which layer groups learn, when and how fast. `--method last:2` gives it an argument; `method.layer_decay`
makes lower groups learn slower in any of them; `phases` in a [recipe](recipe.md) replace it. What came out on real
data stands in [results.md](results.md).
"""


def table(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = [headers, ["---"] * len(headers), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines) + "\n"


def _cell(value: Any) -> str:
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")


def recipe_page() -> str:
    """docs/recipe.md."""
    lines = [(f"`{key}`", takes, f"`{default}`", help_) for key, takes, default, help_ in option_table()]
    return f"{RECIPE}\n{table(['option', 'takes', 'default', 'what'], lines)}"


def methods_page() -> str:
    """docs/methods.md."""
    parts = [METHOD]
    for name, method in METHODS.items():
        card = method.card
        title = f"{name}:{method.argument.replace(' ', '-')}" if method.argument else name
        parts.append(
            f"## `{title}`\n\n{card.what}\n\n- **When:** {card.when}\n- **Cost:** {card.cost}\n"
            f"- **Evidence:** {card.evidence}\n- **Source:** {card.source}\n"
        )
        if method.options is not None:
            settings = [(f"`{key}`", takes, f"`{start}`", what) for key, takes, start, what in rows(method.options, "")]
            parts.append(table(["method.options", "takes", "default", "what it is for"], settings))
    for title, registry in (("Optimizers", OPTIMIZERS), ("Schedules", SCHEDULES), ("Augmentations", AUGMENTATIONS)):
        entries: Iterable[tuple[str, Any]] = registry.items()
        lines = [(f"`{name}`", entry.card.what, entry.card.when) for name, entry in entries]
        parts.append(f"## {title}\n\n{table(['name', 'what', 'when'], lines)}")
    return "\n".join(parts)


PAGES = {"recipe.md": recipe_page, "methods.md": methods_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), encoding="utf-8")
