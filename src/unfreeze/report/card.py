"""MODEL_CARD.md: what a run knows of its model, in the Hub's format. What only a person can know is marked so."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unfreeze import __version__
from unfreeze.methods import METHODS
from unfreeze.methods._parse import parse_method
from unfreeze.models.embedded import MINILM, MINILM_OWNER
from unfreeze.report.words import judged, metric
from unfreeze.run import Run
from unfreeze.train.files import write_bytes

CARD = "MODEL_CARD.md"
ASK = "*To be written by a person:*"
TAGS = {
    ("text", "classification"): "text-classification",
    ("text", "multilabel"): "text-classification",
    ("text", "regression"): "text-classification",
    ("image", "classification"): "image-classification",
    ("image", "multilabel"): "image-classification",
}
"""The Hub's pipeline tags. It has none for a number from an image; that one has the free tag `image-regression`."""

IDENTIFIER = re.compile(r"[a-z0-9]+([.-][a-z0-9]+)*")
"""How the Hub writes licences: `apache-2.0`."""

ON_HUB = re.compile(r"(?:hf://)?([\w.-]+/[\w.-]+)(?::[\w.-]+)?")
"""A data set's name there, perhaps with one of its configurations."""

UNTESTED = "No rows were held back: nothing can be said of how well it does on others."

MOST_LABELS = 50
SPECIAL = "\\`*_[]<>|#~$&"
"""Characters that Markdown, or HTML in it, could take for markup."""


def write_card(run: Run) -> Path:
    """Write the card into the run's folder; returns its path."""
    path = run.path / CARD
    write_bytes(path, card(run).encode())
    return path


def card(run: Run) -> str:
    """The card's text: a metadata block as huggingface_hub makes it, then Markdown."""
    parts = [f"---\n{_metadata(run)}\n---", f"# {_plain(_name(run))}"]
    for title, body in _sections(run):
        parts.append(f"## {title}\n\n{body}")
    return "\n\n".join(parts) + "\n"


def _metadata(run: Run) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    result = run.result
    split, figures = judged(result), result[judged(result)]
    tag = TAGS.get((run.manifest.modality, result["task"]))
    kind = f"{run.manifest.modality}-{result['task']}"
    evaluations = [
        EvalResult(
            task_type=tag or kind,
            dataset_type=(data_on_hub(run) or ["private"])[0],
            dataset_name=Path(run.manifest.source).name or "data",
            dataset_split=split,
            metric_type=name,
            metric_name=metric(name).name,
            metric_value=figure["value"],
        )
        for name, figure in figures.items()
        if figure.get("value") is not None
    ]
    data = ModelCardData(
        base_model=base_on_hub(result["provenance"]),
        datasets=data_on_hub(run),
        license=_identifier(result["provenance"]["licence"]),
        library_name="unfreeze",
        pipeline_tag=tag,
        tags=["unfreeze", str(result["method"]), *([] if tag == kind else [kind])],
        model_name=_name(run),
        eval_results=evaluations or None,
    )
    return str(data.to_yaml())


def base_on_hub(provenance: dict[str, Any]) -> str | None:
    """The base model's name on the Hub, where it is known: of what came from there, and of the embedded encoder."""
    name = str(provenance["name"])
    if provenance["source"] == "hub":
        return name.removeprefix("hf-hub:").removeprefix("hf_hub:")
    embedded = provenance["source"] == "embedded" and name == MINILM
    return f"{MINILM_OWNER}{MINILM}" if embedded else None


def data_on_hub(run: Run) -> list[str] | None:
    """The data set's name on the Hub; None for local data, whose places stand in a resolved recipe as whole paths."""
    path = run.recipe.data.path
    found = ON_HUB.fullmatch(path) if path else None
    return [found[1]] if found else None


def _identifier(licence: str | None) -> str | None:
    """The base's licence as the Hub names it; None where it is not known by such a name."""
    return licence if licence and IDENTIFIER.fullmatch(licence) else None


def _sections(run: Run) -> Iterator[tuple[str, str]]:
    yield "What it does", _does(run)
    yield "Intended use", f"{ASK} who should use it, for what decisions, and what must not be decided by it alone."
    yield "Limits", _limits(run)
    yield "Figures", _figures(run)
    if run.evidence.get("groups"):
        yield "Groups", _groups(run.evidence["groups"])
    yield "Data", _data(run)
    yield "How it was made", _method(run)
    if run.evidence.get("cost"):
        yield "Cost", _cost(run.evidence["cost"])
    yield "Licence", _licence(run)
    yield "How to use it", _use(run)


def _does(run: Run) -> str:
    labels = [_plain(label) for label in run.manifest.labels]
    more = f" and {len(labels) - MOST_LABELS} more" if len(labels) > MOST_LABELS else ""
    named = ", ".join(labels[:MOST_LABELS]) + more
    reads = {"text": "a text", "image": "a picture"}[run.manifest.modality]
    kinds = {
        "classification": f"says which one of {len(labels)} labels it has: {named}",
        "multilabel": f"says which of {len(labels)} labels it has, none or several: {named}",
        "regression": "gives a number",
    }
    return f"It reads {reads} and {kinds.get(run.result['task'], run.result['task'])}."


def _limits(run: Run) -> str:
    found = [f"- {_plain(finding.message)}" for finding in run.manifest.findings if finding.severity != "info"]
    rows = run.result["rows"].get(judged(run.result), 0)
    found.append(
        f"- Its figures come from {rows} rows that resemble the training data; elsewhere they may be lower."
        if rows
        else f"- {UNTESTED}"
    )
    for item in (run.evidence.get("shift") or {}).get("sets") or []:
        drop = item.get("drop") or {}
        if (drop.get("value") or 0) > 0:
            found.append(f"- On '{_plain(item.get('name', 'another set'))}' it is {drop['value']:.3f} worse.")
    return "\n".join([*found, "", f"{ASK} known failures, and people or situations for which it was not tested."])


def _figures(run: Run) -> str:
    result = run.result
    split = judged(result)
    if not result[split]:
        return UNTESTED
    base = (result.get("baseline") or {}).get("test", {})
    probe = (run.evidence.get("probe") or {}).get("figures", {})
    lines = [
        f"On {result['rows'].get(split, 0)} rows of the {split} split; intervals are 95 %, by bootstrap; of shares of "
        "rows not narrower than Wilson's.",
        "",
        f"| figure | this model | {_plain((result.get('baseline') or {}).get('name', 'baseline'))} | linear probe |",
        "|---|---|---|---|",
    ]
    for name, figure in result[split].items():
        cells = " | ".join(_cell(column.get(name)) for column in ({name: figure}, base, probe))
        lines.append(f"| {metric(name).name} | {cells} |")
    return "\n".join(lines)


def _cell(figure: dict[str, Any] | None) -> str:
    if not figure or figure.get("value") is None:
        return "–"
    if figure.get("low") is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f})"


def _groups(evidence: dict[str, Any]) -> str:
    name = evidence["metric"]
    how = "Wilson's for shares of rows, by bootstrap for others"
    lines = [f"On the {evidence['split']} split; intervals are 95 %: {how}.", ""]
    lines += [f"| column | group | rows | {metric(name).name} |", "|---|---|---|---|"]
    for column in evidence["columns"]:
        for group in column["groups"]:
            figure = _cell(group["figures"].get(name))
            lines.append(f"| {_plain(column['column'])} | {_plain(group['name'])} | {group['rows']} | {figure} |")
    return "\n".join(lines)


def _data(run: Run) -> str:
    manifest = run.manifest
    counts = ", ".join(f"{count} {split}" for split, count in run.result["rows"].items())
    lines = [
        f"{_plain(Path(manifest.source).name or 'data passed in Python')}: {counts} rows "
        f"({_plain(manifest.split_reason)}); {manifest.quarantined} rows were left out, each with its reason. "
        f"Fingerprint {manifest.fingerprint[:16]}.",
        "",
        f"{ASK} where the data come from, who is in them, with whose consent, and their licence.",
    ]
    return "\n".join(lines)


def _method(run: Run) -> str:
    result, training = run.result, run.recipe.training
    share = result["learned_parameters"] / result["parameters"]
    name = run.recipe.method.name
    what = "Phases written out in the recipe."
    if name is not None and not run.recipe.method.phases:
        what = METHODS.get(parse_method(name)[0]).card.what
    merged = ""
    if result.get("merged"):
        merged = (
            " What the adapter learned was then folded into the base: this model is plain, and reproduced the outputs "
            "of the run that it was merged from."
        )
    return (
        f"Fine-tuned from {_plain(result['provenance']['name'])} by the method '{result['method']}' with unfreeze "
        f"{__version__}. {_plain(what)} {share:.1%} of {result['parameters']:,} parameters learned, for "
        f"{training.epochs or 0:g} epochs in batches of {training.batch_size}; "
        f"{_kept(run)}. Everything is in recipe.resolved.yaml.{_proven(run)}{merged}"
    )


def _kept(run: Run) -> str:
    """Which weights are the model's."""
    if run.result["validation"] or run.result["rows"].get("validation"):
        return f"weights are those of epoch {run.result['best_epoch']}, chosen on validation"
    return "weights are the last ones, since there were no validation rows to choose by"


def _proven(run: Run) -> str:
    """What the gate has shown."""
    gate = run.result.get("gate") or {}
    if not gate.get("passed"):
        return ""
    where = "A fresh process" if gate.get("process") == "fresh" else "The process that trained it"
    return f" {where} has reloaded the saved model and reproduced its outputs on {gate['rows']} rows."


def _cost(cost: dict[str, Any]) -> str:
    return (
        f"{cost['seconds']:.0f} seconds, {cost['energy_wh']:.2g} Wh ({_plain(cost['energy_source'])}), "
        f"{cost['co2_g']:.2g} g of CO2 ({_plain(cost['mix'])})."
    )


def _licence(run: Run) -> str:
    licence = run.result["provenance"]["licence"]
    known = f"its licence is {_plain(licence)}" if licence else "its licence is not known here"
    above = " The metadata above name the base's." if _identifier(licence) else ""
    base = _plain(run.result["provenance"]["name"])
    return f"The base is {base}; {known}.\n\n{ASK} the licence of this model.{above}"


def _use(run: Run) -> str:
    return f'```python\nimport unfreeze\n\nrun = unfreeze.load("{run.path.name}")\nrun.predict([…])\n```'


def _name(run: Run) -> str:
    return run.path.name


def _plain(text: object) -> str:
    """Text from data or files, with what Markdown would read as markup escaped, on one line."""
    return "".join(f"\\{letter}" if letter in SPECIAL else letter for letter in " ".join(str(text).split()))
