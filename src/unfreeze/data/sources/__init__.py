"""Where data come from: one file per format, each offering `SOURCE`."""

from __future__ import annotations

from pathlib import Path

from unfreeze.data.sources._reading import IMAGE_SUFFIXES, Reading, ReadOptions, Source, suffix_of
from unfreeze.errors import DataError, nearest
from unfreeze.progress import counted
from unfreeze.registry import Registry

SOURCES: Registry[Source] = Registry("data source", "unfreeze.data.sources", "SOURCE")

__all__ = ["SOURCES", "ReadOptions", "Reading", "Source", "read_source", "there"]


def read_source(data: object, options: ReadOptions) -> Reading:
    """Read whatever `data` is: a file, a folder, the name of a Hub data set, or Python objects.

    Raises
    ------
    DataError
        If it does not exist, is empty, or is of a kind that no source reads.
    """
    if isinstance(data, str) and there(Path(data).expanduser()):
        data = Path(data).expanduser()
    _refuse_absent(data)
    for _, source in SOURCES.items():
        if source.claims(data):
            reading = source.read(data, options)
            if not len(reading.table) and not reading.quarantine:
                raise DataError(f"{_called(data)} has no rows.")
            return reading
    if isinstance(data, Path) and data.is_dir():
        tables = sorted(entry.name for entry in data.iterdir() if suffix_of(entry))
        if len(tables) > 1:
            raise DataError(
                f"Folder '{data}' holds several tables, none named train, validation or test; give one of them:"
                f" {', '.join(tables[:8])}."
            )
        loose = sum(entry.suffix.lower() in IMAGE_SUFFIXES for entry in data.iterdir())
        if loose:
            raise DataError(
                f"Folder '{data}' holds {counted(loose, 'image')}, but not in class folders, so nothing says what to"
                f" learn. Expected one folder per class, such as '{data}/cat/1.jpg', or a table that names the images."
            )
        raise DataError(
            f"Folder '{data}' has neither images in class folders nor tables named train, validation or test"
            f" (.csv, .tsv, .json, .jsonl, .parquet). It holds: {_listing(data)}."
        )
    raise DataError(
        f"{_called(data)} is of no known kind. Expected .csv, .tsv, .json, .jsonl or .parquet (also with .gz), an image"
        " folder, a Hub data set, a DataFrame, or a list of pairs or dicts."
    )


def _refuse_absent(data: object) -> None:
    """A path that is missing or a file of zero bytes, with the nearest existing name."""
    if isinstance(data, Path) and data.is_file() and data.stat().st_size == 0:
        raise DataError(f"File '{data}' is empty (0 bytes).")
    if isinstance(data, str) and "://" in data and not data.startswith("hf://"):
        raise DataError(f"'{data}' is an address, and nothing is downloaded: save the file and name its path.")
    path = Path(data) if isinstance(data, str) else data
    if not isinstance(path, Path) or there(path):
        return
    meant_as_path = isinstance(data, Path) or suffix_of(path) or (path.parent != Path() and path.parent.is_dir())
    if meant_as_path or str(data).startswith((".", "/", "~")):
        folder = next((parent for parent in path.parents if there(parent) and parent.is_dir()), Path())
        names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(".")]
        if not names:
            raise DataError(f"There is no file or folder '{path}': '{folder}' is empty.")
        missing = path.relative_to(folder).parts[0] if path.is_relative_to(folder) else path.name
        raise DataError(f"There is no file or folder '{path}'. In '{folder}': {nearest(missing, names)}")


def there(path: Path) -> bool:
    """Whether a path exists; names that no file system takes do not."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def _called(data: object) -> str:
    return f"'{data}'" if isinstance(data, str | Path) else f"The {type(data).__name__} given"


def _listing(folder: Path) -> str:
    names = sorted(entry.name for entry in folder.iterdir())
    return (", ".join(names[:6]) + (", …" if len(names) > 6 else "")) or "nothing"
