"""What --cache-budget takes, what it comes to, and which entries go."""

from __future__ import annotations

import pytest

from unfreeze.errors import RecipeError
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import dump_recipe, recipe_from_mapping, with_settings
from unfreeze.resolve import check_early
from unfreeze.stack.budget import Budget, in_words, parse_budget, parse_size, to_leave


@pytest.mark.parametrize(
    ("value", "memory", "disk"),
    [
        (None, 400, 1000),
        ("0.3", 300, 3000),
        (0.3, 300, 3000),
        (".5", 500, 5000),
        ("0.95", 900, 9000),
        ("0", 0, 0),
        (0, 0, 0),
        ("0GB", 0, 0),
        ("0.5kB", 500, 500),
        (" 2 KB ", 900, 2000),
        ("1KiB", 900, 1024),
        ("2TB", 900, 9000),
        ("disk", 0, 1000),
    ],
)
def test_what_it_comes_to(value: str | float | None, memory: int, disk: int) -> None:
    budget = parse_budget(value)
    assert (budget.memory(1000), budget.disk(10_000)) == (memory, disk)
    assert budget.nothing == (memory == disk == 0)


@pytest.mark.parametrize(("value", "size"), [("6GB", 6 * 10**9), (" 1.5 gib", 3 * 2**29), ("800MB", 8 * 10**8)])
def test_a_size(value: str, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["6", "0GB", "0.3", "GB", "six GB", "", "-1GB", "1e3MB"])
def test_what_is_no_size(value: str) -> None:
    with pytest.raises(RecipeError, match=r"expected a size such as 6GB or 800MB\. Found '.*'\."):
        parse_size(value)


@pytest.mark.parametrize(
    "value", ["1", "2", 5, 1.0, "2 bananas", "GB", "", "-1", -0.5, "1e3", "0.3.1", "nan", "½", "2G"]
)
def test_what_is_neither(value: str | float) -> None:
    expected = r"expected a share below 1 such as 0\.3, a size such as 2GB, disk, or 0\. Found"
    with pytest.raises(RecipeError, match=expected):
        parse_budget(value)


def test_the_recipe_takes_both_and_says_so_early() -> None:
    for text, value in (("0.3", 0.3), ("2GB", "2GB"), ("0", 0), ("null", None)):
        recipe = with_settings(Recipe(), [f"training.cache_budget={text}"])
        assert recipe.training.cache_budget == value
        check_early(recipe)
        assert "cache_budget" in dump_recipe(recipe)
    wrong = recipe_from_mapping({"training": {"cache_budget": "much", "device": "cpuu"}}, origin="x")
    with pytest.raises(RecipeError) as caught:
        check_early(wrong)
    assert any("training.cache_budget: expected a share" in problem for problem in caught.value.problems)
    assert len(caught.value.problems) == 2


def test_which_go() -> None:
    kept = [("a", 5), ("b", 3), ("c", 4)]
    assert to_leave(kept, 2, 14) == []
    assert to_leave(kept, 3, 14) == ["a"]
    assert to_leave(kept, 3, 14, in_use={"a"}) == ["b"]
    assert to_leave(kept, 3, 14, in_use={"a", "b", "c"}) is None
    assert to_leave(kept, 14, 14) == ["a", "b", "c"]
    assert to_leave(kept, 15, 14) is None
    assert to_leave([], 1, 1) == []


def test_sizes_in_words() -> None:
    sizes = [0, 999, 1000, 123_456, 5e8, 2.04e9, 3.2e12, 2e15]
    assert [in_words(size) for size in sizes] == [
        "0 bytes", "999 bytes", "1.0 kB", "123.5 kB", "500.0 MB", "2.0 GB", "3.2 TB", "2,000.0 TB",
    ]  # fmt: skip


def test_whatever_was_asked_for_some_stays_free() -> None:
    assert Budget(most=10**12).memory(1000) == 900
    assert Budget(1.0, 1.0).disk(1000) == 900
