"""The flags that make a recipe: one table from flag to option, from which signatures and help are derived.

Values are handed on as they were typed; the recipe checks all of them at once, as it does for files.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from unfreeze.errors import RecipeError
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import load_recipe, option_table, with_settings, with_values

FLAGS = {
    "model": "model.name",
    "task": "task",
    "method": "method.name",
    "epochs": "training.epochs",
    "lr": "training.lr",
    "batch-size": "training.batch_size",
    "seed": "seed",
    "text": "data.text",
    "pair": "data.pair",
    "image": "data.image",
    "target": "data.target",
    "group": "data.group",
    "split": "data.split",
    "validation": "data.validation",
    "test": "data.test",
    "max-rows": "data.max_rows",
    "device": "training.device",
    "cache-budget": "training.cache_budget",
    "memory-budget": "training.memory_budget",
    "output": "output.folder",
}
"""Flags that take a value. Every other option is reached by --set."""

LISTS = {"slice": "evaluation.slices", "shift": "evaluation.shift"}
"""Flags that may be given several times."""

DATA_FLAGS = (*(flag for flag, key in FLAGS.items() if key.startswith("data.")), "task", "model", "seed")
"""The flags that matter before there is a model or a method."""

SWITCHES = {"tensorboard": "output.tensorboard", "overwrite": "output.overwrite"}

HELP = {key: help_ for key, _, _, help_ in option_table()}

SOURCE = Annotated[
    str,
    typer.Argument(
        metavar="DATA|RECIPE", help="a table, an image folder, a Hub data set or a .yaml recipe", show_default=False
    ),
]
JSON = Annotated[bool, typer.Option("--json", help="one JSON document on standard output and nothing else")]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="no progress")]
SETTINGS = Annotated[
    list[str], typer.Option("--set", metavar="KEY=VALUE", help="any option of the recipe, such as training.ema=0.99")
]


def takes_recipe(
    flags: tuple[str, ...] = tuple(FLAGS), switches: tuple[str, ...] = tuple(SWITCHES)
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command the flags of a recipe.

    The command is called as `command(recipe, **its own keyword options)`.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        lists = tuple(LISTS) if flags == tuple(FLAGS) else ()
        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]

        def wrapped(source: str, settings: list[str], **options: Any) -> None:
            given = {flag: options.pop(_name(flag)) for flag in flags}
            several = {LISTS[flag]: options.pop(_name(flag)) for flag in lists}
            on = [switch for switch in switches if options.pop(switch)]
            words = [f"{key}={json.dumps(values)}" for key, values in several.items() if values]
            command(recipe_of(source, given, on, [*words, *settings]), **options)

        parameters = [
            inspect.Parameter("source", inspect.Parameter.KEYWORD_ONLY, annotation=SOURCE),
            *(_value(flag) for flag in flags),
            *(_list(flag) for flag in lists),
            *(_switch(switch) for switch in switches),
            inspect.Parameter("settings", inspect.Parameter.KEYWORD_ONLY, annotation=SETTINGS, default=[]),
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in own),
        ]
        wrapped.__doc__ = command.__doc__
        wrapped.__name__ = command.__name__
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        return wrapped

    return decorate


def recipe_of(source: str, flags: dict[str, str | None], switches: list[str], settings: list[str]) -> Recipe:
    """The recipe that a source, flags, switches and settings say; flags override a recipe file."""
    if Path(source).suffix.lower() in {".yaml", ".yml"}:
        recipe = load_recipe(source)
    else:
        recipe = with_values(Recipe(), {"data.path": source})
    recipe = with_values(recipe, {SWITCHES[switch]: True for switch in switches})
    said = {f"--set {FLAGS[flag]}:": f"--{flag}:" for flag, value in flags.items() if value is not None}
    words = [f"{FLAGS[flag]}={value}" for flag, value in flags.items() if value is not None]
    try:
        return with_settings(recipe, [*words, *settings])
    except RecipeError as error:
        raise RecipeError([_renamed(problem, said) for problem in error.problems]) from None


def _renamed(problem: str, said: dict[str, str]) -> str:
    """The problem under the flag that the person typed."""
    for old, new in said.items():
        if problem.startswith(old):
            return new + problem[len(old) :]
    return problem


def _name(flag: str) -> str:
    return flag.replace("-", "_")


def _value(flag: str) -> inspect.Parameter:
    annotation = Annotated[
        str | None, typer.Option(f"--{flag}", metavar="VALUE", help=HELP[FLAGS[flag]], show_default=False)
    ]
    return inspect.Parameter(_name(flag), inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=None)


def _list(flag: str) -> inspect.Parameter:
    annotation = Annotated[list[str], typer.Option(f"--{flag}", metavar="VALUE", help=HELP[LISTS[flag]])]
    return inspect.Parameter(_name(flag), inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=[])


def _switch(flag: str) -> inspect.Parameter:
    annotation = Annotated[bool, typer.Option(f"--{flag}", help=HELP[SWITCHES[flag]])]
    return inspect.Parameter(flag, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=False)
