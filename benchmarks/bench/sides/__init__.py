"""Who does the jobs: unfreeze and its peers, one file each. Nothing here imports any of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Run: TypeAlias = Callable[..., Any]
"""(Work) -> Told; every side's module has it as `run`."""


REPORT = "evidence and the report"
"""The stage of unfreeze that no peer has."""


@dataclass(frozen=True)
class Side:
    """A side with the module that imports what it needs, and what of it is shown.

    `packages` are the distributions whose versions are told; `options` go into the Work.
    """

    key: str
    title: str
    module: str
    packages: tuple[str, ...]
    what: str
    options: Mapping[str, Any] = field(default_factory=dict)


OURS = Side("unfreeze", "unfreeze", "ours", ("unfreeze",), "`unfreeze.fit(…)` with its defaults")

SIDES: dict[str, Side] = {
    side.key: side
    for side in (
        OURS,
        Side(
            "one",
            "unfreeze, one head",
            "ours",
            ("unfreeze",),
            "beside the search over 32 heads: `unfreeze.fit(…)` of one, with its defaults",
        ),
        Side(
            "trainer",
            "Trainer, defaults",
            "trainer",
            ("transformers", "accelerate"),
            "transformers' Trainer on AutoModelForSequenceClassification; only epochs, batch size and seed are set",
        ),
        Side(
            "trainer-best",
            "Trainer, best settings",
            "trainer",
            ("transformers", "accelerate"),
            "the same Trainer with group_by_length, fused AdamW, bf16 where the machine gains from it, batches of 64 "
            "in evaluation, no checkpoints, and unfreeze's rates, warm-up, decay and mean pooling",
            {"best": True},
        ),
        Side(
            "peft",
            "peft with Trainer, best settings",
            "peft_trainer",
            ("peft", "transformers", "accelerate"),
            "peft's adapter of the same size in the same places, trained by the Trainer with its best settings and "
            "unfreeze's rates; prefix and prompt tuning around AutoModelForSequenceClassification, as peft has them",
            {"best": True},
        ),
        Side(
            "plain",
            "plain PyTorch loop",
            "plain",
            ("torch",),
            "the loop that courses show: DataLoader with shuffling, forward, backward, AdamW, a linear schedule; "
            "float32; unfreeze's rates and, for texts, mean pooling",
        ),
        Side(
            "sbert",
            "sentence-transformers + LogisticRegression",
            "sbert",
            ("sentence-transformers", "scikit-learn"),
            "each text is encoded once, and scikit-learn fits a logistic regression until it converges, not by epochs; "
            "in the search 32 of them, of which validation chooses",
        ),
        Side(
            "setfit",
            "SetFit, head only",
            "setfit_head",
            ("setfit", "sentence-transformers"),
            "SetFitModel.fit: its body as it is, its default head, a logistic regression",
        ),
        Side(
            "timm",
            "timm loop, defaults",
            "timm_loop",
            ("timm",),
            "timm's loaders (4 workers, as its train.py has), create_optimizer_v2, create_scheduler_v2 (cosine); "
            "float32; unfreeze's rates",
        ),
        Side(
            "timm-best",
            "timm loop, best settings",
            "timm_loop",
            ("timm",),
            "the same with channels_last, bf16 autocast where the machine gains from it, as many workers as cores, and "
            "frozen BatchNorm by timm.utils.freeze",
            {"best": True},
        ),
        Side(
            "fastai",
            "fastai Learner",
            "fastai_learner",
            ("fastai",),
            "Learner with freeze and fit_one_cycle; train_bn=False, so that frozen means frozen",
        ),
    )
}
