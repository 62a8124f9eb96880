"""YAML as recipes use it: the scalars of YAML 1.2, no tags, no duplicate keys, and a line for every value.

PyYAML follows YAML 1.1, in which `1e-4` is a text, `no` is false and `010` is eight. Recipes follow 1.2.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import yaml

from unfreeze.errors import RecipeError

Path: TypeAlias = "tuple[str | int, ...]"

MOST_VALUES = 100_000
"""More values than this are no recipe (aliases of aliases grow without limit)."""

_TAG = "tag:yaml.org,2002:"
_SCALARS = {
    "null": r"~|null|Null|NULL|",
    "bool": r"true|True|TRUE|false|False|FALSE",
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
_FIRST = {
    "null": ["~", "n", "N", ""],
    "bool": list("tTfF"),
    "int": list("-+0123456789"),
    "float": list("-+.0123456789"),
}


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _side in (_Loader, _Dumper):
    for _name, _regex in _SCALARS.items():
        _side.add_implicit_resolver(_TAG + _name, re.compile(rf"(?:{_regex})\Z"), _FIRST[_name])


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    """One line, whatever the text holds: a comment follows it."""
    plain = text.isprintable()
    return dumper.represent_scalar(_TAG + "str", text, style=None if plain else '"')


_Dumper.add_representer(str, _represent_text)


@dataclass
class Document:
    """Plain values with the line (from 1) on which each stands, and what is wrong with the text itself."""

    value: Any = None
    lines: dict[Path, int] = field(default_factory=dict)
    problems: list[tuple[int, str]] = field(default_factory=list)


def read(text: str, origin: str) -> Document:
    """Parse one YAML document.

    Raises
    ------
    RecipeError
        If the text is not YAML at all; smaller problems are collected in the result.
    """
    document = Document()
    try:
        node = _Loader(text).get_single_node()
        if node is not None:
            document.value = _Builder(document).build(node, ())
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{origin}, line {line}: not valid YAML: {error.problem or error.context}.") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RecipeError(f"{origin}, line {line}: a character that YAML does not allow ({error.reason}).") from None
    except RecursionError:
        raise RecipeError(f"{origin}: nested too deeply for a recipe.") from None
    return document


def flow(value: Any) -> str:
    """A plain value on one line."""
    text = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=True, width=float("inf"), allow_unicode=True, sort_keys=False
    )
    return text.removesuffix("...\n").strip("\n")


def comment(text: str) -> str:
    """A trailing comment of one line; nothing for an empty text."""
    words = "".join(letter if letter.isprintable() else " " for letter in text).split()
    return f"  # {' '.join(words)}" if words else ""


class _Builder:
    """Turns nodes into plain values, without ever constructing anything else."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.count = 0

    def build(self, node: yaml.Node, path: Path) -> Any:
        line = node.start_mark.line + 1
        self.document.lines.setdefault(path, line)
        self.count += 1
        if self.count > MOST_VALUES:
            raise RecursionError
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return {key: self.build(child, (*path, key)) for key, child in self._pairs(node, path)}
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.build(child, (*path, index)) for index, child in enumerate(node.value)]
        if isinstance(node, yaml.ScalarNode) and node.tag.removeprefix(_TAG) in {*_SCALARS, "str"}:
            return self._scalar(node.tag.removeprefix(_TAG), node.value, line)
        self.document.problems.append((line, f"the tag '{node.tag.replace(_TAG, '!!')}' is not allowed in a recipe."))
        return None

    def _pairs(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        first: dict[str, int] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                self.document.problems.append((line, "a key must be a name. Got a list or a mapping instead."))
                continue
            key = key_node.value
            if key in first:
                where = f" in {shown(path)}" if path else ""
                self.document.problems.append((line, f"duplicate key '{key}'{where} (first on line {first[key]})."))
                continue
            first[key] = line
            self.document.lines[(*path, key)] = line
            yield key, child

    def _scalar(self, kind: str, text: str, line: int) -> Any:
        try:
            return _scalar_value(kind, text)
        except ValueError:
            self.document.problems.append((line, f"'{text[:40]}' cannot be read as {kind}."))
            return None


def _scalar_value(kind: str, text: str) -> Any:
    if kind == "null":
        return None
    if kind == "bool":
        return text.lower() == "true"
    if kind == "int":
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
    if kind == "float":
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def shown(path: Path) -> str:
    """A place in a recipe for people: method.phases[1].learn."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")
