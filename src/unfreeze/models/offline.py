"""What to say when a model cannot be reached: one line, with what is available without a network."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit
from urllib.request import getproxies

from unfreeze.data.manifest import Modality
from unfreeze.errors import ModelError, nearest
from unfreeze.models.embedded import EMBEDDED


def unreachable(name: str, modality: Modality, reason: str) -> ModelError:
    """The error for a model that cannot be loaded, with what can be and the nearest name."""
    own = [known for known, kind in EMBEDDED.items() if kind == modality]
    cached = cached_models()
    first = next((line.strip() for line in reason.splitlines() if line.strip()), "no answer")
    first = first if len(first) <= 160 else first[:157] + "…"
    parts = [f"embedded {', '.join(own)}"]
    if cached:
        parts.append("in the Hub cache " + ", ".join(cached[:8]) + (", …" if len(cached) > 8 else ""))
    parts.append("any local folder with config.json and model.safetensors")
    known = {*own, *cached, *(_timm_names() if modality == "image" and "/" not in name else [])}
    hint = "" if name in known else nearest(name, known)
    hint = f" {hint}" if hint.startswith("Did you mean") else ""
    offline = "; ".join(parts)
    return ModelError(f"The model '{name}' cannot be loaded: {first.rstrip('.')}. Without a network: {offline}.{hint}")


@contextmanager
def hub() -> Iterator[None]:
    """A block that calls the Hub: quietly, and only its cache where the Hub's name cannot even be resolved.

    Without this the Hub's client tries for half a minute before it gives up.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not _resolves(constants.ENDPOINT)
    try:
        with _quiet():
            yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _resolves(address: str) -> bool:
    if any(getproxies().get(scheme) for scheme in ("https", "http", "all")):
        return True
    try:
        socket.getaddrinfo(urlsplit(address).hostname, 443)
    except OSError:
        return False
    return True


@contextmanager
def _quiet() -> Iterator[None]:
    """No report of weights that are left out on purpose, and no bar over bars."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()


def cached_models() -> list[str]:
    """Ids of the models in the Hub's local cache."""
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return sorted(repo.repo_id for repo in scan_cache_dir().repos if repo.repo_type == "model")
    except CacheNotFound:
        return []


def _timm_names() -> list[str]:
    from unfreeze.models.tiny_cnn import timm

    return list(timm.list_models())
