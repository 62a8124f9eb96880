"""What every optimizer promises, whichever file it stands in."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from unfreeze.optim.groups import parameter_groups
from unfreeze.optim.optimizers import OPTIMIZERS
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack

NAMES = OPTIMIZERS.names()


def stack(seed: int = 0) -> LayerStack:
    torch.manual_seed(seed)
    module = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))
    return build_stack(module, [GroupPattern("stem", r"0\."), GroupPattern("norm", r"1\."), GroupPattern("head", r"3")])


def make(name: str, of: LayerStack, decay: float = 0.1, lr: float = 0.01) -> torch.optim.Optimizer:
    groups = parameter_groups(of, decay)
    for group in groups:
        group["lr"] = lr * OPTIMIZERS.get(name).rate
    return OPTIMIZERS.get(name).make(groups, lr)


def learn(of: LayerStack, optimizer: torch.optim.Optimizer, steps: int, first: int = 0) -> list[float]:
    losses = []
    for step in range(first, first + steps):
        generator = torch.Generator().manual_seed(step % 4)
        x = torch.randn(16, 4, generator=generator)
        loss = nn.functional.cross_entropy(of.module(x), (x[:, 0] > 0).long() + (x[:, 1] > 0).long())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def weights(of: LayerStack) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in of.module.named_parameters()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_the_promised_ones_are_there() -> None:
    assert {"adafactor", "adam", "adamw", "lion", "rmsprop", "sgd"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card_and_rate(name: str) -> None:
    entry = OPTIMIZERS.get(name)
    card = entry.card
    assert all((card.what, card.when, card.cost, card.evidence, card.source))
    assert entry.rate > 0


@pytest.mark.parametrize("name", NAMES)
def test_its_state_takes_what_forecasts_say(name: str) -> None:
    layer = nn.Linear(512, 256)
    optimizer = OPTIMIZERS.get(name).make([{"params": list(layer.parameters()), "lr": 1e-3, "weight_decay": 0.0}], 1e-3)
    layer(torch.randn(2, 512)).sum().backward()
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, Tensor)]
    floats = sum(value.numel() * value.element_size() for value in kept) / 4
    assert floats / sum(value.numel() for value in layer.parameters()) == pytest.approx(
        OPTIMIZERS.get(name).state, abs=0.02
    )


@pytest.mark.parametrize("name", NAMES)
def test_it_learns(name: str) -> None:
    of = stack()
    losses = learn(of, make(name, of), 60)
    assert sum(losses[-4:]) < 0.8 * sum(losses[:4])


@pytest.mark.parametrize("name", NAMES)
def test_what_has_no_gradient_has_no_state_and_does_not_move(name: str) -> None:
    of = stack()
    optimizer = make(name, of)
    for parameter in of.module[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    before = weights(of)
    learn(of, optimizer, 3)
    after = weights(of)
    frozen = set(of.module[0].parameters())  # type: ignore[index]
    assert not frozen & set(optimizer.state)
    assert set(optimizer.state) == set(of.module.parameters()) - frozen
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["3.weight"], after["3.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_state_is_tensors_and_numbers_and_continues_exactly(name: str) -> None:
    of = stack()
    optimizer = make(name, of)
    for parameter in of.module[0].parameters():  # type: ignore[index]
        parameter.requires_grad_(False)
    learn(of, optimizer, 3)
    saved = copy.deepcopy(optimizer.state_dict())
    for entries in saved["state"].values():
        assert all(isinstance(value, Tensor | int | float) for value in entries.values())
    resumed = stack(seed=1)
    resumed.module.load_state_dict(of.module.state_dict())
    again = make(name, resumed)
    again.load_state_dict({"state": saved["state"], "param_groups": again.state_dict()["param_groups"]})
    for current, which in ((of, optimizer), (resumed, again)):
        for parameter in current.module.parameters():
            parameter.requires_grad_(True)  # as when a group thaws right after an interruption
        learn(current, which, 4, first=3)
    assert same(weights(of), weights(resumed))


@pytest.mark.parametrize("name", NAMES)
def test_continuing_without_the_state_would_differ(name: str) -> None:
    of = stack()
    optimizer = make(name, of)
    learn(of, optimizer, 3)
    other = stack(seed=1)
    other.module.load_state_dict(of.module.state_dict())
    learn(of, optimizer, 4, first=3)
    learn(other, make(name, other), 4, first=3)
    assert not same(weights(of), weights(other))


@pytest.mark.parametrize("name", NAMES)
def test_rate_0_moves_nothing(name: str) -> None:
    of = stack()
    before = weights(of)
    learn(of, make(name, of, lr=0.0), 2)
    assert same(before, weights(of))


@pytest.mark.parametrize("name", NAMES)
def test_weight_decay_shrinks_weights_but_not_norms_and_biases(name: str) -> None:
    results = []
    for decay in (0.0, 0.5):
        of = stack()
        optimizer = make(name, of, decay=decay)
        before = weights(of)
        for parameter in of.module.parameters():
            parameter.grad = torch.full_like(parameter, 1e-3)
        optimizer.step()
        results.append({key: value - before[key] for key, value in weights(of).items()})
    plain, decayed = results
    assert all(torch.equal(plain[key], decayed[key]) for key in ("0.bias", "1.weight", "1.bias", "3.bias"))
    assert not torch.equal(plain["0.weight"], decayed["0.weight"])


@pytest.mark.parametrize("name", NAMES)
def test_rates_of_groups_are_their_own(name: str) -> None:
    of = stack()
    optimizer = make(name, of)
    for group in optimizer.param_groups:
        group["lr"] = 0.01 if group["group"] == "head" else 0.0
    before = weights(of)
    learn(of, optimizer, 1)
    after = weights(of)
    assert torch.equal(before["0.weight"], after["0.weight"])
    assert not torch.equal(before["3.weight"], after["3.weight"])
