"""The public surface: sorted, complete, lazy."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import unfreeze


def test_all_is_sorted_and_every_name_is_there() -> None:
    assert unfreeze.__all__ == sorted(set(unfreeze.__all__))
    for name in unfreeze.__all__:
        assert inspect.getdoc(getattr(unfreeze, name)), name
    assert set(unfreeze.__all__) <= set(dir(unfreeze))


def test_all_holds_every_public_name_that_type_checkers_see() -> None:
    tree = ast.parse(Path(unfreeze.__file__).read_text(encoding="utf-8"))
    seen = {
        alias.asname or alias.name
        for block in tree.body
        if isinstance(block, ast.If)
        for statement in block.body
        if isinstance(statement, ast.ImportFrom)
        for alias in statement.names
    }
    assert seen - {"Any"} == set(unfreeze.__all__)


def test_every_sentence_of_the_api_is_public() -> None:
    from unfreeze import api

    sentences = {"fit", "plan", "load", "evaluate", "predict", "resume", "compare", "inspect_data"}
    assert sentences <= set(unfreeze.__all__)
    assert all(getattr(unfreeze, name) is getattr(api, name) for name in sentences)


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(unfreeze, "fits")


def test_importing_the_package_loads_no_torch() -> None:
    program = (
        "import sys, unfreeze; assert 'torch' not in sys.modules; unfreeze.Recipe; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
