"""Pre-trains the embedded image model with unfreeze itself, with and without a teacher, and keeps the better one.

python pretraining/pretrain.py train plain --shared ../shared --work WORK
python pretraining/pretrain.py train distilled --shared ../shared --work WORK
python pretraining/pretrain.py figures --shared ../shared --work WORK
"""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

torch.set_num_threads(1)  # two variants train at once on two cores

from export import export  # noqa: E402
from photos import teacher_features, write_table  # noqa: E402
from probes import majority, probe, probe_sets  # noqa: E402

from unfreeze import api  # noqa: E402
from unfreeze.models import embedded  # noqa: E402
from unfreeze.planning import Plan  # noqa: E402
from unfreeze.progress import PlainLines  # noqa: E402
from unfreeze.recipe import ModelRecipe  # noqa: E402
from unfreeze.recipe_io import load_recipe, with_values  # noqa: E402
from unfreeze.run import RESULT, Run, open_run  # noqa: E402
from unfreeze.train.distillation import Distillation  # noqa: E402

HERE = Path(__file__).parent
VARIANTS = ("plain", "distilled")
STRENGTH = 3.0
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


def train(variant: str, shared: Path, work: Path) -> Run:
    """Both stages of one variant: from a random start at 32 pixels, then on at 64."""
    table = work / "photos.parquet"
    if not table.is_file():
        write_table(shared, table)
    first, second = work / f"{variant}-32", work / f"{variant}-64"
    if not is_finished(first):
        _stage("recipe.yaml", variant, shared, table, first)
    return _stage("recipe_64.yaml", variant, shared, table, second, {"model.name": str(first)})


def _stage(
    recipe: str, variant: str, shared: Path, table: Path, folder: Path, changes: dict[str, Any] | None = None
) -> Run:
    places = {"data.path": str(table), "output.folder": str(folder), "output.overwrite": True}
    asked = with_values(load_recipe(HERE / recipe), {**places, **(changes or {})})

    def hooks(plan: Plan) -> list[Distillation]:
        return [Distillation(teacher_features(plan.feeds["train"], shared, table.parent), STRENGTH)]

    return api.fit_recipe(asked, progress=PlainLines(), hooks=hooks if variant == "distilled" else None)


def is_finished(folder: Path) -> bool:
    """Whether a run is there and done."""
    return (folder / RESULT).is_file()


def figures(shared: Path, work: Path) -> dict[str, Any]:
    """Probe every stage of both variants, ship the best on validation, write results.json and the table."""
    sets = probe_sets(shared)
    random = ModelRecipe(name=embedded.TINY_CNN)
    found: dict[str, Any] = {"sets": list(sets), "majority": {key: majority(data) for key, data in sets.items()}}
    found["random"] = _kept(work, "random", lambda: {k: probe(random, v, random_weights=True) for k, v in sets.items()})
    for run in (run for variant in VARIANTS for run in _runs(work, variant)):
        file = export(run.path, work / f"{run.path.name}.safetensors")
        model = ModelRecipe(name=embedded.TINY_CNN, weights=str(file))
        found[run.path.name] = _kept(work, run.path.name, lambda m=model: {k: probe(m, v) for k, v in sets.items()})
    found["pretraining"] = {variant: _summary(work, variant) for variant in VARIANTS}
    names = [run.path.name for variant in VARIANTS for run in _runs(work, variant)]
    found["shipped"] = max(names, key=lambda name: _mean(found[name], "validation"))
    shutil.copyfile(work / f"{found['shipped']}.safetensors", embedded.TINY_CNN_WEIGHTS)
    found["sha256"] = embedded.file_sha256(embedded.TINY_CNN_WEIGHTS)
    found["bytes"] = embedded.TINY_CNN_WEIGHTS.stat().st_size
    (HERE / "results.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    _write_table(found)
    print(f'shipped: {found["shipped"]}; record in models/embedded.py: TINY_CNN_SHA256 = "{found["sha256"]}"')
    return found


def _kept(work: Path, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured of a finished run before, or now."""
    file = work / f"probe-{name}.json"
    if not file.is_file():
        file.write_text(json.dumps(measure()), encoding="utf-8")
    kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    print(name, kept, flush=True)
    return kept


def _runs(work: Path, variant: str) -> list[Run]:
    """The runs of the stages that are done, first to last."""
    folders = [work / f"{variant}-{side}" for side in (32, 64)]
    return [open_run(folder) for folder in folders if is_finished(folder)]


def _summary(work: Path, variant: str) -> dict[str, Any]:
    runs = _runs(work, variant)
    result = runs[-1].result
    return {
        "data_fingerprint": runs[-1].manifest.fingerprint,
        "rows": result["rows"],
        "test": result["test"],
        "majority_test": result["baseline"],
        "stages": {
            run.path.name: {
                "epochs": run.recipe.training.epochs,
                "image_size": run.recipe.model.image_size,
                "train_seconds": round(run.result["train_seconds"]),
                "test_accuracy": run.result["test"]["accuracy"]["value"],
            }
            for run in runs
        },
    }


def _mean(probes: dict[str, dict[str, float]], split: str) -> float:
    return sum(figure[split] for figure in probes.values()) / len(probes)


def _write_table(found: dict[str, Any]) -> None:
    names = found["sets"]
    lines = [f"| network | {' | '.join(names)} | mean test | mean validation |", "|---" * (len(names) + 3) + "|"]
    stages = {name: name.replace("-", ", ") + " pixels" for name in found if name.startswith(VARIANTS)}
    for key, title in {"majority": "majority class", "random": "random weights", **stages}.items():
        cells = [f"{found[key][name]['test']:.1%}" for name in names]
        cells += [f"{_mean(found[key], split):.1%}" for split in ("test", "validation")]
        shipped = " (shipped)" if key == found["shipped"] else ""
        lines.append(f"| {title}{shipped} | {' | '.join(cells)} |")
    summaries = found["pretraining"]
    lines.append("")
    for variant, summary in summaries.items():
        accuracy = summary["test"]["accuracy"]
        stages = summary["stages"].values()
        spent = " and ".join(f"{stage['epochs']:g} epochs at {stage['image_size']} pixels" for stage in stages)
        seconds = sum(stage["train_seconds"] for stage in stages)
        lines.append(
            f"- {variant}: after {spent} ({seconds} s, both variants at once on a busy machine) it names "
            f"{accuracy['value']:.1%} of the held-back photographs rightly (95 % interval {accuracy['low']:.1%} to "
            f"{accuracy['high']:.1%})."
        )
    rows = summaries["plain"]["rows"]
    lines += [
        f"- Data: {rows['train']} training, {rows['validation']} validation, {rows['test']} test rows; fingerprint "
        f"`{summaries['plain']['data_fingerprint']}`.",
        f"- Weights: {found['bytes']:,} bytes, sha256 `{found['sha256']}`.",
    ]
    readme = HERE / "README.md"
    text = readme.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    readme.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "figures"])
    parser.add_argument("variant", choices=VARIANTS, nargs="?", help="for train")
    parser.add_argument("--shared", type=Path, required=True, help="folder with data/ and weights/")
    parser.add_argument("--work", type=Path, required=True, help="where the table and the runs are written")
    arguments = parser.parse_args()
    if arguments.what == "figures":
        figures(arguments.shared, arguments.work)
    else:
        train(arguments.variant or parser.error("train what?"), arguments.shared, arguments.work)
