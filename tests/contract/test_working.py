"""The copy that computes, for every family: near the master in each type, learning into it, and leaving it alone."""

from __future__ import annotations

import pytest
import torch
from test_replay import batch_of
from tiny import families, tiny_pretrained

from unfreeze.models.kernels import fast_kernels
from unfreeze.models.pretrained import Batch, Pretrained
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.groups import build_stack
from unfreeze.stack.ledger import group_digests
from unfreeze.stack.replay import prepare_replay
from unfreeze.stack.working import Working, make_working

CLOSE = {"float32": 1e-4, "bf16": 0.15}
"""Largest difference of a tiny random model's outputs, relative to their scale."""

KERNELS = fast_kernels(torch.device("cpu"))


def made(name: str, precision: str) -> tuple[Pretrained, Working]:
    pretrained = tiny_pretrained(name)
    return pretrained, make_working(build_stack(pretrained.module, pretrained.family.patterns), precision, KERNELS)


def step(working: Working, batch: Batch, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Gradients of one backward pass without dropout, as the master has them."""
    working.set_learning(names)
    working.module.eval()
    working.module(**working.laid_out(batch)).float().square().sum().backward()  # type: ignore[no-untyped-call]
    working.collect(names)
    return {n: p.grad.clone() for n, p in working.master.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", families())
def test_outputs_and_gradients_are_the_masters(name: str, precision: str) -> None:
    pretrained, working = made(name, precision)
    batch = batch_of(pretrained, 0, 1, 2)
    master = working.master
    master.module.eval()
    with torch.no_grad():
        expected = master.module(**batch)
        found = working.module(**working.laid_out(batch))
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max() / expected.abs().max()) <= CLOSE[precision]

    mine = step(working, batch, master.names)
    assert set(mine) >= {n for n, _ in master.module.named_parameters() if "head" in n}
    for parameter in master.module.parameters():
        parameter.grad = None
    plain = Working(master, master)
    theirs = step(plain, batch, master.names)
    assert set(mine) == set(theirs)
    ours, reference = (torch.cat([grads[n].flatten() for n in sorted(grads)]) for grads in (mine, theirs))
    assert ours.dtype == torch.float32
    assert float(torch.nn.functional.cosine_similarity(ours, reference, dim=0)) > (
        0.95 if precision == "bf16" else 0.9999
    )


@pytest.mark.parametrize("name", families())
def test_the_copy_follows_the_master_and_frozen_weights_stay(name: str) -> None:
    _, working = made(name, "bf16")
    master = working.master
    head = master.names[-1]
    frozen = group_digests(working.stack, master.names[:-1])
    with torch.no_grad():
        for parameter in master.module.parameters():
            parameter.add_(0.25)
    working.refresh([head])
    assert group_digests(working.stack, [head]) == group_digests(master, [head])
    moved = [n for n, digest in group_digests(working.stack, frozen).items() if digest != frozen[n]]
    shared = {
        group.name
        for group in master.groups
        for (_, whole), (_, mine) in zip(master.parameters(group), working.stack.parameters(group), strict=True)
        if whole is mine
    }
    assert set(moved) <= shared
    working.refresh(master.names)
    assert working.unfaithful(master.names) is None


def test_a_copy_that_moved_alone_is_found() -> None:
    _, working = made("bert", "bf16")
    assert working.unfaithful(working.master.names) is None
    with torch.no_grad():
        next(working.module.parameters()).mul_(1.5)
    assert working.unfaithful(working.master.names) == working.master.groups[0].parameters[0]


@pytest.mark.parametrize("name", families())
def test_the_master_keeps_its_modes_kernels_and_types(name: str) -> None:
    pretrained, working = made(name, "bf16")
    assert {p.dtype for p in pretrained.module.parameters()} == {torch.float32}
    assert not any(type(child).__name__ == "FastDropout" for child in pretrained.module.modules())
    assert getattr(getattr(pretrained.module.backbone, "config", None), "_attn_implementation", None) != "unfreeze"
    set_modes(working.stack, working.master.names)
    assert not pretrained.module.training
    buffers = dict(pretrained.module.named_buffers())
    assert all(buffer is buffers[n] for n, buffer in working.module.named_buffers())


@pytest.mark.parametrize("name", families())
def test_replay_in_bfloat16_is_the_plain_forward(name: str) -> None:
    pretrained, working = made(name, "bf16")
    first, second, batch = (working.laid_out(batch_of(pretrained, *rows)) for rows in ((0, 1, 2), (2, 3), (3, 0, 2, 1)))
    replay = prepare_replay(working.stack, working.stack.names[-1:], first, second)
    with torch.no_grad():
        kept = replay.capture(batch)
        assert torch.equal(replay.forward(batch, kept), working.module(**batch))
