"""What the tests of reports share: a whole small run of each modality, with all its evidence."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from unfreeze.run import Run

sys.path.insert(0, str(Path(__file__).parent))  # made.py, page.py and browser.py


@pytest.fixture(scope="session")
def text_run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classification of texts, in two phases."""
    from small import fit_text

    folder = tmp_path_factory.mktemp("report") / "text"
    return fit_text(home, folder, evaluation__report=True, evaluation__evidence_share=8.0)


@pytest.fixture(scope="session")
def image_run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A classification of pictures."""
    from small import fit_images

    folder = tmp_path_factory.mktemp("report") / "images"
    return fit_images(home, folder, evaluation__report=True, evaluation__evidence_share=8.0)
