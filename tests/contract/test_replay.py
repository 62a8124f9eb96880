"""Replay for every family at every frontier: equal to the plain forward, or refused with a reason."""

from __future__ import annotations

import pytest
import torch
from tiny import families, tiny_pretrained
from torch import Tensor

from unfreeze.models.pretrained import Batch, Pretrained, Sample
from unfreeze.stack.frontier import set_learning, set_modes
from unfreeze.stack.groups import LayerStack, build_stack
from unfreeze.stack.replay import NotReplayable, Replay, prepare_replay

REFUSED = {
    "deberta": {"block 0": "differ from the plain forward", "block 1": "differ from the plain forward"},
    "t5": {"block 1": "without its padding", "block 2": "without its padding"},
}
"""Frontiers that cannot be replayed: DeBERTa's blocks attend by an embedding that a lower module passes beside them,
T5's first block hands its position bias to the others. Everything else must replay."""

TEXTS = (
    "good movie",
    "a bad bank card, was it?",
    "the fine bank is a poor movie",
    "the great movie is a great bank card",
)
SLOW = {"inception": 8, "vgg": 4, "mobilenet": 4}
"""Every so many frontiers of the deep image families are tried, and the topmost."""


def samples_of(pretrained: Pretrained) -> list[Sample]:
    if pretrained.family.modality == "text":
        return [pretrained.preprocess.encode(text) for text in TEXTS]
    draw = torch.Generator().manual_seed(7)
    shape = (pretrained.spec["channels"], pretrained.spec["image_size"], pretrained.spec["image_size"])
    return [{"pixel_values": torch.randint(0, 256, shape, generator=draw).byte()} for _ in TEXTS]


def batch_of(pretrained: Pretrained, *rows: int) -> Batch:
    samples = samples_of(pretrained)
    return pretrained.preprocess.collate([samples[row] for row in rows])


def frontiers(name: str, stack: LayerStack) -> list[int]:
    positions = range(1, len(stack.names))
    return sorted({*positions[:: SLOW.get(name, 1)], positions[-1]})


def replay_at(pretrained: Pretrained, stack: LayerStack, position: int) -> Replay:
    first, second = batch_of(pretrained, 0, 1, 2), batch_of(pretrained, 2, 3)
    return prepare_replay(stack, stack.names[position:], first, second)


@pytest.mark.parametrize("name", families())
def test_every_frontier_replays_or_says_why_not(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = build_stack(pretrained.module, pretrained.family.patterns)
    pretrained.module.eval()
    other = batch_of(pretrained, 3, 0, 2, 1)
    refused: dict[str, str] = {}
    with torch.no_grad():
        plain = pretrained.module(**other)
        for position in frontiers(name, stack):
            try:
                replay = replay_at(pretrained, stack, position)
            except NotReplayable as problem:
                refused[stack.names[position]] = str(problem)
                continue
            found = replay.forward(other, replay.capture(other))
            assert torch.equal(found, plain), f"{name} at {stack.names[position]}"
    expected = REFUSED.get(name, {})
    assert refused.keys() == expected.keys()
    assert all(expected[group] in reason for group, reason in refused.items())


def train(pretrained: Pretrained, position: int, replayed: bool, updates: int = 3) -> tuple[list[float], Tensor]:
    """Losses of a few updates of what lies above the frontier, and the outputs afterwards."""
    stack = build_stack(pretrained.module, pretrained.family.patterns)
    learn = stack.names[position:]
    batch, targets = batch_of(pretrained, 0, 1, 2, 3), torch.tensor([0, 1, 2, 0])
    replay = replay_at(pretrained, stack, position) if replayed else None
    set_learning(stack, learn)
    set_modes(stack, ())
    with torch.no_grad():
        features = replay.capture(batch) if replay else []
    set_modes(stack, learn)
    optimizer = torch.optim.SGD([p for p in pretrained.module.parameters() if p.requires_grad], lr=0.05)
    losses = []
    for update in range(updates):
        optimizer.zero_grad(set_to_none=True)
        torch.manual_seed(update)
        outputs = replay.forward(batch, features) if replay else pretrained.module(**batch)
        loss = torch.nn.functional.cross_entropy(outputs, targets)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    pretrained.module.eval()
    with torch.no_grad():
        return losses, pretrained.module(**batch)


@pytest.mark.parametrize("name", families())
def test_training_on_replayed_features_is_training(name: str) -> None:
    """With dropout and BatchNorm in training mode above the frontier: the same losses, the same model."""
    position = len(build_stack(tiny_pretrained(name).module, tiny_pretrained(name).family.patterns).names) - 2
    losses, outputs = train(tiny_pretrained(name), position, replayed=False)
    replayed_losses, replayed_outputs = train(tiny_pretrained(name), position, replayed=True)
    assert len(set(losses)) == 3
    assert replayed_losses == pytest.approx(losses, rel=1e-5)
    scale = float(outputs.abs().max())
    torch.testing.assert_close(replayed_outputs, outputs, rtol=0, atol=1e-5 * scale)


@pytest.mark.parametrize("name", families("text"))
def test_the_only_block_of_a_model_learns_or_is_refused(name: str) -> None:
    """The nn.ModuleList around it then owns all of its parameters, and is never called."""
    pretrained = tiny_pretrained(name, drop_top=2)
    stack = build_stack(pretrained.module, pretrained.family.patterns)
    position = stack.names.index("block 0")
    try:
        replay = replay_at(pretrained, stack, position)
    except NotReplayable:
        return
    set_learning(stack, stack.names[position:])
    batch = batch_of(pretrained, 0, 1, 2)
    with torch.no_grad():
        features = replay.capture(batch)
    moved = []
    for outputs in (lambda: pretrained.module(**batch), lambda: replay.forward(batch, features)):
        pretrained.module.zero_grad(set_to_none=True)
        outputs().sum().backward()
        moved.append({key for key, value in pretrained.module.named_parameters() if value.grad is not None})
    assert moved[0] == moved[1]
