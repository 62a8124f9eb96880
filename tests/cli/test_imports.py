"""What answers at once must not load what takes seconds."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = "torch transformers timm torchvision sklearn pandas datasets"

PROGRAM = """
import sys
from unfreeze.cli import main
code = main({arguments!r})
heavy = [name for name in {heavy!r}.split() if name in sys.modules]
print("HEAVY", heavy, "CODE", code)
"""


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["fit", "--help"], ["plan", "--help"], ["--version"], ["fit", "x.csv", "--lr", "fast"], ["methods"]],
    ids=" ".join,
)
def test_no_torch(arguments: list[str]) -> None:
    program = PROGRAM.format(arguments=arguments, heavy=HEAVY)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert f"HEAVY [] CODE {2 if 'fast' in arguments else 0}" in done.stdout


def test_the_modules_of_recipes_and_data_are_free_of_torch() -> None:
    program = (
        "import sys, unfreeze, unfreeze.recipe_io, unfreeze.methods, unfreeze.data.manifest, unfreeze.progress\n"
        "import unfreeze.demo.digits, unfreeze.demo.stdlib_docstrings\n"
        f"assert not [name for name in {HEAVY!r}.split() if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def test_texts_wait_for_no_image_library() -> None:
    """timm would add half a second to every start; torchvision is imported by transformers itself."""
    program = (
        "import sys, unfreeze.api, unfreeze.models.text, unfreeze.models.image, unfreeze.models.store\n"
        "from unfreeze.evaluation.gate import _import\n"
        "_import('transformers')\n"
        "assert not [name for name in ('timm', 'pandas') if name in sys.modules]"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
