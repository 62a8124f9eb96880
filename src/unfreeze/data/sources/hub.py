"""Data sets of the Hugging Face Hub, by `owner/name`. Their code is never run."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from unfreeze.data.manifest import Finding
from unfreeze.data.sources._reading import Reading, ReadOptions, Source, split_name
from unfreeze.errors import DataError

_NAME = re.compile(r"(hf://)?[\w.-]+(/[\w.-]+)?(:[\w.-]+)?")


def read(name: str, options: ReadOptions) -> Reading:
    """Every split of the data set; `owner/name:config` chooses one of its configurations."""
    from unfreeze.data.sources.python_objects import SOURCE as objects

    splits = _load(name)
    used = {key: part for key, part in splits.items() if split_name(key)}
    ignored = sorted(set(splits) - set(used))
    if not used:
        used, ignored = {"train": splits[ignored[0]]}, ignored[1:]
    reading = objects.read(used if len(used) > 1 else next(iter(used.values())), options)
    if ignored:
        text = f"Splits of '{name}' that were not used: {', '.join(ignored)}."
        reading.findings.append(Finding("ignored_parts", "info", text, len(ignored)))
    return reading


def _load(name: str) -> dict[str, Any]:
    try:
        import datasets
    except ImportError as error:
        raise DataError(
            f"There is no file or folder '{name}', and reading it from the Hub needs: pip install 'unfreeze[hub]'."
        ) from error
    path, _, config = name.removeprefix("hf://").partition(":")
    try:
        _refuse_unreachable(path)
        return dict(datasets.load_dataset(path, config or None))
    except DataError:
        raise
    except Exception as error:
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise DataError(
            f"There is no file or folder '{name}', and no Hub data set of that name can be loaded ({reason})."
            " Without a network, give a local table, an image folder or Python objects, or run `unfreeze demo`."
        ) from error


def _refuse_unreachable(path: str) -> None:
    """Ask the Hub once and briefly, since the loader's own retries take minutes; the cache needs no asking."""
    import huggingface_hub
    from datasets import config

    if (Path(config.HF_DATASETS_CACHE) / path.replace("/", "___")).exists():
        return
    huggingface_hub.HfApi().dataset_info(path, timeout=5)


def claims(data: object) -> bool:
    """Whether a string could be the name of a data set on the Hub."""
    return isinstance(data, str) and len(data) < 200 and bool(_NAME.fullmatch(data))


SOURCE = Source("a data set of the Hugging Face Hub", claims, read)
