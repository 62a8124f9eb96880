"""What every registered method must satisfy, on small and large stacks and for short and long runs."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields

import pytest

from unfreeze import _yaml
from unfreeze.errors import RecipeError
from unfreeze.methods import (
    METHODS,
    Method,
    MethodContext,
    Phase,
    StackView,
    as_recipe,
    dump_phases,
    parse_method,
    phases_of,
)
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import recipe_from_mapping, with_values
from unfreeze.registry import Card

NAMES = METHODS.names()
DEPTHS = (2, 4, 9, 30)
LENGTHS = (1.0, 3.0, 10.0)


def stack_of(depth: int) -> StackView:
    names = ("stem", *(f"block {number}" for number in range(depth - 2)), "head")
    return StackView(names, tuple(range(1, depth + 1)))


def spelled(name: str) -> str:
    """The method with an argument, where it needs one."""
    method = METHODS.get(name)
    return f"{name}:1" if method.argument and not method.optional and method.default_argument is None else name


def planned(name: str, depth: int, epochs: float) -> list[Phase]:
    plain, argument = parse_method(spelled(name))
    return list(METHODS.get(plain).phases(MethodContext(stack_of(depth), argument, epochs)))


def recipe_of(name: str, epochs: float, decay: float | None = None) -> Recipe:
    values = {"method.name": spelled(name), "training.epochs": epochs, "method.layer_decay": decay}
    return with_values(Recipe(), values)


cases = pytest.mark.parametrize(
    ("name", "depth", "epochs"), [(name, depth, epochs) for name in NAMES for depth in DEPTHS for epochs in LENGTHS]
)


def test_the_promised_methods_are_there() -> None:
    promised = "all-but-first chain-thaw full gradual gradual-on-plateau head last lp-ft scratch"
    assert set(promised.split()) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_something_in_every_field(name: str) -> None:
    method = METHODS.get(name)
    assert isinstance(method, Method)
    assert all(len(getattr(method.card, item.name)) > 10 for item in fields(Card))


@cases
def test_phases_are_fit_for_the_loop(name: str, depth: int, epochs: float) -> None:
    names = stack_of(depth).names
    phases = planned(name, depth, epochs)
    assert phases
    for phase in phases:
        assert phase.learn
        assert list(phase.learn) == [group for group in names if group in phase.learn]
        assert phase.epochs > 0
        assert set(phase.scales) <= set(phase.learn)
        assert all(0 < scale <= 1 for scale in phase.scales.values())
        assert phase.lr is None
    # The most that plateau phases may take is bounded by the run's length too.
    assert sum(phase.epochs for phase in phases) == pytest.approx(epochs)
    assert any("head" in phase.learn for phase in phases)
    assert planned(name, depth, epochs) == phases


@cases
def test_dumped_phases_are_the_same_phases_again(name: str, depth: int, epochs: float) -> None:
    stack = stack_of(depth)
    for decay in (None, 0.9):
        phases = phases_of(recipe_of(name, epochs, decay), stack)
        pasted = recipe_from_mapping(_yaml.read(dump_phases(phases), "dump").value, origin="dump")
        assert phases_of(pasted, stack) == phases
        # Discriminative rates are in the dump already and are not applied twice.
        assert phases_of(with_values(pasted, {"method.layer_decay": decay}), stack) == phases


@cases
def test_layer_decay_falls_towards_the_bottom_and_spares_the_head(name: str, depth: int, epochs: float) -> None:
    stack = stack_of(depth)
    plain = phases_of(recipe_of(name, epochs), stack)
    decayed = phases_of(recipe_of(name, epochs, 0.5), stack)
    for before, after in zip(plain, decayed, strict=True):
        assert before.learn == after.learn
        assert after.scales.get("head") == before.scales.get("head")
        for group in set(after.learn) - {"head"}:
            depth_below_top = len(stack.names) - 2 - stack.names.index(group)
            expected = before.scales.get(group, 1.0) * 0.5**depth_below_top
            assert after.scales.get(group, 1.0) == pytest.approx(expected)


def frontiers(name: str, depth: int, epochs: float) -> list[int]:
    names = stack_of(depth).names
    return [names.index(phase.learn[0]) for phase in planned(name, depth, epochs)]


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("epochs", LENGTHS)
def test_frontiers_are_as_the_cards_say(depth: int, epochs: float) -> None:
    top = depth - 1
    assert frontiers("head", depth, epochs) == [top]
    assert frontiers("last", depth, epochs) == [top]
    assert frontiers("all-but-first", depth, epochs) == [1]
    assert frontiers("full", depth, epochs) == [0]
    assert frontiers("scratch", depth, epochs) == [0]
    assert frontiers("lp-ft", depth, epochs) == [top, 0]
    for name in ("gradual", "gradual-on-plateau"):
        found = frontiers(name, depth, epochs)
        assert (found[0], found[-1]) == (top, 0)
        assert found == sorted(set(found), reverse=True)
    chain = frontiers("chain-thaw", depth, epochs)
    assert (chain[0], chain[1], chain[-1]) == (top, 0, 0)
    assert chain[1:-1] == sorted(set(chain[1:-1]))


def test_only_scratch_forgets_the_pre_trained_weights() -> None:
    assert [name for name, method in METHODS.items() if method.random_weights] == ["scratch"]


@pytest.mark.parametrize("name", NAMES)
def test_an_unfit_argument_is_a_recipe_error(name: str) -> None:
    method = METHODS.get(name)
    setting = method.options is not None and method.argument in {item.name for item in fields(method.options)}
    for text in ("x", "0", "-1", "1.5") if setting else ("x", "0", "-1", "99", "1.5"):
        with pytest.raises(RecipeError) as caught:
            phases_of(with_values(recipe_of(name, 3.0), {"method.name": f"{name}:{text}"}), stack_of(4))
        assert f"{name}:{text}" in str(caught.value)
        if text == "99" and method.argument:
            assert "4 layer groups: stem, block 0, block 1, head" in str(caught.value)


def test_a_recipe_survives_the_way_through_phases() -> None:
    phase = Phase(name="x", learn=("stem",), epochs=2.0, until="plateau", lr=0.1, scales={"stem": 0.5})
    written = with_values(Recipe(), {"method.phases": [as_recipe(phase)]})
    assert phases_of(written, stack_of(4)) == (phase,)


def test_importing_methods_imports_no_torch() -> None:
    code = "import sys; from unfreeze.methods import METHODS; names = [name for name, _ in METHODS.items()]; "
    code += "print(len(names), [name for name in ('torch', 'transformers', 'timm', 'numpy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"{len(NAMES)} []"
