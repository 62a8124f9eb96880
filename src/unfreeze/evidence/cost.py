"""What the run took, in time, energy and carbon dioxide, and what replay and the pre-trained weights saved of it."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

import torch

from unfreeze.errors import UserError
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.methods import METHODS, Phase
from unfreeze.registry import Card
from unfreeze.train.job import Job, Played
from unfreeze.train.replaying import expectations, flops_of_a_row, views_of

WATTS_PER_CORE = 4.0
"""Of a busy core where nothing can be read: the value that codecarbon falls back to."""

WORLD = 475.0
"""Grams of CO2 per kilowatt-hour of electricity, world average of 2019 (IEA, as codecarbon's data hold it)."""

UPDATE = 3.0
"""Passes' worth of arithmetic in an update of all layers: forward, and backward to inputs and to weights."""


def collect(context: Context) -> dict[str, Any] | None:
    """Each component's energy as it was read, else estimated, else not counted; what of it was saved, estimated."""
    measured = context.result.get("cost")
    if measured is None:
        return None
    components = components_of(measured, torch.device(context.recipe.training.device or "cpu").type)
    joules = sum(part["joules"] for part in components if part["joules"] is not None)
    grams, mix = carbon_intensity()
    found = {
        "seconds": measured["seconds"],
        "learning_seconds": measured["learning_seconds"],
        "processor_seconds": measured["processor_seconds"],
        "energy_wh": joules / 3600,
        "energy_source": "; ".join(f"{part['name']}: {part['said']}" for part in components),
        "components": components,
        "co2_g": joules / 3.6e6 * grams,
        "grams_per_kwh": grams,
        "mix": mix,
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
    }
    history = context.result.get("history") or []
    return {**found, **_saved(context, history, found)} if history else found


def components_of(measured: Mapping[str, Any], device: str) -> list[dict[str, Any]]:
    """Energy of the processor, and of what computed beside it; a GPU that the run did not use is none of its cost.

    Parameters
    ----------
    measured : mapping
        What `unfreeze.energy.Meter` read.
    device : "cpu", "cuda" or "mps"
    """
    processor, gpu = measured["joules"]["processor"], measured["joules"]["gpu"]
    read = "read from its own counter, whatever else ran there"
    estimate = measured["processor_seconds"] * WATTS_PER_CORE
    found = [
        _component("processor", processor, "read", read)
        if processor is not None
        else _component(
            "processor",
            estimate,
            "estimated",
            f"estimated, {WATTS_PER_CORE:g} W for each second of a busy core, since its counter cannot be read",
        )
    ]
    if device == "cuda" and gpu is not None:
        found.append(_component("GPU", gpu, "read", f"{read}; all GPUs of the machine"))
    elif device != "cpu":
        hint = ": pip install 'unfreeze[energy]' lets it be read" if device == "cuda" else ""
        found.append(_component("GPU", None, "not counted", f"not counted, since it cannot be read{hint}"))
    return found


def _component(name: str, joules: float | None, how: str, said: str) -> dict[str, Any]:
    return {"name": name, "joules": joules, "how": how, "said": said}


def carbon_intensity() -> tuple[float, str]:
    """Grams of CO2 for a kilowatt-hour, and of where: the country that UNFREEZE_COUNTRY names by its three letters.

    Countries' figures are codecarbon's (2022, Our World in Data and Ember); without codecarbon there is the world's.

    Raises
    ------
    UserError
        If there is no such country.
    """
    country = os.environ.get("UNFREEZE_COUNTRY", "").upper()
    if not country or find_spec("codecarbon") is None:
        why = "" if not country else "; for a country's, install codecarbon"
        return WORLD, f"the world's average{why}; UNFREEZE_COUNTRY=DEU takes a country's"
    file = files("codecarbon") / "data" / "private_infra" / "global_energy_mix.json"
    mixes = json.loads(file.read_text(encoding="utf-8"))
    if country not in mixes:
        raise UserError(f"UNFREEZE_COUNTRY must be a country's three letters, such as DEU. Got '{country}' instead.")
    found = mixes[country]
    return float(found["carbon_intensity"]), f"{found['country_name']}, {found['year']} (codecarbon's data)"


# ------------------------------------------------------------------------------------------------ what was saved


def _saved(context: Context, history: Sequence[Mapping[str, Any]], found: Mapping[str, Any]) -> dict[str, Any]:
    """Arithmetic that replay did not do again, and that of training all layers from random weights as long.

    Arithmetic is counted. Seconds are estimated from those in which this run scored its test rows, which is one plain
    pass of the whole model; without a test split none are told.
    """
    job, whole = context.job, flops_of_a_row(context.job)
    scored = context.result["cost"].get("scored")
    per_flop = scored["seconds"] / (scored["rows"] * whole) if scored and whole else None
    done = epochs_done(job.phases, history, [job.steps(phase) for phase in job.phases])

    def told(flops: float) -> dict[str, float | None]:
        seconds = None if per_flop is None else flops * per_flop
        part = None if seconds is None else seconds / max(1e-9, found["seconds"])
        return {
            "flops": flops,
            "seconds": seconds,
            "wh": None if part is None else part * found["energy_wh"],
            "co2_g": None if part is None else part * found["co2_g"],
        }

    saved, once = _replayed(job, done)
    replay = {"flops_saved": saved, "flops_done": once, **told(saved)} if saved else None
    if context.method and METHODS.get(context.method).random_weights:
        return {"replay": replay}
    updates = sum(steps for steps, _ in done)
    read = updates / job.steps_per_epoch * len(job.train)
    checked = sum(passes for _, passes in done) * (len(job.validation) if job.validation else 0)
    epochs = updates / job.steps_per_epoch
    return {"replay": replay, "from_scratch": {"epochs": epochs, **told((UPDATE * read + checked) * whole)}}


def epochs_done(
    phases: Sequence[Phase], history: Sequence[Mapping[str, Any]], planned: Sequence[int]
) -> list[tuple[int, int]]:
    """Updates, and passes over validation, that each phase really had: it may have been stopped early.

    Parameters
    ----------
    history : sequence of mapping
        An entry for each epoch, with its `phase` and the `step` at its end.
    planned : sequence of int
        Updates of each phase at most, by which phases of the same name are told apart.
    """
    updates, passes = [0] * len(phases), [0] * len(phases)
    place, before = 0, 0
    for entry in history:
        while place < len(phases) - 1 and (phases[place].name != entry["phase"] or updates[place] >= planned[place]):
            place += 1
        updates[place] += entry["step"] - before
        passes[place] += 1
        before = entry["step"]
    return list(zip(updates, passes, strict=True))


def _replayed(job: Job, done: Sequence[tuple[int, int]]) -> tuple[float, float]:
    """Arithmetic of frozen layers that was not done again, and that which was done."""
    train, held = len(job.train), len(job.validation) if job.validation else 0
    begun = {index for index, (updates, _) in enumerate(done) if updates}
    played = job.played if begun <= job.played.keys() else _expected(job)
    saved, once = 0.0, 0.0
    for index in sorted(begun):
        each, (updates, passes) = played[index], done[index]
        if each is not None:
            reads = updates / job.steps_per_epoch * train + passes * held
            saved += each.flops * max(0.0, reads - each.rows)
            once += each.flops * each.rows
    return saved, once


def _expected(job: Job) -> dict[int, Played | None]:
    """What replay did in each phase of a run that another process began, as far as it can be known."""
    rows = len(job.train) * views_of(job) + (len(job.validation) if job.validation else 0)
    return {
        index: Played(each.levels[0].flops, 0.0 if each.ready else rows) if each.levels else None
        for index, each in enumerate(expectations(job))
    }


EVIDENCE = Evidence(
    card=Card(
        what="Time, energy, carbon dioxide, and what replay and the pre-trained weights saved.",
        when="Always; energy is read where the machine lets it be read, and else estimated and called so.",
        cost="Nothing but one small pass whose operations are counted: counters are read at both ends.",
        evidence="Counters of whole packages include what else ran on them. Estimates are right within a factor of "
        "about three.",
        source="Lacoste et al. 2019, arXiv:1910.09700; data of codecarbon",
    ),
    collect=collect,
    order=90,
)
