"""Imported by the server that forks: a run, so that a forked process has every library loaded and begins at once."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from small import fit_text, make_home

from unfreeze.stack.cache import PROCESS_CACHE

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    fit_text(make_home(Path(folder)), Path(folder, "run"), epochs=2)
PROCESS_CACHE.clear()
