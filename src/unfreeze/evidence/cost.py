"""What the run took, in time, energy and carbon dioxide, and what replay saved of it."""

from __future__ import annotations

import json
import os
import platform
from importlib.resources import files
from importlib.util import find_spec
from typing import Any

from unfreeze.errors import UserError
from unfreeze.evidence._context import Context
from unfreeze.evidence._evidence import Evidence
from unfreeze.registry import Card
from unfreeze.stack.frontier import frontier
from unfreeze.train.replaying import expectations

WATTS_PER_CORE = 4.0
"""Of a busy core where nothing can be read: the value that codecarbon falls back to."""

WORLD = 475.0
"""Grams of CO2 per kilowatt-hour of electricity, world average of 2019 (IEA, as codecarbon's data hold it)."""


def collect(context: Context) -> dict[str, Any] | None:
    """Energy as it was read, else estimated from processor time; carbon dioxide by a country's or the world's mix."""
    measured = context.result.get("cost")
    if measured is None:
        return None
    joules, source, was_read = measured["joules"], measured["read_from"], True
    if joules is None:
        joules = measured["processor_seconds"] * WATTS_PER_CORE
        source = f"estimated: {WATTS_PER_CORE:g} W for each second of a busy core, since no counter can be read"
        was_read = False
    grams, mix = carbon_intensity()
    hours = joules / 3.6e6
    return {
        "seconds": measured["seconds"],
        "processor_seconds": measured["processor_seconds"],
        "energy_wh": hours * 1000,
        "energy_source": source,
        "energy_read": was_read,
        "co2_g": hours * grams,
        "grams_per_kwh": grams,
        "mix": mix,
        "machine": {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()},
        "replay": _replay(context),
    }


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


def _replay(context: Context) -> dict[str, Any] | None:
    """Arithmetic of frozen layers that replay did not do again: by phase, counted and not timed."""
    job = context.job
    saved, done = 0.0, 0.0
    for each in expectations(job):
        if not each.levels or frontier(job.stack.names, each.phase.learn) == 0:
            continue
        level = each.levels[0]
        rows = len(job.train) * each.phase.epochs + (len(job.validation) if job.validation else 0) * each.phase.epochs
        once = 0.0 if each.ready else len(job.train) + (len(job.validation) if job.validation else 0)
        saved += level.flops * max(0.0, rows - once)
        done += level.flops * once
    return {"flops_saved": saved, "flops_done": done} if saved else None


EVIDENCE = Evidence(
    card=Card(
        what="Time, energy, carbon dioxide, and the arithmetic that replay saved.",
        when="Always; energy is read where the machine lets it be read, and else estimated and called so.",
        cost="Nothing: counters are read at both ends.",
        evidence="Counters of whole packages include what else ran on them. Estimates are right within a factor of "
        "about three.",
        source="Lacoste et al. 2019, arXiv:1910.09700; data of codecarbon",
    ),
    collect=collect,
    order=90,
)
