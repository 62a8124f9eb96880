"""Two tiny models and four finished runs of them, made once: what the odd commands are about."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from odd_case import fit_words
from odd_things import photos, rows, table


@pytest.fixture(scope="session")
def things(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders by the name that commands use in braces: models `text`, `image`; runs `run`, `image_run`, …"""
    from tiny import tiny_pretrained

    from unfreeze.cli import main
    from unfreeze.models.store import save

    home, before = tmp_path_factory.mktemp("things"), Path.cwd()
    names = ("text", "image", "run", "image_run", "number_run", "several_run")
    found = {name: home / name for name in names}
    save(tiny_pretrained("bert"), found["text"])
    save(tiny_pretrained("resnet"), found["image"])
    os.chdir(home)
    table("a.csv")()
    table("numbers.csv", [(text, str(i + 0.5)) for i, (text, _) in enumerate(rows(40))], "text,score")()
    table("several.csv", [(text, ("a|b", "a", "b|c", "c")[i % 4]) for i, (text, _) in enumerate(rows(60))])()
    photos("photos")()
    for name, data in zip(names[2:], ("a.csv", "photos", "numbers.csv", "several.csv"), strict=True):
        model = "image" if data == "photos" else "text"
        assert main(fit_words(f"fit {data} {model.upper()} --output {found[name]}", found)) == 0
    os.chdir(before)
    return found
