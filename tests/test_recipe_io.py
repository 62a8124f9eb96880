"""Recipes from files, flags and keywords: strict, all problems at once, and back to YAML without loss."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.errors import RecipeError
from unfreeze.recipe import (
    DataRecipe,
    EvaluationRecipe,
    MethodRecipe,
    ModelRecipe,
    OutputRecipe,
    PhaseRecipe,
    Recipe,
    TrainingRecipe,
)
from unfreeze.recipe_io import (
    dump_recipe,
    load_recipe,
    option_table,
    recipe_from_mapping,
    with_settings,
    with_values,
)

SOME_PROBLEMS = """\
model: minilm
training:
  epoch: 3
  epochs: three
  lr: 1e-4
  lr: 2
  batch_size: true
  precision: bf61
lr: 3
data:
  path: x.csv
  text: 3
  wat: !!python/name:os.system x
method:
  phases:
    - learn: head
      epocs: 2
    - 3
"""

EXPECTED = [
    (3, "unknown key 'epoch' in training. Did you mean 'epochs'?"),
    (4, "training.epochs must be a number greater than 0 or null. Got 'three' instead."),
    (6, "duplicate key 'lr' in training (first on line 5)."),
    (7, "training.batch_size must be a whole number of at least 1 or null. Got true instead."),
    (8, "training.precision must be one of auto, float32, bf16. Got 'bf61' instead. Did you mean 'bf16'?"),
    (9, "unknown key 'lr'. Did you mean 'training.lr'?"),
    (12, "data.text must be a text or null. Got 3 instead. Put it in quotes if it is meant as a text."),
    (13, "the tag '!!python/name:os.system' is not allowed in a recipe."),
    (17, "unknown key 'epocs' in method.phases[0]. Did you mean 'epochs'?"),
    (18, "method.phases[1] must be a mapping of options. Got 3 instead."),
]


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def problems_of(folder: Path, text: str | bytes) -> tuple[str, ...]:
    with pytest.raises(RecipeError) as caught:
        load_recipe(written(folder, text))
    return caught.value.problems


def test_all_problems_are_told_at_once_with_file_line_and_nearest_name(tmp_path: Path) -> None:
    found = problems_of(tmp_path, SOME_PROBLEMS)
    for line, message in EXPECTED:
        assert f"{tmp_path / 'recipe.yaml'}, line {line}: {message}" in found
    assert len([problem for problem in found if "unknown key 'wat'" not in problem]) == len(EXPECTED)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "the recipe is empty"),
        (b"# nothing\n", "the recipe is empty"),
        (b"- a\n- b\n", "a recipe must be a mapping"),
        (b"just words", "a recipe must be a mapping"),
        (b"training: [1, 2]", "training must be a mapping of options"),
        (b"training: {epochs: 0}", "training.epochs must be a number greater than 0"),
        (b"training: {epochs: .inf}", "training.epochs must be a number"),
        (b"training: {epochs: .nan}", "training.epochs must be a number"),
        (b"training: {batch_size: 2.5}", "training.batch_size must be a whole number"),
        (b"output: {tensorboard: yes}", "output.tensorboard must be true or false. Got 'yes' instead."),
        (b"data: {validation_share: 0.6, test_share: 0.5}", "must leave rows to train on"),
        (b"training: {augment: flip}", "training.augment must be a list of texts"),
        (b"a: 1\n---\nb: 2\n", "not valid YAML"),
        (b"training: {epochs: 3", "line 1: not valid YAML"),
        (b"training:\n\tepochs: 3", "line 2: not valid YAML"),
        (b"seed: 1\nmodel: \xff\xfe\xfa", "line 2: a recipe must be UTF-8"),
        (b"model: a\x00b", "a character that YAML does not allow"),
        (b"[" * 5000, "nested too deeply"),
        (b"a: &a [x]\nb: *c", "not valid YAML"),
        (b"? [1]\n: 2\n", "a key must be a name"),
        (b"!!python/object/apply:os.system [ls]", "is not allowed in a recipe"),
        (b"seed: " + b"9" * 5000, "cannot be read as int"),
        (b"x: " + b"y" * 2_000_000, "larger than 1,000,000 bytes"),
    ],
)
def test_what_is_no_recipe_says_why(tmp_path: Path, text: bytes, expected: str) -> None:
    assert any(expected in problem for problem in problems_of(tmp_path, text))


def test_aliases_of_aliases_do_not_fill_the_memory(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x]", *(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]" for n in range(1, 60))]
    assert "nested too deeply" in problems_of(tmp_path, "\n".join(levels))[0]


@pytest.mark.parametrize("place", ["absent.yaml", "."])
def test_a_recipe_that_is_not_there_is_a_recipe_error(tmp_path: Path, place: str) -> None:
    with pytest.raises(RecipeError, match="the recipe cannot be read"):
        load_recipe(tmp_path / place)


def test_numbers_are_those_of_yaml_1_2(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "training: {lr: 1e-4, head_lr: 1E-3, epochs: 3}\nseed: 010\n"))
    assert (recipe.training.lr, recipe.training.head_lr, recipe.training.epochs, recipe.seed) == (1e-4, 1e-3, 3.0, 10)
    assert isinstance(recipe.training.epochs, float)


def test_short_forms_and_empty_sections(tmp_path: Path) -> None:
    recipe = load_recipe(written(tmp_path, "\ufeffmodel: minilm\nmethod: last:2\ndata: reviews.csv\ntraining:\n"))
    assert (recipe.model.name, recipe.method.name, recipe.data.path) == ("minilm", "last:2", "reviews.csv")
    assert recipe.training == TrainingRecipe()


def test_relative_paths_are_of_the_current_folder_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, here = tmp_path / "recipes", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    for folder, names in ((home, ("both.csv", "there.csv")), (here, ("both.csv",))):
        for name in names:
            (folder / name).touch()
    recipe = load_recipe(written(home, "data: {path: both.csv, validation: there.csv, test: nowhere.csv}"))
    assert recipe.data.path == "both.csv"
    assert recipe.data.validation == str(home / "there.csv")
    assert recipe.data.test == "nowhere.csv"


def test_settings_are_read_as_yaml_or_as_the_text_that_an_option_takes() -> None:
    recipe = with_settings(
        Recipe(),
        [
            "training.lr=1e-4",
            "data.target=2020",
            "data.text=a=b",
            "model=minilm",
            "method=last:2",
            "model.options.act=gelu",
            "training.augment=[flip, crop]",
            "method.phases=[{learn: head, epochs: 1}]",
            "seed=1",
            "seed=2",
            "data.encoding=null",
            "data.separator=[",
        ],
    )
    assert recipe == Recipe(
        data=DataRecipe(target="2020", text="a=b", separator="["),
        model=ModelRecipe(name="minilm", options={"act": "gelu"}),
        method=MethodRecipe(name="last:2", phases=[PhaseRecipe(learn="head", epochs=1.0)]),
        training=TrainingRecipe(lr=1e-4, augment=["flip", "crop"]),
        seed=2,
    )


def test_every_setting_that_is_wrong_is_named() -> None:
    with pytest.raises(RecipeError) as caught:
        with_settings(Recipe(), ["lr=1", "training.epochs=x", "a", "traning.lr=3", "training.wat=3", "seed.a=1"])
    text = str(caught.value)
    assert "--set lr: unknown key 'lr'. Did you mean 'training.lr'?" in text
    assert "--set training.epochs: training.epochs must be a number greater than 0 or null. Got 'x' instead." in text
    assert "--set a: expected key=value" in text
    assert "--set traning.lr: unknown key 'traning.lr'. Did you mean 'training.lr'?" in text
    assert "--set training.wat: unknown key 'wat' in training." in text
    assert "--set seed.a: unknown key 'seed.a'" in text


def test_python_values_are_taken_as_they_are_meant() -> None:
    base = with_values(Recipe(), {"training.batch_size": 8})
    recipe = with_values(
        base,
        {
            "training.epochs": 3,
            "data.path": Path("a.csv"),
            "data.target": ("x", "y"),
            "training": {"lr": 0.1},
            "method.phases": [PhaseRecipe(learn=["head"], epochs=2.0)],
        },
    )
    assert recipe.data == DataRecipe(path="a.csv", target=["x", "y"])
    assert recipe.training == TrainingRecipe(batch_size=8, epochs=3.0, lr=0.1)
    assert recipe.method.phases == [PhaseRecipe(learn=["head"], epochs=2.0)]


def test_numpy_numbers_are_numbers() -> None:
    import numpy

    recipe = with_values(Recipe(), {"training.batch_size": numpy.int64(8), "training.lr": numpy.float32(0.5)})
    assert recipe.training == TrainingRecipe(batch_size=8, lr=0.5)
    assert "batch_size: 8" in dump_recipe(recipe)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"trainig.epochs": 3}, "trainig.epochs: unknown key 'trainig.epochs'. Did you mean 'training.epochs'?"),
        ({"training.epochs": True}, "training.epochs: training.epochs must be a number"),
        ({"model.options": {"act": object()}}, "model.options must be a mapping of names to plain values"),
        ({"model": 3}, "model must be a mapping of options. Got 3 instead."),
    ],
)
def test_wrong_python_values_are_recipe_errors(values: dict[str, object], expected: str) -> None:
    with pytest.raises(RecipeError) as caught:
        with_values(Recipe(), values)
    assert expected in str(caught.value)


def test_a_mapping_names_its_origin() -> None:
    assert recipe_from_mapping({"seed": 3}, origin="fit()").seed == 3
    with pytest.raises(RecipeError, match=r"^fit\(\): unknown key 'sed'. Did you mean 'seed'\?$"):
        recipe_from_mapping({"sed": 3}, origin="fit()")


def test_reasons_stand_behind_their_options() -> None:
    text = dump_recipe(Recipe(), {"training.lr": "the family's\nrate # of BERT", "data": "given"})
    assert "  lr: null  # the family's rate # of BERT" in text.splitlines()
    assert "data:  # given" in text.splitlines()


def test_the_option_table_has_every_option_with_help() -> None:
    table = option_table()
    keys = [key for key, *_ in table]
    assert len(keys) == len(set(keys))
    assert {"training.lr", "task", "method.phases[].learn"} <= set(keys)
    assert all(kind and default and help_ for _, kind, default, help_ in table)


def test_loading_a_recipe_needs_no_torch(tmp_path: Path) -> None:
    code = f"import sys, unfreeze.recipe_io as r; r.load_recipe({str(written(tmp_path, 'seed: 1'))!r}); "
    code += "print([name for name in ('torch', 'transformers', 'timm', 'pandas') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"


words = st.text(st.characters(codec="utf-8"), max_size=12) | st.sampled_from(
    ["1e-4", "no", "null", "", "010", "#", " a: b", "- x", "\n", "é\u2028\x85", "~", ".inf", "!!x", "0x1", "{", "a,b]"]
)
positive = st.floats(min_value=1e-300, max_value=1e300)
shares = st.floats(min_value=0, max_value=0.49)
counts = st.integers(1, 10**12)
phase_recipes = st.builds(
    PhaseRecipe,
    learn=words | st.lists(words, max_size=3),
    epochs=st.none() | positive,
    until=st.sampled_from(["epochs", "plateau"]),
    lr=st.none() | positive,
    scales=st.dictionaries(words, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    name=st.none() | words,
)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(words, inner, max_size=2),
    max_leaves=4,
)
recipes = st.builds(
    Recipe,
    data=st.builds(
        DataRecipe,
        path=st.none() | words,
        target=st.none() | words | st.lists(words, max_size=2),
        validation_share=shares,
        test_share=shares,
        rare=st.sampled_from(["drop", "keep", "fail"]),
    ),
    model=st.builds(ModelRecipe, name=st.none() | words, options=st.dictionaries(words, plain_values, max_size=2)),
    task=st.none() | words,
    method=st.builds(MethodRecipe, name=st.none() | words, phases=st.lists(phase_recipes, max_size=3)),
    training=st.builds(
        TrainingRecipe, epochs=st.none() | positive, lr=positive, batch_size=counts, augment=st.none() | st.lists(words)
    ),
    evaluation=st.builds(EvaluationRecipe, bootstrap=st.integers(0, 10)),
    output=st.builds(OutputRecipe, folder=st.none() | words, tensorboard=st.booleans()),
    seed=st.integers(0, 10**12),
)


@settings(deadline=None, max_examples=150)
@given(recipe=recipes, reason=words)
def test_reading_a_dumped_recipe_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, reason: str
) -> None:
    reasons = dict.fromkeys(("data", "data.path", "method.name", "model.options", "training.augment"), reason)
    path = tmp_path_factory.mktemp("x") / "recipe.yaml"
    path.write_text(dump_recipe(recipe, reasons), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("unfreeze.recipe_io._near_paths", lambda recipe, folder: recipe)
        assert load_recipe(path) == recipe


def test_every_section_is_dumped_whole() -> None:
    text = dump_recipe(Recipe())
    for item in fields(Recipe):
        part = getattr(Recipe(), item.name)
        names = [inner.name for inner in fields(part)] if is_dataclass(part) else [item.name]
        assert all(f"{name}:" in text for name in names)


@pytest.mark.parametrize("way", ["settings", "values", "section"])
def test_a_mapping_of_options_replaces_the_one_before(way: str) -> None:
    """A section changes what it names; names of others, such as a method's settings, are one value."""
    lora = with_values(
        Recipe(), {"method.name": "lora", "method.options": {"rank": 4, "alpha": 8}, "method.l2_sp": 0.5}
    )
    changed = {
        "settings": lambda: with_settings(lora, ["method.name=full", "method.options={}"]),
        "values": lambda: with_values(lora, {"method.name": "full", "method.options": {}}),
        "section": lambda: with_values(lora, {"method": {"name": "full", "options": {}}}),
    }[way]()
    assert (changed.method.name, changed.method.options, changed.method.l2_sp) == ("full", {}, 0.5)
    assert with_settings(lora, ["method.options.rank=2"]).method.options == {"rank": 2, "alpha": 8}
    assert with_settings(lora, ["method.options={rank: 2}"]).method.options == {"rank": 2}
