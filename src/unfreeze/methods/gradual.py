"""Progressive unfreezing: from the top, one more layer group per step."""

from __future__ import annotations

from unfreeze.methods._method import Method, MethodContext, Phase
from unfreeze.methods._steps import from_the_top, steps_of
from unfreeze.registry import Card


def phases(context: MethodContext) -> list[Phase]:
    """The head alone, then one more group per step until all learn; equal shares of the epochs.

    A step has at least an epoch where there is time for two; several groups thaw at once where groups outnumber epochs.
    """
    steps = from_the_top(context.stack.names, steps_of(context, "gradual", epochs_each=1))
    share = context.epochs / len(steps)
    return [Phase(name=f"top {len(learn)}", learn=learn, epochs=share) for learn in steps]


METHOD = Method(
    card=Card(
        what="The head first, then one more group from the top per step, until all learn.",
        when="Few rows, where training all layers at once would overwrite what they know.",
        cost="Between head and full: early steps replay the frozen part. Lower layers get few of the epochs.",
        evidence="Helped in ULMFiT's LSTM together with two other techniques; slightly worse than full for T5.",
        source="Howard & Ruder 2018, arXiv:1801.06146; against: Raffel et al. 2020, arXiv:1910.10683",
    ),
    phases=phases,
    argument="number of steps",
    optional=True,
)
