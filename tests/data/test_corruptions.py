"""What every corruption promises, and what each does to planted inputs."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unfreeze.data.corruptions import CORRUPTIONS, corruptions_of
from unfreeze.data.corruptions._corruption import SEVERITIES, draw_for
from unfreeze.data.corruptions._pixels import convolved, motion_kernel
from unfreeze.data.corruptions.defocus_blur import disc
from unfreeze.data.corruptions.frost import texture
from unfreeze.data.corruptions.keyboard_typos import NEIGHBOURS
from unfreeze.registry import Card

IMAGES, TEXTS = corruptions_of("image"), corruptions_of("text")
ALL = pytest.mark.parametrize("name", CORRUPTIONS.names())
OF_IMAGES = pytest.mark.parametrize("name", list(IMAGES))
OF_TEXTS = pytest.mark.parametrize("name", list(TEXTS))

TEXT = "The film, which I saw yesterday, was not good; quite the opposite: it was 'great', they say! " * 4


def picture(row: int, side: int = 64, channels: int = 3) -> NDArray[np.float32]:
    """Something like a photograph: shades, edges and a little texture."""
    draw = np.random.default_rng(row)
    rows, columns = np.meshgrid(*(np.linspace(0, 1, side),) * 2, indexing="ij")
    waves = [0.5 + 0.4 * np.sin(8 * (a * rows + b * columns) + c) for a, b, c in draw.uniform(-1, 1, (channels, 3))]
    pixels = np.stack(waves, axis=-1)
    top, left = draw.integers(0, side // 2, 2)
    pixels[top : top + side // 3, left : left + side // 3] = draw.uniform(0, 1, channels)
    return np.clip(pixels + 0.02 * draw.standard_normal(pixels.shape), 0, 1).astype(np.float32)


def test_there_are_all_fifteen_for_images() -> None:
    source = "gaussian-noise shot-noise impulse-noise defocus-blur glass-blur motion-blur zoom-blur snow frost fog"
    assert {*source.split(), "brightness", "contrast", "elastic", "pixelate", "jpeg"} == set(IMAGES)
    assert len(TEXTS) >= 6


@ALL
def test_a_card_says_something_in_every_field(name: str) -> None:
    assert all(len(getattr(CORRUPTIONS.get(name).card, item.name)) > 10 for item in fields(Card))


@OF_IMAGES
@pytest.mark.parametrize("side", [32, 224])
def test_distance_grows_with_severity(name: str, side: int) -> None:
    pictures, apply = [picture(row, side) for row in range(4)], IMAGES[name].apply

    def distance(row: int, severity: int) -> float:
        return float(np.sqrt(np.mean((apply(pictures[row], severity, draw_for(0, name, row)) - pictures[row]) ** 2)))

    distances = [np.mean([distance(row, severity) for row in range(4)]) for severity in SEVERITIES]
    # Halving a picture loses less than taking six tenths of it, where its edges happen to fall between pixels.
    # And more frost first whitens the picture, then darkens what is left of it, as the source's shares do.
    slack = 0.9 if name in ("pixelate", "frost") else 1.0
    assert all(weaker * slack < stronger for weaker, stronger in pairwise(distances))
    assert distances[-1] > 1.15 * distances[0]
    assert distances[2] > 0.01


@OF_IMAGES
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_stays_an_image(name: str, channels: int) -> None:
    whole = picture(3, 40, channels)
    before = whole.copy()
    for severity in SEVERITIES:
        found = IMAGES[name].apply(whole, severity, draw_for(0, name, 3))
        assert found.shape == whole.shape
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert found.max() <= 1
    assert np.array_equal(whole, before)
    for flat in (0.0, 1.0):
        assert np.isfinite(
            IMAGES[name].apply(np.full((24, 24, channels), flat, np.float32), 5, draw_for(0, name, 0))
        ).all()


@ALL
def test_what_is_drawn_follows_from_seed_name_and_row(name: str) -> None:
    entry = CORRUPTIONS.get(name)
    item = picture(1, 32) if entry.modality == "image" else TEXT

    def same(one: object, other: object) -> bool:
        return np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other

    once, again = (entry.apply(item, 3, draw_for(7, name, 5)) for _ in range(2))
    assert same(once, again)
    others = [entry.apply(item, 3, draw_for(seed, name, row)) for seed, row in ((8, 5), (7, 6))]
    random = name not in ("brightness", "contrast", "pixelate", "jpeg", "defocus-blur", "zoom-blur")
    assert all(same(once, other) != random for other in others)


@OF_TEXTS
def test_a_stronger_one_changes_what_a_weaker_one_changed_and_more(name: str) -> None:
    words = TEXT.split()
    lengths, before = [], set()
    for severity in SEVERITIES:
        found = TEXTS[name].apply(TEXT, severity, draw_for(0, name, 2))
        if name in ("missing-words", "missing-punctuation"):
            lengths.append(len(TEXT) - len(found))
            assert _is_subsequence(found, TEXT)
            continue
        changed = {place for place, (a, b) in enumerate(zip(words, found.split(), strict=True)) if a != b}
        assert before <= changed
        before = changed
        lengths.append(len(changed))
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]


def _is_subsequence(short: str, long: str) -> bool:
    rest = iter(long)
    return all(letter in rest for letter in short)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=40), severity=st.sampled_from(SEVERITIES), row=st.integers(0, 1000))
def test_any_text_stays_a_text(text: str, severity: int, row: int) -> None:
    for name, entry in TEXTS.items():
        found = entry.apply(text, severity, draw_for(0, name, row))
        assert isinstance(found, str)
        assert entry.apply((text, "x"), severity, draw_for(0, name, row))[1] in ("x", "X") or name == "keyboard-typos"
        if name in ("swapped-letters", "missing-words"):
            assert set(found) <= set(text)
        if name == "missing-words" and text.split():
            assert found.split()


def test_typos_are_neighbours_on_the_keyboard() -> None:
    assert set(NEIGHBOURS["g"]) == set("ftyhvb")
    assert set(NEIGHBOURS["q"]) == set("wa")
    found = TEXTS["keyboard-typos"].apply("Good Good Good Good", 5, draw_for(0, "keyboard-typos", 1))
    for word in found.split():
        differing = [(a, b) for a, b in zip("Good", word, strict=True) if a != b]
        assert len(differing) <= 1
        assert all(b.lower() in NEIGHBOURS[a.lower()] and b.isupper() == a.isupper() for a, b in differing)


def test_other_scripts_have_no_latin_typos() -> None:
    assert TEXTS["keyboard-typos"].apply("电影 хорошо", 5, draw_for(0, "x", 1)) == "电影 хорошо"


def test_kernels_keep_the_light() -> None:
    pixels = picture(2, 48)
    for kernel in (disc(3.3), motion_kernel(5, 3, 20)):
        blurred = convolved(pixels, kernel)
        assert blurred.mean() == pytest.approx(pixels.mean(), rel=0.05)
        assert convolved(np.ones((16, 16, 3)), kernel) == pytest.approx(1.0)
    assert disc(0.2).sum() == 1
    # The line points where it should: to the right for no angle, the weights falling.
    level = motion_kernel(4, 3, 0)
    middle = len(level) // 2
    assert level[middle].sum() == pytest.approx(level.sum())
    assert level[middle, middle] > level[middle, middle + 4] > level[middle, middle - 1] == 0


def test_noise_has_the_strength_that_the_source_says() -> None:
    grey = np.full((64, 64, 3), 0.5, np.float32)
    assert IMAGES["gaussian-noise"].apply(grey, 1, draw_for(0, "a", 0)).std() == pytest.approx(0.08, rel=0.05)
    lost = IMAGES["impulse-noise"].apply(grey, 5, draw_for(0, "a", 0)) != grey
    assert lost.mean() == pytest.approx(0.27, abs=0.02)
    shot = IMAGES["shot-noise"].apply(grey, 1, draw_for(0, "a", 0))
    assert shot.std() == pytest.approx((0.5 / 60) ** 0.5, rel=0.05)


def test_frost_is_thicker_at_the_border_and_hides_more_of_the_picture() -> None:
    ice = np.mean([texture(draw_for(0, "frost", row)) for row in range(8)], axis=0)
    assert ice.min() >= 0
    assert ice.max() <= 1
    border = np.ones_like(ice, dtype=bool)
    border[24:-24, 24:-24] = False
    assert ice[border].mean() > ice[~border].mean() + 0.1
    whole = picture(1, 64)
    kept = [
        np.corrcoef(IMAGES["frost"].apply(whole, severity, draw_for(0, "frost", 1)).ravel(), whole.ravel())[0, 1]
        for severity in SEVERITIES
    ]
    assert all(weaker > stronger for weaker, stronger in pairwise(kept))
