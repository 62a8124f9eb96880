"""Stacked heads compute what each would alone."""

from __future__ import annotations

import torch

from unfreeze.models.head import Head, initialise
from unfreeze.models.heads import Heads, initial_heads

SEEDS, COUNT, ROWS, WIDTH, OUTPUTS = (3, 8), 2, 5, 7, 4


def stacked() -> Heads:
    torch.manual_seed(0)
    made = initial_heads(Head(WIDTH, OUTPUTS), SEEDS, COUNT)
    made.weight.normal_()
    made.bias.normal_()
    return made


def test_they_begin_as_a_run_of_their_seed_does() -> None:
    made = initial_heads(Head(WIDTH, OUTPUTS), SEEDS, COUNT)
    for number, seed in enumerate(SEEDS):
        alone = Head(WIDTH, OUTPUTS)
        initialise(alone, seed)
        for place in range(COUNT):
            assert torch.equal(made.weight[number, place], alone.weight)
            assert torch.equal(made.bias[number, place], alone.bias)
    assert made.weight.is_contiguous()


def test_outputs_and_slope() -> None:
    heads, inputs, given = stacked(), torch.randn(2, ROWS, WIDTH), torch.randn(2, ROWS, COUNT, OUTPUTS)
    into = heads.like()
    outputs = heads.outputs(inputs)
    heads.slope(given, inputs, into)
    alike = heads.outputs_alike(inputs[0])
    for seed in range(2):
        for place in range(COUNT):
            alone = torch.nn.Linear(WIDTH, OUTPUTS)
            alone.load_state_dict({"weight": heads.weight[seed, place], "bias": heads.bias[seed, place]})
            expected = alone(inputs[seed])
            torch.testing.assert_close(outputs[seed, :, place], expected)
            torch.testing.assert_close(alike[seed, place], alone(inputs[0]))
            expected.backward(given[seed, :, place])
            torch.testing.assert_close(into.weight[seed, place], alone.weight.grad)
            torch.testing.assert_close(into.bias[seed, place], alone.bias.grad)


def test_one_seed_alone_leaves_the_others() -> None:
    heads, inputs, given = stacked(), torch.randn(2, ROWS, WIDTH), torch.randn(2, ROWS, COUNT, OUTPUTS)
    whole, part = heads.like(), heads.like()
    heads.slope(given, inputs, whole)
    second = slice(1, 2)
    heads.slope(given[second], inputs[second], part, second)
    torch.testing.assert_close(heads.outputs(inputs[second], second), heads.outputs(inputs)[second])
    torch.testing.assert_close(part.weight[1], whole.weight[1])
    assert not part.weight[0].any()
    assert not part.bias[0].any()
