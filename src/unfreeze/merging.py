"""Merging: what an adapter learned is folded into the base, and the plain model is proven to predict the same."""

from __future__ import annotations

import shutil
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

from unfreeze.data.manifest import Manifest
from unfreeze.errors import ModelError, RunError
from unfreeze.evaluation import calibration, out_of_distribution
from unfreeze.evaluation.gate import FreshProcess, inherit_gate, pass_gate
from unfreeze.models import store
from unfreeze.models.plain import write_head, write_meaning, write_plain
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.techniques import merge
from unfreeze.run import MANIFEST, RECIPE, RESULT, Run, new_run_folder, open_run, set_status
from unfreeze.train.files import full_disk_said, write_json

KEPT = (RECIPE, MANIFEST, "quarantine.jsonl", "predictions.jsonl")
"""Files of a run that hold for the merged one too."""

FITTED = (calibration.FILE, out_of_distribution.FILE)
"""What was fitted to the model's outputs and head inputs, which are the same."""


def merge_run(path: str | Path, output: str | Path | None = None, overwrite: bool = False) -> Run:
    """A run whose model is plain, made of one that holds an adapter and its base.

    The new folder is a finished run: it predicts, is evaluated and compared, and `fit --model FOLDER` goes on from it.
    It needs no base any more. `FOLDER/transformers` or `FOLDER/timm` holds the same weights as that library reads them
    (see `unfreeze.models.plain`). The run that was merged stays as it is.

    Parameters
    ----------
    output : path, optional
        None: the run's folder with "-merged" after its name.

    Raises
    ------
    RunError
        If there is no finished run, or something is in the output folder.
    ModelError
        If the run's model holds nothing that can be merged.
    ReloadError
        If the merged model, loaded again, does not reproduce the run's outputs within its recipe's gate_tolerance.
    """
    run = open_run(path)
    result, evaluation = dict(run.result), run.recipe.evaluation
    if not (run.path / "gate" / "inputs.jsonl").is_file():
        raise RunError(
            f"The run '{run.path}' lacks the sample in '{run.path / 'gate'}' that a merged model must reproduce."
        )
    wanted = str(output) if output is not None else f"{run.path.resolve()}-merged"
    with FreshProcess() if evaluation.gate == "process" else nullcontext() as fresh:
        merged = store.load(run.path / "model")
        if fresh is not None:
            fresh.expect(merged.family.modality)
        merge(merged)
        folder = new_run_folder(wanted, "", overwrite, sources=(str(run.path),))
        set_status(folder, "failed", error="the merged model has not been proven")
        for name in KEPT:
            if (run.path / name).is_file():
                shutil.copyfile(run.path / name, folder / name)
        with full_disk_said(folder / "model"):
            store.save(merged, folder / "model")
            notes = [*result["notes"], *_write_plain(merged, folder, run.manifest)]
            inherit_gate(run.path / "gate", folder / "gate", merged)
        gate = pass_gate(folder, tolerance=evaluation.gate_tolerance, fresh=fresh)
    for name in FITTED:
        if (run.path / "model" / name).is_file():
            shutil.copyfile(run.path / "model" / name, folder / "model" / name)
    stack = merged.stack()
    result |= {
        "merged": str(run.path.resolve()),
        "parameters": sum(stack.size(group) for group in stack.groups),
        "gate": asdict(gate),
        "notes": notes,
    }
    write_json(folder / RESULT, result)
    set_status(folder, "finished", weights=run.weights, hooks=run.hooks)
    return Run(folder)


def _write_plain(merged: Pretrained, folder: Path, manifest: Manifest) -> list[str]:
    """What could not be written, as a note."""
    try:
        plain = write_plain(merged, folder)
        # timm's networks hold their head.
        write = write_meaning if merged.family.library == "timm" else write_head
        write(merged, plain, manifest)
    except ModelError as error:
        return [f"there is no folder '{merged.family.library}' with the merged model: {error}"]
    return []
