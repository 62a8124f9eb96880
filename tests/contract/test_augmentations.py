"""What every augmentation promises, whichever file it stands in."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from unfreeze import _torchvision  # noqa: F401  (before torchvision)
from unfreeze.data.augmentations import AUGMENTATIONS
from unfreeze.data.augmentations._pipeline import build
from unfreeze.data.augmentations._seeded import seeded
from unfreeze.data.images import normalised
from unfreeze.errors import RecipeError

v2 = import_module("torchvision.transforms.v2")
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


def applied(name: str, seed: int | np.random.Generator) -> Any:
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


def follow_the_seed(apply: Callable[[int], Any], untouched: Any) -> None:
    """The same generator gives the same; others give other results, which differ from what was given."""
    results = [plain(apply(seed)) for seed in range(20)]
    assert results == [plain(apply(seed)) for seed in range(20)]
    assert any(result != plain(untouched) for result in results)
    assert len({repr(result) for result in results}) > 1


def globals_now() -> tuple[Any, ...]:
    return random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]


def leave_globals_alone(apply: Callable[[int], Any]) -> None:
    """The process's own generators are neither read nor moved."""
    for seed in range(5):
        outcomes = []
        for state in (1, 2):
            random.seed(state)
            np.random.seed(state)
            torch.manual_seed(state)
            before = globals_now()
            outcomes.append(plain(apply(seed)))
            assert globals_now() == before
        assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("name", NAMES)
def test_it_follows_the_seed_and_does_change_something(name: str) -> None:
    follow_the_seed(lambda seed: applied(name, seed), subject(name))


@pytest.mark.parametrize("name", NAMES)
def test_global_generators_are_neither_read_nor_moved(name: str) -> None:
    leave_globals_alone(lambda seed: applied(name, seed))


@pytest.mark.parametrize("name", NAMES)
def test_generators_of_other_devices_are_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a GPU, dropout draws from them."""

    def touched(*_: Any) -> None:
        raise AssertionError("a device's generator was seeded")

    for module in (torch.cuda, torch.xpu):
        monkeypatch.setattr(module, "manual_seed_all", touched)
    applied(name, 0)


@pytest.mark.parametrize("name", NAMES)
def test_a_generator_put_back_goes_on_as_it_did(name: str) -> None:
    """What an epoch's later changes are does not depend on anything but the generator's state."""
    rng = np.random.default_rng(7)
    first = [plain(applied(name, rng)) for _ in range(3)]
    state = rng.bit_generator.state
    rest = [plain(applied(name, rng)) for _ in range(12)]
    assert len({repr(result) for result in first + rest}) > 1
    rng.bit_generator.state = state
    applied(name, 99)
    assert rest == [plain(applied(name, rng)) for _ in range(12)]


def drawn_by_the_library(image: Image.Image, rng: np.random.Generator) -> Any:
    return v2.RandomRotation(90)(image)


def seeded_for_good(image: Image.Image, rng: np.random.Generator) -> Any:
    torch.manual_seed(int(rng.integers(2**63)))
    return v2.RandomRotation(90)(image)


def half_seeded(image: Image.Image, rng: np.random.Generator) -> Any:
    with seeded(rng) as transforms:
        return transforms.RandomRotation(90)(image).rotate(random.choice((0, 180)))


def always_the_same(image: Image.Image, rng: np.random.Generator) -> Any:
    with seeded(np.random.default_rng(0)) as transforms:
        return transforms.RandomRotation(90)(image)


def nothing_at_all(image: Image.Image, rng: np.random.Generator) -> Any:
    with seeded(rng):
        return image


def sound(image: Image.Image, rng: np.random.Generator) -> Any:
    with seeded(rng) as transforms:
        return transforms.RandomRotation(90)(image)


@pytest.mark.parametrize(
    ("change", "seed_holds", "globals_hold"),
    [
        (drawn_by_the_library, False, False),
        (seeded_for_good, True, False),
        (half_seeded, False, False),
        (always_the_same, False, True),
        (nothing_at_all, False, True),
        (sound, True, True),
    ],
)
def test_a_broken_augmentation_is_caught(change: Callable[..., Any], seed_holds: bool, globals_hold: bool) -> None:
    """The checks above fail on those that read, move or ignore a generator."""

    def apply(seed: int) -> Any:
        return change(picture(), np.random.default_rng(seed))

    with nullcontext() if seed_holds else pytest.raises(AssertionError):
        follow_the_seed(apply, picture())
    with nullcontext() if globals_hold else pytest.raises(AssertionError):
        leave_globals_alone(apply)


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


def names_of(modality: str, level: str) -> list[str]:
    return [name for name, entry in AUGMENTATIONS.items() if (entry.modality, entry.level) == (modality, level)]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (2000, 3), (3, 2000), (31, 20)])
@pytest.mark.parametrize("name", names_of("image", "input"))
def test_images_keep_mode_and_content_of_any_size(name: str, mode: str, size: tuple[int, int]) -> None:
    pipeline = build([name], "image")
    for seed in range(30):
        changed = pipeline.input(picture(mode, size), np.random.default_rng(seed))
        assert changed.mode == mode
        assert changed.size == size or name == "crop"
        assert all(1 <= side <= whole for side, whole in zip(changed.size, size, strict=True))


@pytest.mark.parametrize("name", names_of("image", "input"))
def test_images_that_had_16_bits_can_be_changed(name: str) -> None:
    deep = Image.fromarray(np.random.default_rng(0).integers(0, 2**16, (20, 30), dtype=np.uint16))
    assert deep.mode.startswith("I")
    results = [build([name], "image").input(normalised(deep), np.random.default_rng(seed)) for seed in range(30)]
    assert {result.mode for result in results} == {"L"}
    assert any(plain(result) != plain(normalised(deep)) for result in results)


@pytest.mark.parametrize("floats", [True, False])
@pytest.mark.parametrize("shape", [(3, 1, 1), (1, 16, 16), (5, 8, 9), (3, 2, 200), (13, 7, 7)])
@pytest.mark.parametrize("name", names_of("image", "sample"))
def test_encoded_images_keep_shape_and_type(name: str, shape: tuple[int, int, int], floats: bool) -> None:
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8)
    sample = {"pixel_values": pixels.float() if floats else pixels, "side": torch.tensor(3)}
    for seed in range(30):
        changed = build([name], "image").sample(sample, np.random.default_rng(seed), {"mean": (0.5,) * shape[0]})
        assert changed["pixel_values"].shape == shape
        assert changed["pixel_values"].dtype == sample["pixel_values"].dtype
        assert changed["side"] == 3


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 1, 1, 1), (3, 5, 2, 90), (4, 13, 7, 7)])
@pytest.mark.parametrize("columns", [None, 1, 4])
@pytest.mark.parametrize("name", names_of("image", "batch"))
def test_batches_keep_shape_and_type(name: str, columns: int | None, shape: tuple[int, ...]) -> None:
    targets = torch.rand(shape[:1] if columns is None else (shape[0], columns))
    given = {"pixel_values": torch.randn(shape)}, targets
    before = plain(given)
    for seed in range(20):
        batch, soft = build([name], "image").batch(*given, np.random.default_rng(seed))
        assert batch["pixel_values"].shape == shape
        assert soft.shape == targets.shape
        assert (batch["pixel_values"].dtype, soft.dtype) == (torch.float32, torch.float32)
        if shape[0] == 1:
            torch.testing.assert_close((batch["pixel_values"], soft), (given[0]["pixel_values"], targets))
    assert plain(given) == before


@pytest.mark.parametrize("text", ["", " ", "word", "two words", "ünïcödé 日本語\n\ttabs", ("a b c", "")])
@pytest.mark.parametrize("name", names_of("text", "input"))
def test_texts_of_any_shape_survive(name: str, text: Any) -> None:
    pipeline = build([f"{name}:1"], "text")
    changed = pipeline.input(text, np.random.default_rng(0))
    assert type(changed) is type(text)
    both = [(text, changed)] if isinstance(text, str) else list(zip(text, changed, strict=True))
    for before, after in both:
        assert bool(before.strip()) == bool(after.strip())
        assert set(after.split()) <= set(before.split())
