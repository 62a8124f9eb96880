"""Adapters: a small bottleneck in each block learns, and the new head; what was pre-trained stays as it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unfreeze.methods._method import Method, added_and_head
from unfreeze.methods._targets import Layer, words
from unfreeze.progress import counted
from unfreeze.recipe import Count, Positive, Share, option
from unfreeze.registry import Card
from unfreeze.stack.additions import Addition

if TYPE_CHECKING:
    from unfreeze.models.pretrained import Pretrained

SEED = 0
"""Adapters start alike, whatever the run's seed: two differ by what they learned only, and can be averaged."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How wide adapters are, where they stand and what they compute."""

    reduction: Count = option(16, "how many times narrower a bottleneck is than the layer that it reads")
    placement: Literal["houlsby", "pfeiffer", "parallel"] = option(
        "pfeiffer",
        "houlsby: after attention and after feed-forward; pfeiffer: after feed-forward only; parallel: beside "
        "feed-forward. Convolutional networks: pfeiffer after each block, parallel beside it",
    )
    nonlinearity: Literal["relu", "gelu", "silu", "tanh"] = option("relu", "in the bottleneck")
    blocks: Count | None = option(None, "only in so many of the topmost blocks; none: in all")
    dropout: Share = option(0.0, "dropout rate in the bottleneck")
    scale: Positive = option(1.0, "factor on what an adapter adds; He et al. take 4 for parallel ones")


def add_adapters(pretrained: Pretrained, settings: Settings) -> None:
    """Put adapters into a model, in place. Its outputs stay the same to the bit until they learn.

    Raises
    ------
    ModelError
        If there is no such place in the model's family, or `blocks` exceeds the model's.
    """
    from unfreeze.methods._peft import backbone_of
    from unfreeze.models._state import seeded
    from unfreeze.models.adapters import places, start_as_identity

    # 1. A pre-trained model has been loaded, and its head replaced by a new one: `pretrained`.
    names = {module: name for name, module in backbone_of(pretrained).named_modules()}
    with seeded(SEED):
        # 2. Into each block goes an adapter, or two.
        chosen = places(pretrained, settings.placement, settings.blocks)
        said = words([Layer(names[place.layer], place.layer, "") for place in chosen])
        for place in chosen:
            adapter = place.make(settings.reduction, settings.nonlinearity, settings.dropout, settings.scale)
            # 3. It starts as the identity.
            start_as_identity(adapter)
            place.attach(adapter)
    line = f"{settings.placement} adapters, {settings.reduction} times narrower than what they read, at "
    pretrained.tuned = [f"{line}{counted(len(chosen), 'layer')}:", *said]


METHOD = Method(
    card=Card(
        what="Small bottleneck layers are put into each block; they and the new head learn, nothing else does.",
        when="Many tasks over one base, each a small file; a few hundred rows or more. `houlsby` is not for "
        "convolutional networks, `parallel` not for XLNet.",
        cost="Memory of activations as in full fine-tuning, little for the optimizer. With `blocks` only the upper "
        "part is computed more than once per sample. Predictions took 4 to 6 % longer in arXiv:2010.11918: with their "
        "nonlinearity adapters cannot be folded into the model's own layers (lora can).",
        evidence="In the source within 0.4 points of full fine-tuning of BERT on GLUE with 3.6 % of the parameters for "
        "each task. For convolutional networks less is known: their source adapts convolutions within the blocks, here "
        "it is the blocks' outputs.",
        source="Houlsby et al. 2019, arXiv:1902.00751; Pfeiffer et al. 2021, arXiv:2005.00247; He et al. 2022, "
        "arXiv:2110.04366; for convolutional networks Chen et al. 2022, Conv-Adapter, arXiv:2208.07463",
    ),
    rewrite=add_adapters,
    options=Settings,
    argument="reduction",
    optional=True,
    # 4. Only adapters and head learn, in one phase.
    phases=added_and_head,
    additions=(Addition("adapter", r"\.adapter\."),),
    rate=30.0,
    rate_reason="adapters start from nothing: ten times was too little for the demonstration's texts and digits, and "
    "Houlsby et al. 2019 searched up to 3e-3",
    # 5. Evaluation is every run's: the test split, once, by the model with its best weights.
)
