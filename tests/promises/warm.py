"""Imported by the server that forks: one run of each kind, so that a forked process has every library loaded."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from small import fit_text, make_home

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as folder:
    fit_text(make_home(Path(folder)), Path(folder, "run"), epochs=1)
