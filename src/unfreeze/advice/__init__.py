"""Advice: what to do after a run, each kind in a file of its own; `ADVICE` finds them."""

from __future__ import annotations

from unfreeze.advice._advice import Advice, Rule, advise
from unfreeze.registry import Registry

ADVICE: Registry[Rule] = Registry("kind of advice", "unfreeze.advice", "RULE")

__all__ = ["ADVICE", "Advice", "Rule", "advise"]
