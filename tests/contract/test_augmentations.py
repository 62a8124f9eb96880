"""What every augmentation promises, whichever file it stands in."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unfreeze.data.augmentations import AUGMENTATIONS
from unfreeze.data.augmentations._pipeline import build
from unfreeze.errors import RecipeError

NAMES = AUGMENTATIONS.names()
FACTS = {"mask_id": 103, "special_ids": [101, 102, 0], "vocabulary": 1000}


def picture(mode: str = "RGB", size: tuple[int, int] = (23, 17)) -> Image.Image:
    values = np.random.default_rng(5).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def subject(name: str) -> Any:
    """Something that the augmentation can change, made anew each time."""
    entry = AUGMENTATIONS.get(name)
    generator = torch.Generator().manual_seed(0)
    if entry.level == "input":
        return picture() if entry.modality == "image" else "the quick brown fox jumps over\nthe lazy  dog again"
    if entry.level == "batch":
        pixels = torch.randn(6, 3, 8, 8, generator=generator)
        return {"pixel_values": pixels}, torch.eye(6)
    if entry.modality == "image":
        return {"pixel_values": torch.randn(3, 8, 8, generator=generator)}
    ids = torch.cat([torch.tensor([101]), torch.randint(200, 1000, (40,), generator=generator), torch.tensor([102])])
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "token_type_ids": torch.zeros_like(ids)}


def applied(name: str, seed: int) -> Any:
    entry = AUGMENTATIONS.get(name)
    pipeline, rng = build([name], entry.modality), np.random.default_rng(seed)
    if entry.level == "input":
        return pipeline.input(subject(name), rng)
    if entry.level == "sample":
        return pipeline.sample(subject(name), rng, FACTS)
    return pipeline.batch(*subject(name), rng)


def plain(value: Any) -> Any:
    """Something that can be compared with ==."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, Image.Image):
        return (value.mode, value.size, value.tobytes())
    if isinstance(value, dict):
        return {name: plain(entry) for name, entry in value.items()}
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def test_the_promised_ones_are_there() -> None:
    images = {"color-jitter", "crop", "cutmix", "erasing", "flip", "mixup", "randaugment", "rotate"}
    texts = {"masking", "token-dropout", "word-deletion", "word-swap"}
    assert images | texts <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_card(name: str) -> None:
    card = AUGMENTATIONS.get(name).card
    assert all((card.what, card.when, card.cost, card.evidence, card.source))


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_the_seed_and_does_change_something(name: str) -> None:
    results = [plain(applied(name, seed)) for seed in range(20)]
    assert results == [plain(applied(name, seed)) for seed in range(20)]
    assert any(result != plain(subject(name)) for result in results)
    assert len({repr(result) for result in results}) > 1


@pytest.mark.parametrize("name", NAMES)
def test_global_generators_are_neither_read_nor_moved(name: str) -> None:
    outcomes = []
    for state in (1, 2):
        random.seed(state)
        np.random.seed(state)
        torch.manual_seed(state)
        before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
        outcomes.append(plain(applied(name, 3)))
        after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]
        assert before == after
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_is_not_changed_in_place(name: str) -> None:
    entry = AUGMENTATIONS.get(name)
    pipeline = build([name], entry.modality)
    given = subject(name)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        if entry.level == "input":
            pipeline.input(given, rng)
        elif entry.level == "sample":
            pipeline.sample(given, rng, FACTS)
        else:
            pipeline.batch(*given, rng)
    assert plain(given) == plain(subject(name))


@pytest.mark.parametrize("argument", ["x", "-1", "1e9", "nan", ""])
@pytest.mark.parametrize("name", NAMES)
def test_a_bad_argument_is_refused_by_name(name: str, argument: str) -> None:
    with pytest.raises(RecipeError, match=rf"training\.augment: '{name}'"):
        build([f"{name}:{argument}"], AUGMENTATIONS.get(name).modality)


@pytest.mark.parametrize("name", NAMES)
def test_the_other_modality_is_refused(name: str) -> None:
    modality = AUGMENTATIONS.get(name).modality
    with pytest.raises(RecipeError, match=f"'{name}' is for {modality} data"):
        build([name], "text" if modality == "image" else "image")


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (31, 20)])
@pytest.mark.parametrize("name", [n for n, e in AUGMENTATIONS.items() if e.modality == "image" and e.level == "input"])
def test_images_keep_mode_and_content_of_any_size(name: str, mode: str, size: tuple[int, int]) -> None:
    pipeline = build([name], "image")
    for seed in range(15):
        changed = pipeline.input(picture(mode, size), np.random.default_rng(seed))
        assert changed.mode == mode
        assert min(changed.size) >= 1


@pytest.mark.parametrize("text", ["", " ", "word", "two words", "ünïcödé 日本語\n\ttabs", ("a b c", "")])
@pytest.mark.parametrize("name", [n for n, e in AUGMENTATIONS.items() if e.modality == "text" and e.level == "input"])
def test_texts_of_any_shape_survive(name: str, text: Any) -> None:
    pipeline = build([f"{name}:1"], "text")
    changed = pipeline.input(text, np.random.default_rng(0))
    assert type(changed) is type(text)
    both = [(text, changed)] if isinstance(text, str) else list(zip(text, changed, strict=True))
    for before, after in both:
        assert bool(before.strip()) == bool(after.strip())
        assert set(after.split()) <= set(before.split())
