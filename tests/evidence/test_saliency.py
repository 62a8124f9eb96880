"""Where a network looked: one that looks at a corner by construction, pieces of texts, and the check."""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import families, tiny_pretrained
from torch import Tensor, nn

from unfreeze.evidence._saliency import (
    PIECES,
    POSITIONS,
    WORDS,
    activation_map,
    on_a_grid,
    pieces,
    randomised,
    rank_correlation,
    top_groups,
    without,
)
from unfreeze.models.head import Head
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack

SIDE = 8


class Window(nn.Module):
    """The mean of features over one quarter of the picture alone."""

    def forward(self, features: Tensor) -> Tensor:
        return features[:, :, : SIDE // 2, : SIDE // 2].mean(dim=(2, 3))


class Cornered(nn.Module):
    """Two convolutions of single pixels, of which only the upper left quarter is looked at; or else the whole."""

    def __init__(self, window: nn.Module) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.low, self.block, self.window = nn.Conv2d(3, 6, 1), nn.Conv2d(6, 5, 1), window
        self.head = Head(5, 2)
        nn.init.normal_(self.head.weight)

    def forward(self, pixel_values: Tensor) -> Tensor:
        output: Tensor = self.head(self.window(self.block(self.low(pixel_values).relu())))
        return output


def cornered(window: nn.Module | None = None) -> LayerStack:
    module = Cornered(window or Window()).eval()
    patterns = [GroupPattern("stem", r"low\."), GroupPattern("block 0", r"block\."), GroupPattern("head", r"head\.")]
    for parameter in module.parameters():
        parameter.requires_grad_(False)
    return build_stack(module, patterns)


class Flat(nn.Module):
    """The mean over all places."""

    def forward(self, features: Tensor) -> Tensor:
        return features.mean(dim=(2, 3))


def picture(seed: int = 0) -> Tensor:
    return torch.randn(1, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def test_a_bright_spot_is_found_where_it_is() -> None:
    """Channel weights that are all positive: what is bright speaks for the output."""
    stack = cornered(Flat())
    with torch.no_grad():
        for parameter in stack.module.parameters():
            parameter.abs_()
    dark = torch.zeros(1, 3, SIDE, SIDE)
    dark[:, :, 6, 1] = 5
    seen = activation_map(stack, dark, 0)
    assert seen is not None
    layer, places = seen
    assert layer == "block 0"
    assert np.unravel_index(places.argmax(), places.shape) == (6, 1)


def test_a_network_that_looks_at_one_corner_is_seen_to() -> None:
    """All of the picture is alike, and only the upper left quarter enters the output."""
    for seed in range(4):
        seen = activation_map(cornered(), picture(seed), seed % 2)
        assert seen is not None
        corner = np.abs(seen[1][: SIDE // 2, : SIDE // 2])
        assert corner.sum() > 0
        assert np.abs(seen[1]).sum() == pytest.approx(corner.sum())


def test_with_a_mean_over_places_it_is_grad_cam() -> None:
    stack, pixels = cornered(Flat()), picture()
    seen = activation_map(stack, pixels, 1)
    assert seen is not None
    module: Any = stack.module
    features = module.block(module.low(pixels).relu()).detach().requires_grad_(True)
    slopes = torch.autograd.grad(module.head(module.window(features))[0, 1], features)[0]
    wanted = (slopes.mean(dim=(2, 3), keepdim=True) * features).sum(dim=1)[0]
    np.testing.assert_allclose(seen[1], wanted.detach().numpy(), rtol=1e-5, atol=1e-6)


class Last(nn.Module):
    """A transformer's end: two blocks mix tokens and the class token alone is read."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.num_prefix_tokens = 1
        self.stem, self.head = nn.Linear(3, 6), Head(6, 2)
        nn.init.normal_(self.head.weight)
        self.blocks = nn.ModuleList(nn.TransformerEncoderLayer(6, 2, 8, batch_first=True) for _ in range(2))

    def forward(self, pixel_values: Tensor) -> Tensor:
        tokens = self.stem(pixel_values.flatten(2).transpose(1, 2))
        tokens = torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        output: Tensor = self.head(tokens[:, 0])
        return output


class Wrapped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = Last()

    def forward(self, pixel_values: Tensor) -> Tensor:
        output: Tensor = self.backbone(pixel_values)
        return output


def test_where_the_class_token_is_read_the_block_before_is_looked_at() -> None:
    patterns = [GroupPattern("stem", r"backbone\.stem"), GroupPattern("block {}", r"backbone\.blocks\.(\d+)")]
    stack = build_stack(Wrapped().eval(), [*patterns, GroupPattern("head", r"backbone\.head")])
    seen = activation_map(stack, picture()[:, :, :4, :4], 0)
    assert seen is not None
    assert seen[0] == "block 0"
    assert seen[1].shape == (4, 4)


def test_features_on_a_grid() -> None:
    tokens = torch.arange(2.0 * 11).view(1, 11, 2)
    found = on_a_grid(tokens, 2)
    assert found is not None
    assert found.shape == (2, 3, 3)
    assert torch.equal(found[:, 1, 0], tokens[0, 5])
    assert on_a_grid(tokens, 0) is None
    space = torch.rand(1, 7, 3, 3)
    for features in (space, space.permute(0, 2, 3, 1)):
        found = on_a_grid(features, 1)
        assert found is not None
        assert torch.equal(found, space[0])
    assert on_a_grid(torch.rand(1, 5), 0) is None


@pytest.mark.parametrize("family", families("image"))
def test_every_family_of_images_has_a_place_to_look_at(family: str) -> None:
    pretrained = tiny_pretrained(family, image_size=75 if family == "inception" else 64)
    pretrained.module.eval().requires_grad_(False)
    stack, size = pretrained.stack(), pretrained.preprocess.size
    pixels = torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))
    seen = activation_map(stack, pixels, 0)
    assert seen is not None, family
    layer, places = seen
    assert places.size >= POSITIONS
    assert np.isfinite(places).all()
    assert layer in stack.names[:-1]
    again = activation_map(randomised(stack, top_groups(stack, layer), 0), pixels, 0, layer)
    assert again is None or again[1].shape == places.shape
    assert not any(module._forward_hooks for module in stack.module.modules())
    assert all(parameter.grad is None for parameter in stack.module.parameters())


# ------------------------------------------------------------------------------------------------- check


def test_only_the_top_is_shuffled_and_the_model_left_as_it_was() -> None:
    stack = cornered()
    before = copy.deepcopy(stack.module.state_dict())
    other = randomised(stack, ["block 0", "head"], 0)
    assert all(torch.equal(tensor, before[name]) for name, tensor in stack.module.state_dict().items())
    assert other.module.low.weight is stack.module.low.weight
    for name in ("block.weight", "head.weight"):
        mixed, was = other.module.state_dict()[name], before[name]
        assert not torch.equal(mixed, was)
        assert torch.equal(mixed.flatten().sort().values, was.flatten().sort().values)
    again = randomised(stack, ["block 0", "head"], 0)
    assert torch.equal(again.module.head.weight, other.module.head.weight)


def test_the_check_tells_what_was_learned_from_what_is_there_by_construction() -> None:
    """The corner stays when weights are shuffled; what the whole picture says does not."""

    def alike(stack: LayerStack) -> float:
        found = []
        for seed in range(20):
            shuffled = randomised(stack, ["block 0", "head"], seed)
            pair = [activation_map(each, picture(seed), 0, "block 0") for each in (stack, shuffled)]
            assert pair[0] is not None
            assert pair[1] is not None
            value = rank_correlation(pair[0][1], pair[1][1])
            found += [] if value is None else [value]
        return float(np.mean(found))

    assert alike(cornered(Flat())) < 0.3
    assert alike(cornered()) > 0.8


def test_top_groups() -> None:
    stack = cornered()
    assert top_groups(stack) == ["block 0", "head"]
    assert top_groups(stack, "stem") == ["stem", "block 0", "head"]
    vit = tiny_pretrained("vit").stack()
    assert top_groups(vit) == ["block 2", "norm", "head"], "a norm alone would change next to nothing"


def test_correlation_of_ranks() -> None:
    one = np.arange(12.0).reshape(3, 4)
    assert rank_correlation(one, np.exp(one)) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(1), "what speaks against is looked at too"
    assert rank_correlation(one, one.max() - one) == pytest.approx(-1)
    assert rank_correlation(one, np.ones((3, 4))) is None


# ------------------------------------------------------------------------------------------------- words

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_pieces_are_in_order_and_leave_out_no_letter(text: str) -> None:
    found = pieces(text)
    assert len(found) <= PIECES
    assert all(start < end for start, end in found)
    assert all(one[1] <= other[0] for one, other in pairwise(found))
    covered = "".join(text[start:end] for start, end in found)
    assert "".join(covered.split()) == "".join(text.split())


def test_long_texts_are_cut_into_pieces_of_several_words() -> None:
    text = " ".join(f"w{number}" for number in range(3 * WORDS))
    found = pieces(text)
    assert len(found) <= PIECES
    assert text[: found[-1][1]].split()[-1] == f"w{WORDS - 1}"
    assert [text[start:end].count(" ") for start, end in found[:3]] == [9, 9, 9]


def test_scripts_without_spaces_are_cut_too() -> None:
    assert len(pieces("机器学习模型在许多任务上都取得了很好的结果但是解释它们仍然很困难")) >= 8


def test_each_piece_is_left_out_of_its_own_text() -> None:
    parts, changed = without(("good movie", "bad card"))
    assert parts == [(0, 0, 4), (0, 5, 10), (1, 0, 3), (1, 4, 8)]
    assert changed == [(" movie", "bad card"), ("good ", "bad card"), ("good movie", " card"), ("good movie", "bad ")]
    assert without("one two")[1] == [" two", "one "]
    assert without("") == ([], [])
