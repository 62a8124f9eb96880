"""Phases that a recipe writes out: words, expressions, rates, epochs, and what is wrong with them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.errors import RecipeError
from unfreeze.methods import Phase, StackView, dump_phases, phases_of, written_epochs
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import recipe_from_mapping, with_values

STACK = StackView(("stem", "block 0", "block 1", "block 10", "pool.er", "head"), (1, 2, 3, 4, 5, 6))


def resolved(phases: list[dict[str, Any]], **values: Any) -> tuple[Phase, ...]:
    recipe = with_values(Recipe(), {"method.phases": phases})
    return phases_of(with_values(recipe, {key.replace("__", "."): value for key, value in values.items()}), STACK)


def problems_of(phases: list[dict[str, Any]], **values: Any) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        resolved(phases, **values)
    return caught.value.problems


@pytest.mark.parametrize(
    ("learn", "expected"),
    [
        ("all", STACK.names),
        ("head", ("head",)),
        ("last:2", ("pool.er", "head")),
        ("block 1", ("block 1",)),
        ("block .*", ("block 0", "block 1", "block 10")),
        ("block [01]", ("block 0", "block 1")),
        (["head", "stem"], ("stem", "head")),
        (["last:1", "block 1.", "pool.er"], ("block 10", "pool.er", "head")),
    ],
)
def test_words_names_and_expressions(learn: str | list[str], expected: tuple[str, ...]) -> None:
    assert resolved([{"learn": learn, "epochs": 1}])[0].learn == expected


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        ({"learn": "blok 1"}, "method.phases[0].learn: 'blok 1' matches none of the 6 groups. Did you mean 'block 1'?"),
        ({"learn": "block ("}, "method.phases[0].learn: 'block (' is no name and no regular expression"),
        ({"learn": "last:9"}, "'last:9' must be between 1 and 6 for this model, which has 6 layer groups: stem, "),
        ({"learn": "last:x"}, "'last:x' must have a whole number after the colon. Got 'x' instead."),
        ({"learn": []}, "method.phases[0].learn must name at least one layer group."),
        ({"learn": "head", "scales": {"stem": 0.1}}, "'stem' matches none of the 1 groups."),
        ({"learn": "head", "scales": {"head": 0}}, "the factor of 'head' must be greater than 0. Got 0 instead."),
    ],
)
def test_what_names_nothing(phase: dict[str, Any], expected: str) -> None:
    found = problems_of([{"epochs": 1, **phase}])
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_told_at_once() -> None:
    found = problems_of([{"learn": "x"}, {"learn": ["y", "z"]}])
    assert [problem.split(" ")[0] for problem in found] == [
        "training.epochs",
        "method.phases[0].learn:",
        "method.phases[1].learn:",
        "method.phases[1].learn:",
    ]


def test_rates_by_name_by_expression_and_by_decay() -> None:
    phase = {"learn": "all", "epochs": 1, "lr": 0.1, "scales": {"block .*": 0.5, "block 1": 0.25, "head": 1.0}}
    (found,) = resolved([phase], method__layer_decay=0.1)
    assert found.lr == 0.1
    assert found.scales == pytest.approx(
        {"stem": 0.1**4, "block 0": 0.5, "block 1": 0.25, "block 10": 0.5, "head": 1.0}
    )


def test_phases_without_epochs_share_what_is_left() -> None:
    phases = [{"learn": "head", "epochs": 1}, {"learn": "all"}, {"learn": "all", "until": "plateau"}]
    assert [phase.epochs for phase in resolved(phases, training__epochs=4)] == [1.0, 1.5, 1.5]


@pytest.mark.parametrize(
    ("lengths", "total", "expected"),
    [
        ([1, 2], 4, "the phases last 3 epochs together, and training.epochs says 4"),
        ([3, None], 3, "training.epochs (3) must exceed the epochs that method.phases states (3)"),
        ([1, None], None, "training.epochs must be given"),
    ],
)
def test_epochs_have_to_add_up(lengths: list[float | None], total: float | None, expected: str) -> None:
    found = problems_of([{"learn": "all", "epochs": length} for length in lengths], training__epochs=total)
    assert expected in found[0]


def test_the_length_of_a_written_plan() -> None:
    def length(*epochs: float | None) -> float | None:
        return written_epochs(with_values(Recipe(), {"method.phases": [{"epochs": each} for each in epochs]}))

    assert (length(), length(1, None), length(1, 2.5)) == (None, None, 3.5)


@pytest.mark.parametrize("missing", ["method.name", "training.epochs"])
def test_what_is_not_decided_is_named(missing: str) -> None:
    decided = {"method.name": "full", "training.epochs": 3, missing: None}
    with pytest.raises(RecipeError, match=f"{missing} is not decided"):
        phases_of(with_values(Recipe(), decided), STACK)


def test_a_stated_factor_of_one_for_the_head_is_kept() -> None:
    recipe = with_values(Recipe(), {"method.name": "lp-ft", "training.epochs": 2, "method.layer_decay": 0.5})
    probe, everything = phases_of(recipe, STACK)
    assert "head" not in probe.scales
    assert everything.scales["head"] == 1.0


odd_names = st.lists(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
    | st.sampled_from(["all", "head", "last:1", "a.*", "["]),
    min_size=1,
    max_size=5,
    unique=True,
)


@given(names=odd_names, data=st.data())
def test_any_phases_can_be_dumped_and_fed_back(names: list[str], data: st.DataObject) -> None:
    stack = StackView(tuple(names), tuple(1 for _ in names))
    numbers = st.floats(min_value=1e-9, max_value=1e9)

    def phase() -> Phase:
        learn = [name for name in names if data.draw(st.booleans())] or [names[0]]
        scales = {name: data.draw(numbers) for name in learn if data.draw(st.booleans())}
        return Phase(
            name=data.draw(st.text(st.characters(codec="utf-8"), min_size=1, max_size=5)),
            learn=tuple(learn),
            epochs=data.draw(numbers),
            until=data.draw(st.sampled_from(["epochs", "plateau"])),
            lr=data.draw(st.none() | numbers),
            scales=scales,
        )

    phases = tuple(phase() for _ in range(data.draw(st.integers(1, 3))))
    from unfreeze import _yaml

    pasted = recipe_from_mapping(_yaml.read(dump_phases(phases), "dump").value, origin="dump")
    assert phases_of(pasted, stack) == phases
