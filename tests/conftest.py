"""What every test may rely on: no network, one thread, a folder of its own, real data only where asked for."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

# Helpers that several folders of tests share: contract/tiny.py, promises/small.py and promises/processes.py.
sys.path[:0] = [str(Path(__file__).parent / folder) for folder in ("contract", "promises")]

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _never_the_users_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Also outside of single tests, where fixtures of modules run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNFREEZE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that writes runs/ by default writes it into its own folder, and features into one that is its own too."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UNFREEZE_CACHE", str(tmp_path / "cache"))


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT folder, tiny ResNet weights, a table and pictures: what the runs in promises/small.py read."""
    from small import make_home

    return make_home(tmp_path_factory.mktemp("home"))


@pytest.fixture
def real_data() -> Path:
    """The folder of real data sets and weights, or the test is skipped."""
    folder = os.environ.get("UNFREEZE_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("UNFREEZE_REAL_DATA does not name a folder")
    return Path(folder)
