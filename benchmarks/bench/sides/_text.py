"""What the peers on text share: tokens, the model with mean pooling, its layer groups."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.jobs import WEIGHT_DECAY
from bench.work import Work

MAX_LENGTH = 256


class Pooled(nn.Module):
    """The network without BERT's pooler, the mean over tokens (of a decoder the last one), dropout, one linear layer:
    unfreeze's architecture.
    """

    def __init__(self, folder: Path, outputs: int) -> None:
        from transformers import AutoConfig, AutoModel

        super().__init__()
        self.encoder = AutoConfig.from_pretrained(folder).model_type == "bert"
        no_pooler = {"add_pooling_layer": False} if self.encoder else {}
        self.backbone = AutoModel.from_pretrained(folder, **no_pooler)
        self.dropout = nn.Dropout(getattr(self.backbone.config, "hidden_dropout_prob", 0.0))
        self.head = nn.Linear(self.backbone.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Logits of shape (rows, outputs), and the mean loss when labels are given."""
        types = {"token_type_ids": token_type_ids} if self.encoder else {"use_cache": False}
        tokens = self.backbone(input_ids=input_ids, attention_mask=attention_mask, **types).last_hidden_state
        logits = self.head(self.dropout(self.pool(tokens, attention_mask)))
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    def pool(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """One vector for each row."""
        if not self.encoder:
            return tokens[torch.arange(len(tokens), device=tokens.device), mask.sum(1) - 1]
        weights = mask.unsqueeze(-1).to(tokens.dtype)
        return (tokens * weights).sum(1) / weights.sum(1)


def groups(model: nn.Module) -> list[list[nn.Parameter]]:
    """Layer groups from the bottom: embeddings, each block, and everything above them (a pooler too)."""
    bert: Any = getattr(model, "backbone", None) or model.bert
    lower = [bert.embeddings, *bert.encoder.layer]
    found = [list(module.parameters()) for module in lower]
    below = {id(parameter) for group in found for parameter in group}
    return [*found, [parameter for parameter in model.parameters() if id(parameter) not in below]]


def let_learn(model: nn.Module, top: int | None) -> None:
    """The topmost groups learn, the others do not."""
    found = groups(model)
    count = len(found) if top is None else top
    for position, group in enumerate(found):
        for parameter in group:
            parameter.requires_grad_(position >= len(found) - count)


def learning(model: nn.Module) -> int:
    """How many parameters learn."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def pooler_size(model: nn.Module) -> int:
    """Parameters of BERT's pooler, which unfreeze's head does not have."""
    pooler = getattr(getattr(model, "bert", None), "pooler", None)
    return learning(pooler) if pooler is not None else 0


def rate_groups(model: Pooled, work: Work) -> list[dict[str, Any]]:
    """The optimizer's groups: unfreeze's rates for the encoder and the head, no decay for vectors."""
    rates = {"backbone": work.job.model.lr, "head": work.job.model.head_lr}
    return [
        {
            "params": [p for n, p in model.named_parameters() if n.startswith(part) and (p.ndim > 1) is matrix],
            "lr": rate,
            "weight_decay": WEIGHT_DECAY if matrix else 0.0,
        }
        for part, rate in rates.items()
        for matrix in (True, False)
    ]


def encoded(tokenizer: Any, rows: Sequence[tuple[str, str]], labels: Sequence[str]) -> list[dict[str, Any]]:
    """Rows as a Trainer and a padding collator take them."""
    numbers = {label: number for number, label in enumerate(labels)}
    found = tokenizer([text for text, _ in rows], truncation=True, max_length=MAX_LENGTH)
    names = list(found.keys())
    return [
        {**{name: found[name][row] for name in names}, "labels": numbers[label]} for row, (_, label) in enumerate(rows)
    ]


def saved(work: Work) -> tuple[Pooled, list[str]]:
    """The model of a finished run of unfreeze and its labels, for the prediction jobs."""
    from safetensors.torch import load_file

    from unfreeze.models.embedded import minilm_folder

    manifest = json.loads((work.place / "manifest.json").read_text())
    model = Pooled(minilm_folder(), len(manifest["labels"]))
    model.load_state_dict(load_file(work.place / "model" / "model.safetensors"))
    return model.eval(), list(manifest["labels"])


def device() -> torch.device:
    """The best there is."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
