"""Gradient checkpointing for every family: the same gradients, statistics and random numbers, in less memory."""

from __future__ import annotations

import pytest
import torch
from test_replay import batch_of
from tiny import families, tiny_pretrained
from torch import Tensor

from unfreeze.models.kernels import fast_kernels
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack import gradient_checkpointing
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.gradient_checkpointing import blocks, recompute
from unfreeze.stack.groups import build_stack
from unfreeze.stack.replay import NotReplayable, prepare_replay
from unfreeze.stack.working import Working, make_working

FLAT = {"vgg"}
"""Families whose convolutions stand in one long list: there is no block to compute again."""


def made(name: str, checkpointed: bool, precision: str = "float32") -> tuple[Pretrained, Working]:
    pretrained = tiny_pretrained(name, dropout=0.25)
    stack = build_stack(pretrained.module, pretrained.family.patterns)
    working = make_working(stack, precision, fast_kernels(torch.device("cpu")))
    if checkpointed:
        recompute(working.stack)
    return pretrained, working


def after_a_step(name: str, checkpointed: bool, precision: str, lowest: int = 0) -> dict[str, Tensor]:
    """Loss, gradients, buffers and the generator's state after one pass in training, with dropout."""
    pretrained, working = made(name, checkpointed, precision)
    learn = working.master.names[lowest:]
    working.set_learning(learn)
    set_modes(working.stack, learn)
    torch.manual_seed(1)
    loss = working.module(**working.laid_out(batch_of(pretrained, 0, 1, 2, 3))).float().square().sum()
    loss.backward()  # type: ignore[no-untyped-call]
    working.collect(learn)
    master = working.master.module
    gradients = {f"gradient of {n}": p.grad for n, p in master.named_parameters() if p.grad is not None}
    buffers = {f"buffer {n}": buffer.clone() for n, buffer in master.named_buffers()}
    return {"loss": loss.detach(), **gradients, **buffers, "random numbers": torch.get_rng_state()}


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    return [name for name in one if not torch.equal(one[name], other[name])]


@pytest.mark.parametrize("precision", ["float32", "bf16"])
@pytest.mark.parametrize("name", families())
def test_nothing_changes(name: str, precision: str) -> None:
    plain, again = (after_a_step(name, checkpointed, precision) for checkpointed in (False, True))
    assert plain.keys() == again.keys()
    assert differing(plain, again) == []


@pytest.mark.parametrize("name", families())
def test_nothing_changes_above_a_frontier(name: str) -> None:
    middle = len(made(name, False)[1].stack.names) // 2
    plain, again = (after_a_step(name, checkpointed, "float32", middle) for checkpointed in (False, True))
    assert differing(plain, again) == []


@pytest.mark.parametrize("name", families())
def test_blocks_are_computed_twice(name: str) -> None:
    """Except where there are none."""
    _, working = made(name, True)
    body = [block for block in blocks(working.stack) if name not in FLAT]
    assert bool(body) is (name not in FLAT)
    calls = dict.fromkeys(body, 0)
    pretrained, working = made(name, False)
    for block in blocks(working.stack):
        child = next(child for child in block.modules() if not list(child.children()) and list(child.parameters()))
        child.register_forward_pre_hook(lambda module, _: calls.update({module: calls.get(module, 0) + 1}))
    recompute(working.stack)
    set_modes(working.stack, working.stack.names)
    working.module(**batch_of(pretrained, 0, 1)).sum().backward()
    assert set(calls.values()) - {0} == {2}


@pytest.mark.parametrize("name", ["resnet", "mobilenet"])
def test_statistics_that_move_twice_would_be_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = after_a_step(name, False, "float32")
    monkeypatch.setattr(gradient_checkpointing, "_BatchNorm", torch.nn.Bilinear)
    assert any(found.startswith("buffer") for found in differing(plain, after_a_step(name, True, "float32")))


@pytest.mark.parametrize("name", ["bert", "gpt2"])
def test_other_random_numbers_would_be_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, real = after_a_step(name, False, "float32"), gradient_checkpointing.checkpoint
    monkeypatch.setattr(gradient_checkpointing, "checkpoint", lambda *a, **k: real(*a, preserve_rng_state=False, **k))
    assert any(found.startswith("gradient") for found in differing(plain, after_a_step(name, True, "float32")))


@pytest.mark.parametrize("name", families())
def test_gradients_through_kept_features_are_the_same(name: str) -> None:
    """Replay takes its hold off the modules before the backward pass computes them again."""
    found = []
    for checkpointed in (False, True):
        pretrained, working = made(name, checkpointed)
        learn = working.stack.names[-2:]
        batches = [batch_of(pretrained, *rows) for rows in ((0, 1, 2), (2, 3), (3, 0, 1))]
        try:
            replay = prepare_replay(working.stack, learn, *batches[:2])
        except NotReplayable:
            return
        working.set_learning(learn)
        with torch.no_grad():
            kept = replay.capture(batches[2])
        set_modes(working.stack, learn)
        torch.manual_seed(1)
        replay.forward(batches[2], kept).square().sum().backward()  # type: ignore[no-untyped-call]
        found.append({n: p.grad for n, p in working.stack.module.named_parameters() if p.grad is not None})
        # And the frozen blocks compute again as they did.
        working.module.eval()
        found[-1]["plain"] = working.module(**batches[2]).detach()
    assert found[0].keys() == found[1].keys()
    assert differing(*found) == []
