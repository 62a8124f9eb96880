"""Model families: one file each, found by scanning this folder.

To add one, write a file here whose `FAMILY` names the architectures it covers (`matches`) and the layer groups
(`patterns`, lowest first, the new head last); the contract tests then exercise it as a tiny model.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from unfreeze.errors import ModelError, nearest
from unfreeze.registry import Registry

if TYPE_CHECKING:
    from torch import nn

    from unfreeze.models.pretrained import Family

FAMILIES: Registry[Family] = Registry("model family", "unfreeze.models.families", "FAMILY")


def family_of_config(model_type: str) -> Family:
    """The family of a transformers model type, such as "bert".

    Raises
    ------
    ModelError
        If no family covers it.
    """
    known = {
        match: family for _, family in FAMILIES.items() if family.library == "transformers" for match in family.matches
    }
    if model_type not in known:
        raise ModelError(_unknown(f"transformers model type '{model_type}'", nearest(model_type, known)))
    return known[model_type]


def family_of_timm(name: str) -> Family:
    """The family of a timm model name, with or without the tag after the dot.

    Raises
    ------
    ModelError
        If no family covers it.
    """
    architecture = name.split(".")[0]
    families = [family for _, family in FAMILIES.items() if family.library == "timm"]
    for family in families:
        if any(re.fullmatch(match, architecture) for match in family.matches):
            return family
    raise ModelError(_unknown(f"timm architecture '{architecture}'", nearest(architecture, [f.name for f in families])))


def _unknown(what: str, hint: str) -> str:
    return (
        f"No model family covers the {what}. {hint} A family is one file in unfreeze/models/families/ "
        "(or an entry point in the group unfreeze.families) that lists its layer groups."
    )


def specialise(family: Family, name: str, module: nn.Module) -> Family:
    """The family as it is for one model: rates of that checkpoint, and layer groups that depend on its depth.

    `extras["rates"]` maps regular expressions over names to rates; `extras["patterns"]` makes patterns from a module.
    """
    for regex, rates in family.extras.get("rates", {}).items():
        if re.search(regex, name, re.IGNORECASE):
            family = replace(family, rates=rates)
            break
    make = family.extras.get("patterns")
    return replace(family, patterns=make(module)) if make else family
