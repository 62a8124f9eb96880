"""Recipes from YAML, flags and keyword arguments, and back to YAML.

Everything is strict, and every problem is reported at once: unknown and duplicate keys, wrong types and values out
of range, each with the file, the line and the nearest valid name. Whatever the way in, the result is a `Recipe`.

Three short forms are understood: `model: name`, `method: last:2` and `data: path` stand for `{name: …}` and
`{path: …}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from unfreeze import _yaml
from unfreeze._options import checked, default_of, fits, got, hints_of, item_class, misfit, plain, rows
from unfreeze.errors import RecipeError, nearest
from unfreeze.recipe import Recipe

MOST_BYTES = 1_000_000
"""A recipe larger than this is another file, named by mistake."""

SHORT_FORMS = {"data": "path", "model": "name", "method": "name"}
"""Sections that may be given as a single text, and the option that the text then is."""

SYNONYMS = {"learning_rate": "lr", "label": "target", "labels": "target", "label_column": "target", "bs": "batch_size"}
"""What other tools call an option."""

Place: TypeAlias = "tuple[str | int, ...]"


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe file.

    Relative paths in it (data.path, data.validation, data.test, model.weights) are relative to the current folder;
    where only the recipe's own folder has such a file, that one is taken.

    Raises
    ------
    RecipeError
        With every problem, each as "recipe.yaml, line 7: …".
    """
    path = Path(path)
    document = _yaml.read(_text(path), str(path))
    if document.value is None and not document.problems:
        raise RecipeError(f"{path}: the recipe is empty. Expected a mapping such as 'model: name'.")
    problems = [f"{path}, line {line}: {message}" for line, message in document.problems]
    reader = _Reader(str(path), document.lines, problems)
    return _near_paths(reader.recipe(document.value), path.parent)


def recipe_from_mapping(mapping: Mapping[str, Any], *, origin: str) -> Recipe:
    """A recipe from nested plain values; `origin` says in messages where they came from.

    Raises
    ------
    RecipeError
        With every problem.
    """
    return _Reader(origin).recipe(plain(mapping))


def read_options(kind: type[Any] | None, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass of options from plain values, strictly; None where there is no such dataclass.

    Raises
    ------
    RecipeError
        With every problem: unknown keys with the nearest name, values of the wrong kind.
    """
    if kind is None:
        return None
    reader = _Reader(where)
    hints: Mapping[str, Any] = hints_of(kind)  # type: ignore[arg-type]
    for key in values:
        if key not in hints:
            reader.problems.append(f"{where}: unknown key '{key}'. {nearest(str(key), list(hints))}")
    built = reader.part(kind, {key: value for key, value in plain(values).items() if key in hints}, ())
    if reader.problems:
        raise RecipeError(reader.problems)
    return built


def with_settings(recipe: Recipe, settings: Sequence[str]) -> Recipe:
    """The recipe with `key=value` settings such as "training.lr=1e-4"; a later one wins.

    Values are read as YAML; where an option takes a text, one that YAML reads as something else stays a text.

    Raises
    ------
    RecipeError
        With every problem, each naming its setting.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            problems.append(f"--set {setting}: expected key=value, as in training.epochs=3.")
            continue
        values[key.strip()] = _setting_value(key.strip(), text.strip())
    return _overlaid(recipe, values, "--set {key}", problems)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """The recipe with Python values by dotted key: {"training.epochs": 3}.

    Raises
    ------
    RecipeError
        With every problem, each naming its key.
    """
    return _overlaid(recipe, {key: plain(value) for key, value in values.items()}, "{key}", [])


def dump_recipe(recipe: Recipe, reasons: Mapping[str, str] | None = None) -> str:
    """The recipe as YAML, every option explicit, with reasons by dotted key as trailing comments.

    Reading it again gives an equal recipe.
    """
    return "\n".join(_block(recipe, "", "", dict(reasons or {}), short=False)) + "\n"


def dump_section(items: Sequence[Any], indent: str = "") -> str:
    """A list of recipe parts (phases) as YAML, without the options that have their defaults."""
    return "\n".join(_items(items, indent, "", {}, short=True)) + "\n"


def option_table() -> list[tuple[str, str, str, str]]:
    """Every option: dotted key, what it takes, its default as YAML, and what it is for."""
    return list(rows(Recipe, ""))


# ------------------------------------------------------------------------------------------------ reading


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}: the recipe cannot be read ({error.strerror or error}).") from None
    if len(content) > MOST_BYTES:
        raise RecipeError(f"{path}: larger than {MOST_BYTES:,} bytes, which no recipe is.")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RecipeError(f"{path}, line {line}: a recipe must be UTF-8 text.") from None


@dataclass
class _Reader:
    """Builds recipe parts from plain values and collects every problem with its place."""

    origin: str
    lines: Mapping[Place, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    origins: Mapping[Place, str] = field(default_factory=dict)

    def recipe(self, value: Any) -> Recipe:
        """The whole recipe, or RecipeError with all problems."""
        if not isinstance(value, Mapping):
            self._say((), f"a recipe must be a mapping such as 'model: name'. Got {got(value)} instead.")
        else:
            value = {key: _lengthen(key, part) for key, part in value.items()}
            built = self.part(Recipe, value, ())
            _check_shares(built, self)
        if self.problems:
            raise RecipeError(self.problems)
        return built  # type: ignore[no-any-return]

    def part(self, kind: type, value: Any, place: Place) -> Any:
        """One dataclass from a mapping; with its defaults where something was wrong."""
        if value is None and place:
            value = {}
        if not isinstance(value, Mapping):
            self._say(place, f"{_yaml.shown(place)} must be a mapping of options. Got {got(value)} instead.")
            return None
        hints = hints_of(kind)
        given: dict[str, Any] = {}
        for key, item in value.items():
            if key not in hints:
                self._say((*place, key), _unknown(str(key), place, list(hints)))
                continue
            before = len(self.problems)
            result = self.value(hints[key], item, (*place, key))
            if len(self.problems) == before or is_dataclass(result):
                given[key] = result
        return kind(**given)

    def value(self, hint: Any, value: Any, place: Place) -> Any:
        """One option's value, checked against its type."""
        if isinstance(hint, type) and is_dataclass(hint):
            return self.part(hint, value, place)
        item = item_class(hint)
        if item is not None and isinstance(value, list):
            return [self.part(item, each, (*place, index)) for index, each in enumerate(value)]
        if item is not None and value is None:
            return []
        if item is None and fits(hint, value):
            return checked(hint, value)
        self._say(place, misfit(_yaml.shown(place), hint, value))
        return None

    def _say(self, place: Place, message: str) -> None:
        near = place
        while near and near not in self.lines and near not in self.origins:
            near = near[:-1]
        where = self.origins.get(near, self.origin)
        line = self.lines.get(near)
        self.problems.append(f"{where}, line {line}: {message}" if line else f"{where}: {message}")


def _unknown(key: str, place: Place, valid: list[str]) -> str:
    """Where the option belongs, if it is another section's; else the nearest name."""
    message = f"unknown key '{key}'{f' in {_yaml.shown(place)}' if place else ''}."
    dotted = [name for name, *_ in option_table() if "[" not in name]
    elsewhere = [name for name in dotted if name.rpartition(".")[2] == SYNONYMS.get(key, key)]
    if elsewhere:
        return f"{message} Did you mean '{elsewhere[0]}'?"
    wide = nearest(key, dotted)
    return f"{message} {wide if '.' in key and wide.startswith('Did') else nearest(key, valid)}"


def _check_shares(recipe: Recipe, reader: _Reader) -> None:
    total = recipe.data.validation_share + recipe.data.test_share
    if total >= 1:
        reader._say(
            ("data", "test_share"),
            f"data.validation_share and data.test_share must leave rows to train on. Together they are {total:g}.",
        )


def _lengthen(key: Any, value: Any) -> Any:
    return {SHORT_FORMS[key]: value} if key in SHORT_FORMS and isinstance(value, str) else value


def _near_paths(recipe: Recipe, folder: Path) -> Recipe:
    def near(text: str | None) -> str | None:
        if text is None or Path(text).is_absolute() or Path(text).exists() or not (folder / text).exists():
            return text
        return str(folder / text)

    data = recipe.data
    moved = replace(data, path=near(data.path), validation=near(data.validation), test=near(data.test))
    return replace(recipe, data=moved, model=replace(recipe.model, weights=near(recipe.model.weights)))


# ------------------------------------------------------------------------------------------ flags, keywords


def _overlaid(recipe: Recipe, values: Mapping[str, Any], where: str, problems: list[str]) -> Recipe:
    tree: dict[str, Any] = plain(recipe)
    origins: dict[Place, str] = {}
    for key, value in values.items():
        place = tuple(key.split("."))
        origin = where.format(key=key)
        if key in SHORT_FORMS and isinstance(value, str):
            place = (*place, SHORT_FORMS[key])
        origins[place] = origin
        inside = _descend(tree, place[:-1])
        if inside is None:
            problems.append(f"{origin}: {_unknown(key, (), list(hints_of(Recipe)))}")
        else:
            inside[place[-1]] = _merged(_hint_of(place), inside.get(place[-1]), value)
    return _Reader("recipe", {}, problems, origins).recipe(tree)


def _descend(tree: dict[str, Any], parts: Sequence[str]) -> dict[str, Any] | None:
    for part in parts:
        if not isinstance(tree, dict) or not isinstance(tree.get(part), dict):
            return None
        tree = tree[part]
    return tree


def _merged(hint: Any, old: Any, new: Any) -> Any:
    """A whole section given at once changes the options that it names and leaves the others.

    A mapping of names that are not the recipe's own, such as method.options, is one value: a new one replaces it.
    """
    section = isinstance(hint, type) and is_dataclass(hint)
    return {**old, **new} if section and isinstance(old, dict) and isinstance(new, dict) else new


def _setting_value(key: str, text: str) -> Any:
    try:
        document = _yaml.read(text, "--set")
        value = document.value if not document.problems else text
    except RecipeError:
        return text
    hint = _hint_at(key)
    return text if hint is not None and not fits(hint, value) and fits(hint, text) else value


def _hint_at(key: str) -> Any:
    parts = key.split(".")
    return _hint_of([*parts, SHORT_FORMS[key]] if key in SHORT_FORMS else parts)


def _hint_of(parts: Sequence[str]) -> Any:
    hint: Any = Recipe
    for part in parts:
        if not (isinstance(hint, type) and is_dataclass(hint)):
            return None
        hint = hints_of(hint).get(part)
    return hint


# ----------------------------------------------------------------------------------------------- writing


def _block(part: Any, indent: str, prefix: str, reasons: dict[str, str], *, short: bool) -> Iterator[str]:
    for item in fields(part):
        value, key = getattr(part, item.name), f"{prefix}{item.name}"
        if short and value == default_of(item):
            continue
        comment = _yaml.comment(reasons.get(key, ""))
        if is_dataclass(value):
            yield f"{indent}{item.name}:{comment}"
            yield from _block(value, indent + "  ", f"{key}.", reasons, short=short)
        elif isinstance(value, list) and value and is_dataclass(value[0]):
            yield f"{indent}{item.name}:{comment}"
            yield from _items(value, indent + "  ", key, reasons, short=True)
        else:
            yield f"{indent}{item.name}: {_yaml.flow(value)}{comment}"


def _items(items: Sequence[Any], indent: str, prefix: str, reasons: dict[str, str], *, short: bool) -> Iterator[str]:
    for index, each in enumerate(items):
        lines = list(_block(each, indent + "  ", f"{prefix}[{index}].", reasons, short=short))
        lines = lines or [f"{indent}  {{}}"]
        yield f"{indent}- {lines[0].strip()}"
        yield from lines[1:]
