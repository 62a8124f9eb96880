"""Parquet, with the image columns that `datasets` writes: {bytes, path}."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Table
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, is_table
from unfreeze.data.sources._text import read_bytes
from unfreeze.errors import DataError


def read(path: Path, options: ReadOptions) -> Reading:
    """All columns as Python values; class numbers become names where the file records them."""
    import pyarrow
    from pyarrow import parquet

    try:
        packed = path.name.lower().endswith(".gz")
        content = parquet.read_table(io.BytesIO(read_bytes(path)) if packed else str(path))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"File '{path}' is not readable Parquet: {str(error).splitlines()[0]}") from error
    names = _class_names(content.schema.metadata or {})
    columns = {name: content.column(name).to_pylist() for name in content.column_names if name != "__index_level_0__"}
    for name, classes in names.items():
        if name in columns:
            columns[name] = [class_name(value, classes) for value in columns[name]]
    return Reading(Table(columns, [f"{path.name}, row {i + 1}" for i in range(content.num_rows)], root=path.parent))


def class_name(value: Any, classes: list[str]) -> Any:
    """The name of a class number (of each, in a list); -1 means that there is none."""
    if isinstance(value, list):
        return [class_name(each, classes) for each in value]
    if not isinstance(value, int):
        return value
    return classes[value] if 0 <= value < len(classes) else None


def _class_names(metadata: dict[bytes, bytes]) -> dict[str, list[str]]:
    """Names that `datasets` wrote beside the data."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
    except (KeyError, ValueError, TypeError):
        return {}
    return {
        name: feature["names"]
        for name, feature in features.items()
        if isinstance(feature, dict) and isinstance(feature.get("names"), list)
    }


SOURCE = Source("Parquet, also with images inside", is_table(".parquet", ".pq"), read)
