"""Which column is what: named in the recipe, or recognised by name and content, with the reason stated."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unfreeze.data import names
from unfreeze.data.manifest import Column, ImageRef, Modality, Table
from unfreeze.data.sequences import shared
from unfreeze.data.sources._reading import IMAGE_SUFFIXES, split_name
from unfreeze.data.values import is_missing
from unfreeze.errors import DataError, nearest
from unfreeze.recipe import DataRecipe

Role = Literal["text", "pair", "image", "target", "group", "split", "slice", "other"]
_SAMPLE = 1000


@dataclass(frozen=True)
class Roles:
    """The columns by role, with their reasons in the order of the table."""

    modality: Modality
    inputs: tuple[str, ...]
    targets: tuple[str, ...]
    group: str | None
    split: str | None
    columns: tuple[Column, ...]


def recognise(table: Table, recipe: DataRecipe, *, need_target: bool = True, slices: Sequence[str] = ()) -> Roles:
    """Roles of a table's columns.

    Parameters
    ----------
    slices : sequence of str
        Columns that tell groups apart: they are never taken for an input or the target.

    Raises
    ------
    DataError
        If a named column is missing, or none can be recognised as input or target.
    """
    chosen: dict[str, tuple[Role, str]] = {}
    targets = [recipe.target] if isinstance(recipe.target, str) else list(recipe.target or [])
    for role, asked in _asked(recipe, targets):
        _require(table, asked, role)
        if asked in chosen:
            raise DataError(f"Column '{asked}' is named both as {chosen[asked][0]} and as {role}.")
        chosen[asked] = (role, "named in the recipe")
    _take_slices(table, slices, chosen)
    _find_split(table, chosen)
    _find_images(table, recipe, chosen)
    if need_target and not targets:
        targets = _find_target(table, chosen)
    _find_group(table, chosen)
    _find_text(table, chosen)
    by_role = {
        role: [name for name, (given, _) in chosen.items() if given == role] for role in ("image", "text", "pair")
    }
    inputs = by_role["image"] or [*by_role["text"], *by_role["pair"]]
    columns = tuple(Column(name, *chosen.get(name, ("other", "not used"))) for name in table.columns)
    return Roles(
        "image" if by_role["image"] else "text",
        tuple(inputs),
        tuple(targets),
        next((name for name, (role, _) in chosen.items() if role == "group"), None),
        next((name for name, (role, _) in chosen.items() if role == "split"), None),
        columns,
    )


def _asked(recipe: DataRecipe, targets: list[str]) -> list[tuple[Role, str]]:
    named: list[tuple[Role, str | None]] = [
        ("text", recipe.text),
        ("pair", recipe.pair),
        ("image", recipe.image),
        ("group", recipe.group),
        ("split", recipe.split),
    ]
    if recipe.image and (recipe.text or recipe.pair):
        raise DataError("The input is either a text or an image; name data.text or data.image, not both.")
    return [(role, name) for role, name in named if name] + [("target", name) for name in targets]


def _require(table: Table, name: str, role: str, section: str = "data") -> None:
    if name not in table.columns:
        raise DataError(f"There is no column '{name}' ({section}.{role}). {nearest(name, table.columns)}")


def _take_slices(table: Table, slices: Sequence[str], chosen: dict[str, tuple[Role, str]]) -> None:
    """Columns that tell groups apart; one of them may also keep rows together or name the split."""
    for name in slices:
        _require(table, name, "slices", "evaluation")
        role = chosen.get(name, ("slice", ""))[0]
        if role in ("text", "pair", "image", "target"):
            what = "the target" if role == "target" else "the model's input"
            raise DataError(f"evaluation.slices: column '{name}' is {what}; expected a column beside it.")
        chosen.setdefault(name, ("slice", "named in evaluation.slices"))


def _listed(table: Table) -> str:
    names_ = [name[:40] for name in table.columns]
    return ", ".join(names_[:20]) + (", …" if len(names_) > 20 else "")


def _free(table: Table, chosen: dict[str, tuple[Role, str]], *also: Role) -> list[str]:
    """Columns that have no role yet, or one of those given."""
    return [name for name in table.columns if name not in chosen or chosen[name][0] in also]


def _named_like(free: list[str], words: Iterable[str]) -> str | None:
    """The first column that bears one of the words, in the order of the words."""
    by_name = {names.plain(name): name for name in reversed(free)}
    return next((by_name[word] for word in words if word in by_name), None)


def _has(chosen: dict[str, tuple[Role, str]], *roles: str) -> bool:
    return any(role in roles for role, _ in chosen.values())


def _find_split(table: Table, chosen: dict[str, tuple[Role, str]]) -> None:
    name = _named_like(_free(table, chosen, "slice"), names.SPLIT)
    if name is None or _has(chosen, "split") or table.split is not None:
        return
    values = {str(value) for value in table.columns[name] if not is_missing(value)}
    if values and all(split_name(value) for value in values):
        chosen[name] = ("split", f"called '{name}' and holds only {', '.join(sorted(values))}")


def _find_images(table: Table, recipe: DataRecipe, chosen: dict[str, tuple[Role, str]]) -> None:
    if recipe.text or recipe.pair or recipe.image:
        return
    free = [name for name in _free(table, chosen) if holds_images(table.columns[name])]
    name = _named_like(free, names.IMAGE) or next(iter(free), None)
    if name:
        what = "images" if isinstance(_first(table.columns[name]), ImageRef | bytes | dict) else "names of image files"
        chosen[name] = ("image", f"holds {what}")


def holds_images(values: Sequence[Any]) -> bool:
    """Whether nearly all values are images, their bytes, or names of image files."""
    sample = [value for value in values[:_SAMPLE] if not is_missing(value)][:100]
    return bool(sample) and sum(map(_is_image, sample)) >= 0.9 * len(sample)


def _is_image(value: Any) -> bool:
    if isinstance(value, dict):
        return bool({"bytes", "path"} & value.keys()) and set(value) <= {"bytes", "path"}
    if isinstance(value, str):
        return value.lower().strip().endswith(IMAGE_SUFFIXES) and len(value) < 1000
    return isinstance(value, ImageRef | bytes) or (isinstance(value, Path) and value.suffix.lower() in IMAGE_SUFFIXES)


def _find_target(table: Table, chosen: dict[str, tuple[Role, str]]) -> list[str]:
    free = _free(table, chosen)
    name = _named_like(free, names.TARGET)
    if name is None:
        like = (n for n in free if names.plain(n).startswith("label") or names.plain(n).endswith(("_label", "_class")))
        name = next(like, None)
    if name:
        chosen[name] = ("target", f"called '{name}'")
        return [name]
    flags = [n for n in free if _is_flag(table.columns[n])]
    if len(flags) >= 2:
        chosen.update(dict.fromkeys(flags, ("target", "one of several columns of 0 and 1")))
        return flags
    texts = _text_candidates(table, free)
    few = [n for n in free if _few_distinct(table.columns[n]) and (_has(chosen, "image", "text") or [n] != texts[:1])]
    if few:
        distinct = len({str(value) for value in table.columns[few[-1]]})
        chosen[few[-1]] = ("target", f"the last column with few distinct values ({distinct})")
        return [few[-1]]
    raise DataError(f"No column to predict was recognised. Name it with --target; the columns are: {_listed(table)}.")


def _is_flag(values: Sequence[Any]) -> bool:
    found = set()
    for value in values:
        if not is_missing(value):
            found.add(str(value).strip())
            if not found <= {"0", "1"}:
                return False
    return len(found) == 2


def _few_distinct(values: Sequence[Any]) -> bool:
    """At most one distinct value in five rows, and values that are short; looked at only until there are more."""
    found: set[str] = set()
    count = characters = 0
    for value in values:
        if not is_missing(value):
            word = str(value)
            found.add(word)
            count, characters = count + 1, characters + len(word)
            if len(found) > max(2, len(values) // 5):
                return False
    return 2 <= len(found) <= max(2, count // 5) and characters < 60 * count


def _find_group(table: Table, chosen: dict[str, tuple[Role, str]]) -> None:
    name = _named_like(_free(table, chosen, "slice"), names.GROUP)
    if name is None or _has(chosen, "group"):
        return
    values = shared(str(value) for value in table.columns[name] if not is_missing(value))
    if 2 < len(set(values)) < len(values):
        chosen[name] = ("group", f"called '{name}', with values that recur")


def _find_text(table: Table, chosen: dict[str, tuple[Role, str]]) -> None:
    if _has(chosen, "image"):
        return
    free = _free(table, chosen)
    if not _has(chosen, "text", "pair"):
        by_name = {names.plain(name): name for name in reversed(free)}
        for first, second in names.PAIRS:
            if first in by_name and second in by_name:
                chosen[by_name[first]] = ("text", f"called '{first}' beside '{second}'")
                chosen[by_name[second]] = ("pair", f"called '{second}' beside '{first}'")
                return
    if _has(chosen, "text"):
        return
    name = _named_like(free, names.TEXT)
    reason = f"called '{name}'"
    if name is None:
        name = next(iter(_text_candidates(table, free)), None)
        reason = "holds the longest texts"
    if name is None:
        raise DataError(
            f"No column with texts or images was recognised. Name it with --text or --image; the columns are:"
            f" {_listed(table)}."
        )
    chosen[name] = ("text", reason)


def _text_candidates(table: Table, free: list[str]) -> list[str]:
    """Columns of words (not numbers, not codes), those with the longest and most varied texts first."""
    lengths: dict[str, float] = {}
    for name in free:
        sample = [value for value in table.columns[name][:_SAMPLE] if not is_missing(value)]
        if sample and all(isinstance(v, str) for v in sample) and _are_words(sample):
            lengths[name] = sum(map(len, set(sample))) / len(sample)
    return sorted(lengths, key=lambda name: -lengths[name])


def _are_words(sample: list[str]) -> bool:
    """Several words to a value, or single words made of letters: no numbers and no codes such as U1077."""
    words = sum(len(value.split()) for value in sample) / len(sample)
    letters = sum(value.strip().isalpha() for value in sample)
    return not all(map(_is_number, sample)) and (words >= 1.5 or letters >= 0.5 * len(sample))


def _is_number(value: str) -> bool:
    try:
        float(value)
    except ValueError:
        return False
    return True


def _first(values: Sequence[Any]) -> Any:
    return next((value for value in values if not is_missing(value)), None)
