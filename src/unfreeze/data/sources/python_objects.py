"""What Python users pass: DataFrames, lists of pairs or dicts, dicts of columns or splits, `datasets` objects."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unfreeze.data.manifest import ImageRef, Table
from unfreeze.data.sequences import origins
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, from_records, joined, split_name
from unfreeze.errors import DataError


def read(data: Any, options: ReadOptions) -> Reading:
    """Rows numbered from 1; images and arrays become PNG bytes."""
    if isinstance(data, Mapping) and data and all(split_name(key) for key in data):
        return joined([(split_name(key), _one(part, options, f"{key}, row")) for key, part in data.items()])
    return _one(data, options, "row")


def _one(data: Any, options: ReadOptions, where: str) -> Reading:
    if isinstance(data, str | Path):
        from unfreeze.data.sources import read_source

        return read_source(data, options)
    table = _table(data)
    table.origin = origins(where, range(1, len(table) + 1))
    table.columns = {name: [_plain(value) for value in values] for name, values in table.columns.items()}
    return Reading(table)


def _table(data: Any) -> Table:
    """Columns of a DataFrame, a `datasets.Dataset`, a dict of columns, or rows."""
    if hasattr(data, "to_dict") and hasattr(data, "iloc"):
        columns = {str(name): list(data.iloc[:, i]) for i, name in enumerate(data.columns)} if data.ndim == 2 else None
        return _columns(columns or {"text": list(data)})
    if hasattr(data, "column_names") and hasattr(data, "features"):
        return _dataset(data)
    if isinstance(data, Mapping):
        return _columns({str(name): list(values) for name, values in data.items()})
    if isinstance(data, np.ndarray) and data.ndim < 3:
        data = data.tolist()
    return _rows(list(data))


def _columns(columns: dict[str, list[Any]]) -> Table:
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise DataError(f"Columns must have equal lengths; found {lengths}.")
    return Table({**columns}, [""] * next(iter(lengths.values()), 0))


def _rows(rows: list[Any]) -> Table:
    """Dicts, tuples (input, label) or ((text, text), label), or inputs alone."""
    if rows and all(isinstance(row, Mapping) for row in rows):
        return from_records(rows, [""] * len(rows))
    if rows and all(isinstance(row, tuple | list) and len(row) == 2 for row in rows):
        first = [row[0] for row in rows]
        if all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in first):
            pairs = {"text1": [pair[0] for pair in first], "text2": [pair[1] for pair in first]}
            return Table({**pairs, "label": [row[1] for row in rows]}, [""] * len(rows))
        return Table({_input_name(first): first, "label": [row[1] for row in rows]}, [""] * len(rows))
    odd = next((i for i, row in enumerate(rows, 1) if isinstance(row, tuple | list | Mapping)), None)
    if odd is not None:
        raise DataError(
            f"Expected a list of (input, label) pairs or of dicts; item {odd} is {str(rows[odd - 1])[:80]}"
            f" ({type(rows[odd - 1]).__name__})."
        )
    return Table({_input_name(rows): rows}, [""] * len(rows))


def _input_name(values: list[Any]) -> str:
    images = any(isinstance(value, Image.Image | np.ndarray | ImageRef | bytes | Path) for value in values[:20])
    return "image" if images else "text"


def _dataset(data: Any) -> Table:
    """A `datasets.Dataset`: class numbers become names, images stay undecoded."""
    import datasets

    from unfreeze.data.sources.parquet import class_name

    for name, feature in data.features.items():
        if isinstance(feature, datasets.Image) and feature.decode:
            data = data.cast_column(name, datasets.Image(decode=False))
    columns = {str(name): list(data[name]) for name in data.column_names}
    for name, feature in data.features.items():
        classes = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if classes:
            columns[name] = [class_name(value, classes) for value in columns[name]]
    return _columns(columns)


def _plain(value: Any) -> Any:
    """Plain Python values; pictures as PNG bytes."""
    if isinstance(value, Image.Image):
        return ImageRef(data=_png(value))
    if isinstance(value, np.ndarray):
        return ImageRef(data=_png(_picture(value))) if value.ndim >= 2 else value.tolist()
    if isinstance(value, np.generic):
        return value.item()
    return value


def _picture(array: np.ndarray[Any, Any]) -> Image.Image:
    """(height, width), (height, width, channels) or (channels, height, width); floats in 0…1 or bytes."""
    if array.ndim == 3 and array.shape[0] in (1, 3, 4) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise DataError(f"An array of shape {array.shape} is no image; expected (height, width[, 1, 3 or 4]).")
    if array.dtype.kind == "f":
        top = float(np.nanmax(array)) if array.size else 0.0
        array = np.nan_to_num(array * 255 if top <= 1 else array)
    elif array.dtype.kind == "b":
        array = array * 255
    elif array.dtype == np.uint16:
        array = array // 257
    return Image.fromarray(np.clip(np.round(array), 0, 255).astype(np.uint8))


def _png(image: Image.Image) -> bytes:
    from unfreeze.data.images import normalised

    buffer = io.BytesIO()
    normalised(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def claims(data: object) -> bool:
    """Whether something is no path and no name but data itself."""
    return not isinstance(data, str | Path | bytes) and (
        hasattr(data, "iloc") or hasattr(data, "column_names") or isinstance(data, Mapping) or hasattr(data, "__iter__")
    )


SOURCE = Source("DataFrames, lists, dicts and `datasets` objects", claims, read)
