"""The frontier for every family: at each position one update moves what learns and nothing else, and resumes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_replay import batch_of, frontiers
from tiny import families, tiny_pretrained

from unfreeze.models.pretrained import Pretrained
from unfreeze.optim.groups import parameter_groups
from unfreeze.stack.frontier import set_learning, set_modes
from unfreeze.stack.groups import LayerStack, build_stack
from unfreeze.stack.ledger import group_digests
from unfreeze.train.checkpoint import Checkpoint, flatten, load_checkpoint, save_checkpoint, unflatten

ROWS = (0, 1, 2, 3)
TARGETS = torch.tensor([0, 1, 2, 0])


def stack_of(pretrained: Pretrained) -> LayerStack:
    return build_stack(pretrained.module, pretrained.family.patterns)


def optimizer_of(stack: LayerStack) -> torch.optim.Optimizer:
    """Over all groups, as the loop makes it: a frozen group is only not given gradients."""
    return torch.optim.AdamW([{**group, "lr": 1e-2} for group in parameter_groups(stack, 0.1)])


def update(pretrained: Pretrained, stack: LayerStack, optimizer: torch.optim.Optimizer, number: int) -> None:
    optimizer.zero_grad(set_to_none=True)
    torch.manual_seed(number)
    outputs = pretrained.module(**batch_of(pretrained, *ROWS))
    torch.nn.functional.cross_entropy(outputs, TARGETS).backward()
    optimizer.step()


@pytest.mark.parametrize("name", families())
def test_at_each_frontier_one_update_moves_what_learns_and_nothing_else(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    optimizer = optimizer_of(stack)
    # From the bottom up: what is frozen then has momentum and weight decay from having learned before.
    for number, position in enumerate([0, *frontiers(name, stack)]):
        learn = stack.names[position:]
        set_learning(stack, learn)
        set_modes(stack, learn)
        before = group_digests(stack, stack.names)
        update(pretrained, stack, optimizer, number)
        after = group_digests(stack, stack.names)
        assert {group for group in stack.names if before[group] != after[group]} == set(learn)


@pytest.mark.parametrize("name", families())
def test_a_group_alone_in_the_middle_learns_alone(name: str) -> None:
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    (learn,) = learning = (stack.names[len(stack.names) // 2],)
    set_learning(stack, learning)
    set_modes(stack, learning)
    before = group_digests(stack, stack.names)
    update(pretrained, stack, optimizer_of(stack), 0)
    after = group_digests(stack, stack.names)
    assert [group for group in stack.names if before[group] != after[group]] == [learn]


@pytest.mark.parametrize("name", families())
def test_training_resumes_to_the_bit_after_the_frontier_moved(name: str, tmp_path: Path) -> None:
    """One update of the head, one of the upper half; then a checkpoint; then one of all."""
    pretrained = tiny_pretrained(name)
    stack = stack_of(pretrained)
    optimizer = optimizer_of(stack)

    def phase(pretrained: Pretrained, stack: LayerStack, optimizer: torch.optim.Optimizer, position: int) -> None:
        learn = stack.names[position:]
        set_learning(stack, learn)
        set_modes(stack, learn)
        update(pretrained, stack, optimizer, position)

    phase(pretrained, stack, optimizer, len(stack.names) - 1)
    phase(pretrained, stack, optimizer, len(stack.names) // 2)
    tensors, values = flatten("optimizer", optimizer.state_dict())
    state = {f"model.{key}": tensor for key, tensor in pretrained.module.state_dict().items()}
    state = {key: tensor.clone() for key, tensor in state.items()}
    save_checkpoint(tmp_path, 2, Checkpoint({**tensors, **state}, values))
    phase(pretrained, stack, optimizer, 0)

    found = load_checkpoint(tmp_path)
    assert found is not None
    again = tiny_pretrained(name)
    stack_again = stack_of(again)
    kept = found[0].tensors
    again.module.load_state_dict(
        {key.removeprefix("model."): tensor for key, tensor in kept.items() if key.startswith("model.")}
    )
    optimizer_again = optimizer_of(stack_again)
    optimizer_again.load_state_dict(unflatten("optimizer", kept, found[0].values))
    phase(again, stack_again, optimizer_again, 0)
    expected = pretrained.module.state_dict()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in again.module.state_dict().items())
