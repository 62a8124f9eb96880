"""Parquet, with the image columns that `datasets` writes: {bytes, path}."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Table
from unfreeze.data.sequences import origins
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, is_table
from unfreeze.data.sources._text import read_bytes
from unfreeze.data.stored import BLOCK, Gathered
from unfreeze.errors import DataError


def read(path: Path, options: ReadOptions) -> Reading:
    """All columns as Python values, some rows at a time; class numbers become names where the file records them."""
    import pyarrow
    from pyarrow import parquet

    try:
        packed = path.name.lower().endswith(".gz")
        with parquet.ParquetFile(io.BytesIO(read_bytes(path)) if packed else str(path)) as file:
            schema = file.schema_arrow
            classes = _class_names(schema.metadata or {})
            wanted = {name: i for i, name in enumerate(schema.names) if name != "__index_level_0__"}
            table = Gathered(wanted)
            for batch in file.iter_batches(BLOCK):
                table.add({name: _values(batch.column(i), classes.get(name)) for name, i in wanted.items()}, len(batch))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"File '{path}' is not readable Parquet: {str(error).splitlines()[0]}") from error
    return Reading(Table(table.columns(), origins(f"{path.name}, row", range(1, len(table) + 1)), root=path.parent))


def _values(column: Any, classes: list[str] | None) -> list[Any]:
    values: list[Any] = column.to_pylist()
    return values if classes is None else [class_name(value, classes) for value in values]


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
