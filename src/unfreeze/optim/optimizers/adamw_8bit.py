"""AdamW with eight bits for each number of state.

Each block of 256 numbers is stored as its largest magnitude and, for each number, one of 256 codes that stand densest
near zero. The squared gradient is rounded up: what became zero would make the next step enormous.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from unfreeze.optim.optimizers import OptimizerEntry
from unfreeze.registry import Card

BLOCK = 256
SMALL = 4096
"""Parameters of fewer numbers keep their state in float32, as in the source: nothing is gained there."""

TOGETHER = 4096
"""Blocks that are updated at a time, so that what is unpacked takes little."""

MOMENTS = ("exp_avg", "exp_avg_sq")


@cache
def codes(signed: bool) -> Tensor:
    """The 256 numbers from -1 or 0 to 1 that can be stored, ascending: seven decades, each finer than the one below.

    Source: Dettmers 2016, arXiv:1511.04561 (dynamic tree quantization).
    """
    found = [0.0, 1.0]
    for decade in range(7):
        edges = torch.linspace(0.1, 1.0, 2 ** (decade + (not signed)) + 1, dtype=torch.float64)
        values = ((edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - 6)).tolist()
        found += values + [-value for value in values if signed]
    return torch.tensor(sorted(found), dtype=torch.float32)


@cache
def _table(signed: bool) -> Tensor:
    """For each number of bfloat16 from -1 to 1, by its bits, the code to store; a search takes thirty times as long."""
    numbers = torch.arange(1 << 16, dtype=torch.int32).to(torch.int16).view(torch.bfloat16).float().nan_to_num()
    known = codes(signed)
    return torch.bucketize(numbers, (known[1:] + known[:-1]) / 2 if signed else known[:-1]).to(torch.uint8)


def pack(values: Tensor, signed: bool) -> tuple[Tensor, Tensor]:
    """Blocks of shape (blocks, 256) to codes, uint8 of that shape, and the blocks' largest magnitudes, (blocks,)."""
    scale = values.abs().amax(dim=1)
    inner = values / scale.clamp(min=torch.finfo(values.dtype).tiny)[:, None]
    return _looked_up(_table(signed), inner.to(torch.bfloat16).view(torch.int16)), scale


def unpack(packed: Tensor, scale: Tensor, signed: bool) -> Tensor:
    """What `pack` stored, up to rounding."""
    return _looked_up(codes(signed), packed).mul_(scale[:, None])


def _looked_up(table: Tensor, places: Tensor) -> Tensor:
    """The table's values at these places; negative ones count from its end."""
    if places.device.type == "cpu":
        return torch.from_numpy(table.numpy().take(places.numpy()))
    return table.to(places.device)[places.int()]


def step(value: Tensor, gradient: Tensor, moments: tuple[Tensor, Tensor], count: int, group: Mapping[str, Any]) -> None:
    """One update of AdamW in place, of the value and its two moments."""
    first, second = moments
    slow, slower = group["betas"]
    value.mul_(1 - group["lr"] * group["weight_decay"])
    first.lerp_(gradient, 1 - slow)
    second.mul_(slower).addcmul_(gradient, gradient, value=1 - slower)
    size = (second / (1 - slower**count)).sqrt_().add_(group["eps"])
    value.addcdiv_(first, size, value=-group["lr"] / (1 - slow**count))


class AdamW8bit(Optimizer):
    """Parameters and their groups as in every torch optimizer; state is bytes, scales and a count of steps."""

    def __init__(
        self,
        params: Any,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for value in group["params"]:
                if value.grad is not None:
                    self._update(value, group)
        return loss

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from that state; torch makes all of it floats, which codes must not stay."""
        super().load_state_dict(state_dict)
        for state in self.state.values():
            for name in MOMENTS:
                if f"{name}_scale" in state:
                    state[name] = state[name].to(torch.uint8)

    def _update(self, value: Tensor, group: Mapping[str, Any]) -> None:
        state = self.state[value]
        if not state:
            state.update(_begin(value))
        state["step"] += 1
        first, second = (state[name] for name in MOMENTS)
        if value.numel() < SMALL:
            step(value, value.grad, (first, second), state["step"], group)  # type: ignore[arg-type]
            return
        flat, slope = value.view(-1), value.grad.reshape(-1)  # type: ignore[union-attr]
        for start in range(0, len(first), TOGETHER):
            blocks = slice(start, start + TOGETHER)
            numbers = slice(start * BLOCK, (start + TOGETHER) * BLOCK)
            moments = [
                unpack(state[name][blocks], state[f"{name}_scale"][blocks], name == MOMENTS[0]) for name in MOMENTS
            ]
            size = slope[numbers].numel()
            inside = tuple(moment.view(-1)[:size] for moment in moments)
            step(flat[numbers], slope[numbers], inside, state["step"], group)  # type: ignore[arg-type]
            for name, moment in zip(MOMENTS, moments, strict=True):
                state[name][blocks], state[f"{name}_scale"][blocks] = pack(moment, name == MOMENTS[0])


def _begin(value: Tensor) -> dict[str, Any]:
    """The state before the first step."""
    if value.numel() < SMALL:
        return {"step": 0, **{name: torch.zeros_like(value) for name in MOMENTS}}
    blocks, device = -(-value.numel() // BLOCK), value.device
    zero = {name: int(codes(name == MOMENTS[0]).abs().argmin()) for name in MOMENTS}
    packed = {name: torch.full((blocks, BLOCK), zero[name], dtype=torch.uint8, device=device) for name in MOMENTS}
    return {"step": 0, **packed, **{f"{name}_scale": torch.zeros(blocks, device=device) for name in MOMENTS}}


def adamw_8bit(groups: list[dict[str, Any]], lr: float) -> Optimizer:
    """AdamW with its usual momenta (0.9, 0.999)."""
    return AdamW8bit(groups, lr=lr)


OPTIMIZER = OptimizerEntry(
    Card(
        what="AdamW whose two numbers of state per learning parameter are one byte each",
        when="memory is short while many layers learn; `training.memory_budget` takes it where it has to",
        cost="a quarter of AdamW's state; packing takes time at each update, which on a CPU can double that of small "
        "batches; steps differ from AdamW's by the rounding",
        evidence="on a par with 32-bit Adam for language models, translation and fine-tuning in the source",
        source="Dettmers et al. 2022, 8-bit Optimizers via Block-wise Quantization, arXiv:2110.02861",
    ),
    make=adamw_8bit,
    state=0.51,
    scales="always",
)
