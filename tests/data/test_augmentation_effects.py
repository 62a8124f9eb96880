"""What each augmentation does to texts, images and targets."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from unfreeze.data.augmentations._mixing import LEAST_ALPHA
from unfreeze.data.augmentations._pipeline import Pipeline, build
from unfreeze.data.augmentations._words import join, split
from unfreeze.data.manifest import Examples, ImageRef
from unfreeze.errors import RecipeError
from unfreeze.models.pixels import ImagePreprocessor
from unfreeze.train.feed import Feed

seeds = st.integers(0, 2**32 - 1)
FACTS = {"mask_id": 4, "special_ids": [0, 1, 2], "vocabulary": 100}


def tokens(ids: list[int]) -> dict[str, torch.Tensor]:
    sequence = torch.tensor([1, *ids, 2])
    return {"input_ids": sequence, "attention_mask": torch.ones_like(sequence), "once": torch.tensor(7)}


@settings(max_examples=40, deadline=None)
@given(seed=seeds, name=st.sampled_from(["mixup:0.2", "mixup:5", "cutmix", "cutmix:0.1"]), rows=st.integers(1, 7))
def test_mixed_targets_still_sum_to_1(seed: int, name: str, rows: int) -> None:
    targets = torch.nn.functional.one_hot(torch.arange(rows) % 3, 3).float()
    batch, soft = build([name], "image").batch(
        {"pixel_values": torch.randn(rows, 3, 6, 5), "size": torch.ones(rows)}, targets, np.random.default_rng(seed)
    )
    torch.testing.assert_close(soft.sum(-1), torch.ones(rows))
    assert (soft >= 0).all()
    assert batch["pixel_values"].shape == (rows, 3, 6, 5)
    assert torch.equal(batch["size"], torch.ones(rows))


@settings(max_examples=40, deadline=None)
@given(seed=seeds, name=st.sampled_from(["mixup:1", "cutmix:1"]))
def test_pixels_and_targets_are_mixed_by_the_same_shares(seed: int, name: str) -> None:
    # Image i is full of the number i's one-hot target, so its mean must follow the target exactly.
    targets = torch.eye(4)
    pixels = targets[:, :, None, None].expand(4, 4, 8, 6).contiguous()
    batch, soft = build([name], "image").batch({"x": pixels}, targets, np.random.default_rng(seed))
    torch.testing.assert_close(batch["x"].mean((-1, -2)), soft)


@pytest.mark.parametrize("name", ["mixup:1", "cutmix:1"])
def test_mixing_numbers_of_regression(name: str) -> None:
    batch, soft = build([name], "image").batch(
        {"x": torch.arange(5.0)[:, None, None, None].expand(5, 1, 8, 8)}, torch.arange(5.0), np.random.default_rng(0)
    )
    torch.testing.assert_close(batch["x"].mean((-1, -2, -3)), soft)
    assert not torch.equal(soft, torch.arange(5.0))


def test_the_smallest_alpha_keeps_one_of_both() -> None:
    change, rng = build([f"mixup:{LEAST_ALPHA}"], "image"), np.random.default_rng(0)
    batch = {"x": torch.randn(2, 1, 4, 4)}
    kept = torch.stack([change.batch(batch, torch.eye(2), rng)[1][0, 0] for _ in range(200)])
    assert ((kept < 0.01) | (kept > 0.99)).float().mean() > 0.85
    assert 0.3 < kept.mean() < 0.7


@pytest.mark.parametrize("rows", [2, 3, 8])
def test_each_row_is_mixed_with_another(rows: int) -> None:
    for seed in range(20):
        batch = {"x": torch.eye(rows)[:, :, None, None]}
        mixed, soft = build(["mixup:5"], "image").batch(batch, torch.eye(rows), np.random.default_rng(seed))
        assert ((soft > 0).sum(1) == 2).all()
        torch.testing.assert_close(mixed["x"][:, :, 0, 0], soft)


def test_of_several_ways_to_mix_one_is_drawn_for_each_batch() -> None:
    both, rng = build(["mixup:1", "cutmix:1"], "image"), np.random.default_rng(0)
    cut = 0
    for _ in range(40):
        pixels = torch.eye(4)[:, :, None, None].expand(4, 4, 8, 8).contiguous()
        mixed = both.batch({"x": pixels}, torch.eye(4), rng)[0]["x"]
        cut += bool(((mixed == 0) | (mixed == 1)).all())
    assert 5 < cut < 35


@settings(max_examples=60, deadline=None)
@given(text=st.text(), seed=seeds, share=st.sampled_from(["0", "0.3", "1"]))
def test_words_are_only_moved_or_left_out(text: str, seed: int, share: str) -> None:
    swapped = build([f"word-swap:{share}"], "text").input(text, np.random.default_rng(seed))
    assert sorted(swapped.split()) == sorted(text.split())
    shorter = build([f"word-deletion:{share}"], "text").input(text, np.random.default_rng(seed))
    remaining = iter(text.split())
    assert all(word in remaining for word in shorter.split())
    assert bool(text.split()) == bool(shorter.split())
    assert join(*split(text)) == text
    if share == "0":
        assert swapped == shorter == text


def test_both_texts_of_a_pair_change_on_their_own() -> None:
    text = " ".join(map(str, range(30)))
    first, second = build(["word-swap:0.5"], "text").input((text, text), np.random.default_rng(0))
    assert text not in (first, second)
    assert first != second


@settings(max_examples=60, deadline=None)
@given(ids=st.lists(st.integers(0, 99), max_size=20), seed=seeds, share=st.sampled_from(["0", "0.5", "1"]))
def test_special_tokens_stay_and_lengths_agree(ids: list[int], seed: int, share: str) -> None:
    sample = tokens(ids)
    special = [token for token in sample["input_ids"].tolist() if token < 3]
    shorter = build([f"token-dropout:{share}"], "text").sample(sample, np.random.default_rng(seed), FACTS)
    left = shorter["input_ids"].tolist()
    assert [token for token in left if token < 3] == special
    assert shorter["attention_mask"].shape == shorter["input_ids"].shape
    assert shorter["once"] == 7
    assert any(token >= 3 for token in left) == any(token >= 3 for token in ids)
    masked = build([f"masking:{share}"], "text").sample(sample, np.random.default_rng(seed), FACTS)
    for before, after in zip(sample["input_ids"].tolist(), masked["input_ids"].tolist(), strict=True):
        assert after in ({before} if before < 3 or share == "0" else {before, 4} if share == "0.5" else {4})
    if share == "0":
        assert torch.equal(shorter["input_ids"], sample["input_ids"])


def test_rates_are_about_what_was_asked_for() -> None:
    sample, rng = tokens([50] * 4000), np.random.default_rng(0)
    kept = len(build(["token-dropout"], "text").sample(sample, rng, FACTS)["input_ids"]) / 4002
    masked = (build(["masking"], "text").sample(sample, rng, FACTS)["input_ids"] == 4).float().mean()
    words = len(build(["word-deletion"], "text").input("w " * 4000, rng).split()) / 4000
    assert kept == pytest.approx(0.9, abs=0.02)
    assert float(masked) == pytest.approx(0.15, abs=0.02)
    assert words == pytest.approx(0.9, abs=0.02)


def test_masking_needs_a_mask_token() -> None:
    with pytest.raises(RecipeError, match="mask token"):
        build(["masking"], "text").sample(tokens([5, 6]), np.random.default_rng(0), {**FACTS, "mask_id": None})


@settings(max_examples=40, deadline=None)
@given(seed=seeds, width=st.integers(1, 90), height=st.integers(1, 90), least=st.sampled_from(["0.05", "0.5", "1"]))
def test_crops_keep_the_shape_and_enough_of_the_area(seed: int, width: int, height: int, least: str) -> None:
    cut = build([f"crop:{least}"], "image").input(Image.new("RGB", (width, height)), np.random.default_rng(seed))
    assert 1 <= cut.width <= width
    assert 1 <= cut.height <= height
    if min(width, height) >= 40 and least != "0.05":
        assert cut.width / cut.height == pytest.approx(width / height, rel=0.08)
        assert cut.width * cut.height >= 0.65 * float(least) * width * height


@pytest.mark.parametrize("size", [(900, 90), (90, 900), (300, 300)])
@pytest.mark.parametrize("least", [0.3, 0.5, 0.7])
def test_the_share_is_kept_of_images_of_any_shape(size: tuple[int, int], least: float) -> None:
    crop, rng = build([f"crop:{least}"], "image"), np.random.default_rng(0)
    cuts = [crop.input(Image.new("L", size), rng) for _ in range(60)]
    shares = [cut.width * cut.height / (size[0] * size[1]) for cut in cuts]
    assert min(shares) >= least - 0.02
    assert max(shares) > (1 + least) / 2
    assert max(abs(cut.width / cut.height * size[1] / size[0] - 1) for cut in cuts) < 0.02


def test_crops_go_everywhere() -> None:
    values = np.zeros((60, 60), dtype=np.uint8)
    values[:6, :6] = 255
    crop, rng = build(["crop:0.3"], "image"), np.random.default_rng(0)
    seen = [np.asarray(crop.input(Image.fromarray(values), rng)).max() > 0 for _ in range(60)]
    assert 5 < sum(seen) < 55


def test_erasing_blanks_one_rectangle_of_the_right_size() -> None:
    erase, rng = build(["erasing:1"], "image"), np.random.default_rng(0)
    for _ in range(30):
        blank = erase.sample({"pixel_values": torch.ones(3, 40, 40)}, rng, {})["pixel_values"] == 0
        assert torch.equal(blank[0], blank[2])
        rows, columns = blank[0].any(1).sum(), blank[0].any(0).sum()
        assert int(blank[0].sum()) == int(rows * columns)
        assert 0.01 < float(blank.float().mean()) < 0.36


def test_bytes_are_erased_to_the_mean_colour() -> None:
    pixels = torch.zeros(3, 30, 30, dtype=torch.uint8)
    facts = {"mean": (0.2, 0.4, 1.0)}
    erased = build(["erasing:1"], "image").sample({"x": pixels}, np.random.default_rng(0), facts)["x"]
    assert erased.flatten(1).unique(dim=1).tolist() == [[0, 51], [0, 102], [0, 255]]


def test_erasing_meets_the_share_of_images_that_is_asked_for() -> None:
    erase, rng = build(["erasing"], "image"), np.random.default_rng(0)
    met = [bool((erase.sample({"x": torch.ones(1, 20, 20)}, rng, {})["x"] == 0).any()) for _ in range(400)]
    assert np.mean(met) == pytest.approx(0.25, abs=0.06)


def test_flips_mirror_the_share_of_images_that_is_asked_for() -> None:
    image, rng = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)), np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        flip = build([f"flip:{share}"], "image")
        mirrored = [flip.input(image, rng).tobytes() == ImageOps.mirror(image).tobytes() for _ in range(200)]
        assert np.mean(mirrored) == pytest.approx(share, abs=0.1 if share == 0.3 else 0)


def plain_picture(mode: str, colour: int | tuple[int, ...]) -> Image.Image:
    return Image.new(mode, (24, 16), colour)


@pytest.mark.parametrize(("mode", "colour"), [("L", 93), ("RGB", (10, 200, 90))])
def test_what_turning_leaves_empty_takes_the_mean_colour(mode: str, colour: Any) -> None:
    image, rng = plain_picture(mode, colour), np.random.default_rng(0)
    for _ in range(20):
        assert build(["rotate:180"], "image").input(image, rng).tobytes() == image.tobytes()


def test_angles_go_both_ways_up_to_the_limit() -> None:
    """A horizontal line's slope tells the angle."""
    values = np.zeros((81, 81), dtype=np.uint8)
    values[40] = 255
    turn, rng = build(["rotate:30"], "image"), np.random.default_rng(0)
    slopes = []
    for _ in range(80):
        y, x = np.nonzero(np.asarray(turn.input(Image.fromarray(values), rng)) > 100)
        slopes.append(np.degrees(np.arctan(np.polyfit(x, y, 1)[0])))
    assert -31 < min(slopes) < -24
    assert 24 < max(slopes) < 31


def test_colours_change_within_the_strength() -> None:
    """A picture of one grey changes by the factor of brightness alone."""
    jitter, rng = build(["color-jitter:0.3"], "image"), np.random.default_rng(0)
    greys = [jitter.input(plain_picture("RGB", (100,) * 3), rng).getpixel((3, 3))[0] for _ in range(200)]
    assert 69 <= min(greys) < 75
    assert 125 < max(greys) <= 131
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), dtype=np.uint8))
    assert build(["color-jitter:0"], "image").input(image, rng).tobytes() == image.tobytes()


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize(("strength", "factor", "bits", "threshold"), [("9", 0.81, 4, 25), ("5", 0.45, 6, 127)])
def test_randaugment_has_the_strength_that_is_asked_for(
    mode: str, strength: str, factor: float, bits: int, threshold: int
) -> None:
    """A picture of one grey shows brightness, posterize and solarize; turns and shifts leave it as it is."""
    grey = 101
    image = plain_picture(mode, grey if mode == "L" else (grey,) * 3)
    change, rng = build([f"randaugment:{strength}"], "image"), np.random.default_rng(0)
    results = [np.asarray(change.input(image, rng)) for _ in range(400)]
    assert all(result.min() == result.max() for result in results)
    seen = {int(result.max()) for result in results}
    brighter, darker, rounded = int(grey * (1 + factor)), int(grey * (1 - factor)), grey & (256 - 2 ** (8 - bits))
    assert seen >= {grey, brighter, darker, rounded}
    assert (255 - grey in seen) == (grey > threshold)


def test_randaugment_grows_with_its_strength() -> None:
    rows = np.linspace(40, 200, 32)[:, None] * np.ones((32, 32))
    values = np.stack([rows, rows.T, np.roll(rows.T, 9, 1)], -1).astype(np.uint8)

    def distance(strength: float) -> float:
        change, rng = build([f"randaugment:{strength}"], "image"), np.random.default_rng(0)
        changed = [np.asarray(change.input(Image.fromarray(values), rng)).astype(float) for _ in range(150)]
        return float(np.abs(np.stack(changed) - values).mean())

    distances = [distance(strength) for strength in (0, 3, 6.5, 10)]
    assert distances == sorted(distances)
    assert distances[-1] > 2 * distances[0]


def picture_feed(names: tuple[str, ...], seed: int = 0) -> Feed:
    files = []
    for number in range(3):
        values = np.random.default_rng(number).integers(0, 256, (20, 30 + number, 3), dtype=np.uint8)
        Image.fromarray(values).save(stream := io.BytesIO(), "png")
        files.append(ImageRef(data=stream.getvalue()))
    reader = ImagePreprocessor(16, 3, (0.5,) * 3, (0.25,) * 3)
    return Feed(
        Examples(files, ["a", "b", "a"], ["1", "2", "3"]), torch.arange(3), reader, 10**6, build(names, "image"), seed
    )


def test_pictures_depend_on_seed_epoch_and_row_alone() -> None:
    """Not on the order of reading, nor on what else draws: else a resumed run would differ."""
    names = ("crop:0.4", "flip", "rotate", "color-jitter", "randaugment", "erasing:0.5")
    one, two = picture_feed(names), picture_feed(names)
    read = {(row, epoch): one.augmented(row, epoch)["pixel_values"] for epoch in range(4) for row in range(3)}
    for (row, epoch), pixels in reversed(read.items()):
        torch.rand(epoch + 1)
        assert torch.equal(two.augmented(row, epoch)["pixel_values"], pixels)
    assert len({str(pixels.tolist()) for pixels in read.values()}) == len(read)
    others = picture_feed(names, seed=1)
    assert not any(torch.equal(others.augmented(*place)["pixel_values"], pixels) for place, pixels in read.items())


def test_the_order_is_the_augmentations_own() -> None:
    one, other = build(["flip:1", "crop:0.2"], "image"), build(["crop:0.2", "flip:1"], "image")
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 20), dtype=np.uint8))
    results = [pipeline.input(image, np.random.default_rng(1)).tobytes() for pipeline in (one, other)]
    assert results[0] == results[1]


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(RecipeError) as caught:
        build(["flp", "word-swap", "crop:9", "flip", "flip"], "image")
    text = str(caught.value)
    assert "Did you mean 'flip'?" in text
    assert "'word-swap' is for text data" in text
    assert "'crop' takes a number from 0.01 to 1" in text
    assert "'flip' is given twice" in text
    assert len(caught.value.problems) == 4


def test_nothing_named_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    state = rng.bit_generator.state
    pipeline, targets = build([], "text"), torch.eye(2)
    assert pipeline == Pipeline()
    assert pipeline.input("as it is", rng) == "as it is"
    assert pipeline.batch({}, targets, rng)[1] is targets
    assert rng.bit_generator.state == state
    assert (pipeline.changes_rows, pipeline.mixes) == (False, False)
    assert (build(["flip"], "image").changes_rows, build(["mixup"], "image").mixes) == (True, True)
