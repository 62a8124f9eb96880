"""Progressive unfreezing led by validation: more layer groups learn whenever it stops gaining."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.methods._steps import from_the_top, steps_of
from unfreeze.registry import Card

LOWERING = 2.6
"""The rate is divided by this with each step: ULMFiT's factor between neighbouring layers, used here between steps."""


def phases(context: MethodContext) -> list[Phase]:
    """The head alone until validation stops gaining, then one more group at a lower rate, until all learn.

    No step takes more than its equal share of the epochs, and a step has two of them where there is time: one that
    gains and one that does not. After the first step the head learns at the rate of the other groups.
    """
    steps = from_the_top(context.stack.names, steps_of(context, "gradual-on-plateau", epochs_each=2))
    share = context.epochs / len(steps)
    return [
        Phase(name=f"top {len(learn)}", learn=learn, epochs=share, until="plateau", scales=_lowered(learn, index))
        for index, learn in enumerate(steps)
    ]


def _lowered(learn: tuple[str, ...], thawed: int) -> dict[str, float]:
    return dict.fromkeys(learn, LOWERING ** (1 - thawed)) if thawed else {}


METHOD = Method(
    card=Card(
        what="One more group from the top whenever validation stops gaining; the rate falls as more learns.",
        when="The right moment to thaw is unknown, and validation data are enough for a steady score.",
        cost="At most the epochs given, often fewer. A noisy validation score thaws too early.",
        evidence="Weak: practice rather than studies; the timed version is the one that was measured.",
        source="After Howard & Ruder 2018, arXiv:1801.06146 (timed, factor 2.6); FinetuningScheduler (on plateau)",
    ),
    phases=phases,
    argument="number of steps",
    optional=True,
)
