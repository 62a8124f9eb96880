"""From a recipe and a stack to the phases that the loop runs, and from phases back to a recipe."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from unfreeze.errors import RecipeError, nearest
from unfreeze.methods import METHODS
from unfreeze.methods._method import MethodContext, Phase, StackView
from unfreeze.methods._parse import all_settings, group_count, parse_method
from unfreeze.recipe import PhaseRecipe, Recipe
from unfreeze.recipe_io import dump_section, read_options


def phases_of(recipe: Recipe, stack: StackView) -> tuple[Phase, ...]:
    """The phases of a recipe on this stack, with discriminative rates (method.layer_decay) applied.

    Phases that the recipe writes out replace its method's own. `training.epochs` and `method.name` have to be
    decided; written phases that all say their epochs need neither. A scale that a written phase states wins over
    layer_decay, so that dumped phases mean the same with and without it.

    Raises
    ------
    RecipeError
        With every problem: unknown names, expressions that match no group, epochs that do not add up.
    """
    decay = _decay(stack, recipe.method.layer_decay or 1.0)
    if recipe.method.phases:
        written = _written(recipe, stack)
        return tuple(
            phase.scaled({name: factor for name, factor in decay.items() if name not in phase.scales})
            for phase in written
        )
    return tuple(phase.scaled(decay) for phase in _of_method(recipe, stack))


def written_epochs(recipe: Recipe) -> float | None:
    """The length of a plan whose written phases all say their epochs; None when training.epochs has to."""
    lengths = [phase.epochs for phase in recipe.method.phases]
    return sum(length for length in lengths if length) if lengths and None not in lengths else None


def dump_phases(phases: Sequence[Phase]) -> str:
    """Phases as YAML that stands in a recipe as it is, under method.phases, and gives the same phases again."""
    return "method:\n  phases:\n" + dump_section([as_recipe(phase) for phase in phases], indent="    ")


def as_recipe(phase: Phase) -> PhaseRecipe:
    """A phase as a recipe writes it: every group by its name."""
    return PhaseRecipe(
        learn=list(phase.learn),
        epochs=phase.epochs,
        until=phase.until,
        lr=phase.lr,
        scales=dict(phase.scales),
        name=phase.name,
    )


def _decay(stack: StackView, decay: float) -> dict[str, float]:
    """1 for the top pre-trained group, times `decay` for each further down; the head keeps its own rate.

    What was added to a group has the group's depth.
    """
    base = {name: stack.beside.get(name, name) for name in stack.names[:-1]}
    depth = {name: place for place, name in enumerate(dict.fromkeys(base[name] for name in reversed(base)))}
    return {name: decay ** depth[base[name]] for name in base}


def _of_method(recipe: Recipe, stack: StackView) -> Sequence[Phase]:
    if recipe.method.name is None:
        raise RecipeError(f"method.name is not decided. {nearest('', METHODS.names())}")
    if recipe.training.epochs is None:
        raise RecipeError("training.epochs is not decided; the method's phases share it.")
    name, argument = parse_method(recipe.method.name)
    method = METHODS.get(name)
    settings = read_options(method.options, all_settings(recipe.method), f"method.options of {name}")
    return method.phases(MethodContext(stack, argument, float(recipe.training.epochs), settings))


def _written(recipe: Recipe, stack: StackView) -> list[Phase]:
    problems: list[str] = []
    lengths = _lengths(recipe, problems)
    phases = [
        _phase(index, phase, length, stack, problems)
        for index, (phase, length) in enumerate(zip(recipe.method.phases, lengths, strict=True))
    ]
    if problems:
        raise RecipeError(problems)
    return phases


def _lengths(recipe: Recipe, problems: list[str]) -> list[float]:
    """Epochs of each phase; those that say nothing share what is left of training.epochs."""
    given = [phase.epochs for phase in recipe.method.phases]
    stated = sum(length for length in given if length)
    total = recipe.training.epochs
    open_phases = given.count(None)
    if total is None and open_phases:
        problems.append("training.epochs must be given, since not every phase in method.phases says its epochs.")
    elif total is not None and open_phases and stated >= total:
        problems.append(f"training.epochs ({total:g}) must exceed the epochs that method.phases states ({stated:g}).")
    elif total is not None and not open_phases and abs(stated - total) > 1e-6 * total:
        problems.append(
            f"the phases last {stated:g} epochs together, and training.epochs says {total:g}: leave one of them out."
        )
    share = ((total or 0.0) - stated) / open_phases if open_phases else 0.0
    return [length or share for length in given]


def _phase(index: int, written: PhaseRecipe, epochs: float, stack: StackView, problems: list[str]) -> Phase:
    where = f"method.phases[{index}]"
    items = [written.learn] if isinstance(written.learn, str) else written.learn
    found: set[str] = set()
    for item in items:
        try:
            found.update(_groups(item, stack, f"{where}.learn"))
        except RecipeError as error:
            problems.extend(error.problems)
    if not items:
        problems.append(f"{where}.learn must name at least one layer group. Got an empty list instead.")
    learn = tuple(name for name in stack.names if name in found)
    return Phase(
        name=written.name or ", ".join(items),
        learn=learn,
        epochs=epochs,
        until=written.until,
        lr=written.lr,
        scales=_scales(written.scales, learn, f"{where}.scales", problems) if learn else {},
    )


def _groups(item: str, stack: StackView, where: str) -> Sequence[str]:
    """The groups that one word of `learn` means: a name first, then a short form, then a regular expression."""
    if item in stack.names:
        return (item,)
    if item == "all":
        return stack.names
    if item == "head":
        return (stack.head,)
    if item.startswith("last:"):
        k = group_count(item.removeprefix("last:"), stack, len(stack.names), f"{where}: '{item}'")
        return stack.last(k)
    return _matching(item, stack.names, where)


def _matching(pattern: str, names: Iterable[str], where: str) -> list[str]:
    names = list(names)
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise RecipeError(f"{where}: '{pattern}' is no name and no regular expression ({error}).") from None
    found = [name for name in names if regex.fullmatch(name)]
    if not found:
        raise RecipeError(f"{where}: '{pattern}' matches none of the {len(names)} groups. {nearest(pattern, names)}")
    return found


def _scales(written: Mapping[str, float], learn: Sequence[str], where: str, problems: list[str]) -> dict[str, float]:
    """Factors by group: a group's own name wins over expressions, and the first expression over later ones."""
    scales: dict[str, float] = {}
    for pattern, factor in sorted(written.items(), key=lambda item: item[0] not in learn):
        if factor <= 0:
            problems.append(f"{where}: the factor of '{pattern}' must be greater than 0. Got {factor:g} instead.")
        try:
            matches = [pattern] if pattern in learn else _matching(pattern, learn, f"{where} (of what learns)")
        except RecipeError as error:
            problems.extend(error.problems)
            continue
        for name in matches:
            scales.setdefault(name, factor)
    return {name: scales[name] for name in learn if name in scales}
