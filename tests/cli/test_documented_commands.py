"""Every command line that the pages show is one that the command line accepts."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from unfreeze.cli import main

if TYPE_CHECKING:
    from conftest import Stub

ROOT = Path(__file__).parents[2]


def documented() -> list[str]:
    pages = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
    found = [
        line.split("  #")[0].strip()
        for page in pages
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
        for line in block.splitlines()
    ]
    return [line for line in found if line.startswith("unfreeze ")]


def test_there_are_some() -> None:
    assert len(documented()) >= 4


@pytest.mark.parametrize("line", documented())
def test_documented_command(line: str, api: Stub) -> None:
    assert main(shlex.split(line)[1:]) == 0
