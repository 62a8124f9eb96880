"""Movement: planted changes of one group, features of groups that do not depend on the company, and a real run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from collecting import ASKED, only
from PIL import Image
from small import fit_images, fit_text
from tiny import families, tiny_pretrained
from torch import Tensor, nn

from unfreeze.data.manifest import ImageRef
from unfreeze.evaluation.reading import exact
from unfreeze.evidence._features import group_features, group_modules, pooled, sampled
from unfreeze.evidence.movement import changes, relative_change
from unfreeze.models.head import Head
from unfreeze.models.pretrained import Pretrained
from unfreeze.stack.groups import GroupPattern, LayerStack, build_stack


def small_stack() -> LayerStack:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 4), Head(4, 2))
    patterns = [GroupPattern("stem", r"0\."), GroupPattern("block 0", r"[12]\."), GroupPattern("head", r"3\.")]
    return build_stack(module, patterns)


def by_name(groups: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {group["name"]: group for group in groups}


@torch.no_grad()
def test_one_group_that_moved_by_a_tenth() -> None:
    before, after = small_stack(), small_stack()
    for _, parameter in after.parameters(after.group("block 0")):
        parameter *= 1.1
    found = by_name(changes(before, after, ["block 0", "head"]))
    assert found["block 0"]["relative_change"] == pytest.approx(0.1)
    assert not found["block 0"]["unchanged"]
    for name in ("stem", "head"):
        assert found[name]["relative_change"] == 0
        assert found[name]["unchanged"]
    assert [group["kind"] for group in found.values()] == ["own", "own", "head"]
    assert [group["learned"] for group in found.values()] == [False, True, True]


@torch.no_grad()
def test_statistics_that_moved_are_no_frozen_group() -> None:
    before, after = small_stack(), small_stack()
    after.module[1].running_mean += 0.5
    found = by_name(changes(before, after, []))["block 0"]
    assert found["relative_change"] == 0
    assert found["buffers_change"] == pytest.approx(0.5)
    assert not found["unchanged"]


def test_what_started_at_zero_has_no_relative_change() -> None:
    assert relative_change({"a": torch.zeros(3)}, {"a": torch.ones(3)}) is None
    assert relative_change({}, {}) is None
    one = {"a": torch.full((4,), 1.0), "b": torch.zeros(3), "count": torch.tensor(3)}
    other = {"a": torch.full((4,), 1.0), "b": torch.ones(3), "count": torch.tensor(9)}
    assert relative_change(one, other) == pytest.approx((3 / 4) ** 0.5)


def test_pooling_by_shape() -> None:
    tokens, mask = torch.arange(24.0).view(2, 3, 4), torch.tensor([[1, 1, 0], [1, 1, 1]])
    found = pooled(tokens, 2, mask)
    assert found is not None
    assert torch.equal(found, torch.stack([tokens[0, :2].mean(dim=0), tokens[1].mean(dim=0)]))
    prompted = pooled(torch.cat([torch.full((2, 2, 4), 100.0), tokens], dim=1), 2, mask)
    assert prompted is not None
    assert torch.equal(prompted[0], (200 + tokens[0, :2].sum(dim=0)) / 4)
    space = torch.rand(2, 5, 3, 3)
    for image in (space, space.permute(0, 2, 3, 1)):
        found = pooled(image, 2, None)
        assert found is not None
        torch.testing.assert_close(found, space.mean(dim=(2, 3)))
    assert pooled(tokens, 5, mask) is None
    assert pooled(torch.rand(2), 2, None) is None
    assert pooled(tokens[:, :1], 2, mask) is None


def inputs_for(pretrained: Pretrained, folder: Path) -> list[Any]:
    if pretrained.spec["modality"] == "text":
        return ["good", "bad", "the bank was fine", "poor poor poor poor poor movie is bad", "great card"]
    made = []
    for number in range(5):
        pixels = np.random.default_rng(number).integers(0, 255, (40, 40, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        made.append(ImageRef(path=folder / f"{number}.png"))
    return made


@pytest.mark.parametrize("family", families())
def test_features_of_a_row_do_not_depend_on_its_company(family: str, tmp_path: Path) -> None:
    """Padding is not counted, and rows are not taken for tokens, whatever the architecture calls first."""
    pretrained = tiny_pretrained(family)
    working, inputs = exact(pretrained), inputs_for(pretrained, tmp_path)
    together = group_features(pretrained, working, inputs, 5)
    alone = group_features(pretrained, working, inputs, 1)
    own = [group.name for group in working.stack.groups]
    assert set(together) <= set(own)
    assert len(together) >= len(own) - 1, "a group of positions alone may have no output of its own"
    assert own[-1] in together
    for name, features in together.items():
        assert features.shape[0] == 5
        assert (features - alone[name]).abs().max() < 1e-4 * features.abs().max(), f"{family}: {name}"
        assert len(torch.unique(features, dim=0)) == 5, f"{family}: {name} does not tell inputs apart"
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in working.module.modules())


def test_features_of_blocks_are_what_the_library_calls_hidden_states(tmp_path: Path) -> None:
    pretrained = tiny_pretrained("bert")
    working, inputs = exact(pretrained), inputs_for(pretrained, tmp_path)
    found = group_features(pretrained, working, inputs, 5)
    batch = pretrained.preprocess.collate([pretrained.preprocess.encode(item) for item in inputs])
    with torch.no_grad():
        states = pretrained.module.backbone(**batch, output_hidden_states=True).hidden_states
    weights = batch["attention_mask"].float().unsqueeze(-1)
    blocks = [name for name in found if name.startswith("block")]
    for name, state in zip(["embeddings", *blocks], states, strict=True):
        torch.testing.assert_close(found[name], (state * weights).sum(dim=1) / weights.sum(dim=1), rtol=1e-4, atol=1e-5)


def test_additions_are_watched_with_their_base() -> None:
    stack = small_stack()
    assert list(group_modules(stack)) == ["stem", "block 0", "head"]
    assert [name for name, _ in group_modules(stack)["block 0"]] == ["1", "2"]


def test_rows_are_drawn_by_seed() -> None:
    assert sampled(10, 20, 0) == list(range(10))
    assert sampled(1000, 50, 0) == sorted(set(sampled(1000, 50, 0)))
    assert sampled(1000, 50, 0) != sampled(1000, 50, 1)


@pytest.fixture(scope="module")
def told(home: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """Evidence of movement of two runs in which the lower groups were frozen."""
    folder, options = tmp_path_factory.mktemp("moved"), {"method": "last:2", "epochs": 3, **ASKED}
    with only("movement"):
        text, image = fit_text(home, folder / "text", **options), fit_images(home, folder / "image", **options)
    return {"text": text.evidence["movement"], "image": image.evidence["movement"]}


@pytest.mark.parametrize("kind", ["text", "image"])
def test_what_was_frozen_comes_out_as_exactly_unchanged(told: dict[str, dict[str, Any]], kind: str) -> None:
    found = told[kind]
    assert found["split"] == "validation"
    frozen = [group for group in found["groups"] if not group["learned"]]
    learned = [group for group in found["groups"] if group["learned"]]
    assert len(frozen) >= 3
    assert len(learned) == 2
    for group in frozen:
        assert group["unchanged"]
        assert group["relative_change"] == 0
        assert group["cka"] == group["cka_low"] == group["cka_high"] == 1.0
        assert group["cka_rows"] == found["rows"]
    for group in learned:
        assert not group["unchanged"]
        assert group["relative_change"] > 0


def test_a_moved_group_has_other_features(told: dict[str, dict[str, Any]]) -> None:
    block = by_name(told["text"]["groups"])["block 2"]
    assert block["cka_low"] < block["cka"] < 1
    assert block["cka_rows"] == told["text"]["rows"] == 18


def test_the_head_is_told_against_its_start(told: dict[str, dict[str, Any]]) -> None:
    head: Tensor | Any = told["text"]["groups"][-1]
    assert head["kind"] == "head"
    assert head["relative_change"] > 0.1
