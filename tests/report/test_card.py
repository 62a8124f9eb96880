"""The model card says what the run knows and nothing else: no claim without its ground, no name that was guessed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from made import classes, numbers, write_run

from unfreeze.report.card import card
from unfreeze.run import Run, open_run

GATE = {"rows": 6, "difference": 0.0, "tolerance": 1e-4, "process": "fresh", "passed": True, "tensors": 4}
BASE = {"name": "tiny", "source": "local", "revision": None, "licence": None, "sha256": "1" * 64}


def metadata(run: Run) -> dict[str, Any]:
    return dict(yaml.safe_load(card(run).split("---\n")[1]))


def changed(run: Run, **values: object) -> Run:
    path = run.path / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))
    return open_run(run.path)


@pytest.mark.parametrize(
    ("process", "words"), [("fresh", "A fresh process has reloaded"), ("this", "The process that trained it has")]
)
def test_what_reloaded_the_model(process: str, words: str, tmp_path: Path) -> None:
    text = card(write_run(tmp_path / "run", classes(), gate={**GATE, "process": process}))
    assert words in text
    assert ("fresh process" in text) == (process == "fresh")


def test_weights_are_chosen_on_validation_where_there_is_one(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes())
    assert "chosen on validation" not in card(changed(run, rows={"train": 100, "test": 200}, validation={}))
    assert "the last ones" in card(run)
    held = {"train": 100, "validation": 50, "test": 200}
    assert "those of epoch 2, chosen on validation" in card(changed(run, rows=held))


def test_without_any_row_to_judge_by(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes(), test={}, validation={}, rows={"train": 100})
    text = card(run)
    assert text.count("No rows were held back: nothing can be said") == 2
    assert "On 0 rows" not in text
    assert "| figure |" not in text
    assert "model-index" not in metadata(run)


def test_intervals_are_called_what_they_are(tmp_path: Path) -> None:
    group = {"name": "a", "rows": 30, "figures": {"accuracy": {"value": 0.5, "low": 0.4, "high": 0.6}}}
    groups = {"split": "test", "metric": "accuracy", "columns": [{"column": "style", "groups": [group]}]}
    text = card(write_run(tmp_path / "run", classes(), {"groups": groups}))
    part = text.split("## Groups\n")[1].split("## ")[0]
    assert "Wilson's for shares of rows" in part
    assert "0.500 (0.400 to 0.600)" in part


@pytest.mark.parametrize(
    ("provenance", "base", "licence"),
    [
        ({"name": "tiny", "source": "local", "licence": None}, None, None),
        ({"name": "all-MiniLM-L6-v2", "source": "embedded", "licence": "apache-2.0"},
         "sentence-transformers/all-MiniLM-L6-v2", "apache-2.0"),
        ({"name": "unfreeze-tiny-cnn", "source": "embedded", "licence": "apache-2.0"}, None, "apache-2.0"),
        ({"name": "all-MiniLM-L6-v2", "source": "local", "licence": "Ask us, please"}, None, None),
        ({"name": "google/bert_tiny", "source": "hub", "licence": "mit"}, "google/bert_tiny", "mit"),
        ({"name": "hf-hub:timm/resnet18.a1_in1k", "source": "hub", "licence": None}, "timm/resnet18.a1_in1k", None),
    ],
)  # fmt: skip
def test_names_on_the_hub_are_known_or_left_out(
    provenance: dict[str, Any], base: str | None, licence: str | None, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", classes(), provenance={**BASE, **provenance})
    found = metadata(run)
    assert found.get("base_model") == base
    assert found.get("license") == licence
    assert "language" not in found
    assert "datasets" not in found
    assert "*To be written by a person:* the licence of this model" in card(run)


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("hf://owner/data:plain", "owner/data"),
        ("owner/data.v2", "owner/data.v2"),
        ("/home/somebody/data", None),
        ("reviews.csv", None),
        ("a/b/c", None),
    ],
)
def test_data_of_the_hub_are_named(path: str, named: str | None, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", classes())
    recipe = run.path / "recipe.resolved.yaml"
    recipe.write_text(recipe.read_text().replace("path: null", f"path: {json.dumps(path)}", 1))
    assert metadata(open_run(run.path)).get("datasets") == (None if named is None else [named])


def test_tags_are_those_of_the_hub(tmp_path: Path) -> None:
    """It has no pipeline for a number from an image: the task stands among the free tags."""
    labels = metadata(write_run(tmp_path / "labels", classes(modality="image")))
    assert labels["pipeline_tag"] == "image-classification"
    assert labels["tags"] == ["unfreeze", "full"]
    values = metadata(write_run(tmp_path / "numbers", numbers(modality="image")))
    assert "pipeline_tag" not in values
    assert values["tags"] == ["unfreeze", "full", "image-regression"]
    assert values["model-index"][0]["results"][0]["task"]["type"] == "image-regression"
