"""What a run was made with: the versions that another person needs to make it again."""

from __future__ import annotations

import platform
from importlib import metadata

PACKAGES = ("torch", "transformers", "timm", "tokenizers", "safetensors", "numpy", "pillow")


def versions() -> dict[str, str]:
    """Versions by name: unfreeze, Python, the packages that compute, and the operating system; what is absent is left
    out."""
    from unfreeze import __version__

    found = {"unfreeze": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, platform.system(): platform.machine()}
