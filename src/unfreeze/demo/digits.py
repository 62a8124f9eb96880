"""Images for the demonstration: scikit-learn's handwritten digits as a folder of small grey pictures."""

from __future__ import annotations

from pathlib import Path

GREYS = 16
"""The data's own scale: values are 0 to 16."""


def write_folder(path: Path, rows: int | None = None) -> Path:
    """Write `<digit>/<number>.png`, 8 × 8 pixels of 8-bit grey, dark ink on white as on paper; return the folder.

    `rows` keeps the first so many of the 1797 images. Source: Alpaydin and Kaynak, "Optical Recognition of
    Handwritten Digits", UCI Machine Learning Repository, 1998, as it comes with scikit-learn.
    """
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:rows], digits.target[:rows], strict=True)):
        folder = path / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        grey = np.rint(255 - image * (255 / GREYS)).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"{number:04d}.png")
    return path
