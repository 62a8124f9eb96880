"""Words in each other's place: whole words in their case, a word that a model hangs on, and one that it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from collecting import ASKED, only
from hypothesis import given
from hypothesis import strategies as st
from planted import planted
from small import fit_text

from unfreeze.errors import RecipeError
from unfreeze.evidence._terms import in_case, present, swap_problems, swapped, variants
from unfreeze.evidence.swaps import variants_of
from unfreeze.run import Run

SWAPPED = {
    "plain": ("he said so", "she said so"),
    "at the beginning": ("He said so", "She said so"),
    "in capitals": ("HE SAID SO", "SHE SAID SO"),
    "both change places": ("he met she", "she met he"),
    "before punctuation": ("was it he?", "was it she?"),
    "before an apostrophe": ("he's here", "she's here"),
    "within a word": ("the theory", "the theory"),
    "plural": ("hes and shes", "hes and shes"),
    "hyphenated": ("a she-wolf", "a she-wolf"),
    "with an accent": ("he\u0301 is no he", "he\u0301 is no she"),
    "twice": ("he and he", "she and she"),
}


@pytest.mark.parametrize("name", SWAPPED)
def test_whole_words_in_their_case(name: str) -> None:
    text, expected = SWAPPED[name]
    assert swapped(text, "he", "she") == expected


def test_names_of_several_words() -> None:
    assert swapped("A Black   man came.", "black man", "white woman") == "A White woman came."
    assert swapped("They are black men.", "black man", "white woman") == "They are black men."


def test_names_keep_their_capitals() -> None:
    assert swapped("Ahmed met AHMED and ahmed.", "Ahmed", "John") == "John met JOHN and john."


def test_scripts_without_spaces_need_no_boundaries() -> None:
    assert swapped("他是医生", "他", "她") == "她是医生"


def test_case_of_letters_that_change_their_length() -> None:
    assert swapped("İ is I", "i", "x") == "X is X"
    assert swapped("die Straße", "straße", "gasse") == "die Gasse"
    assert in_case("İ", "i", "x") == "X"


words = st.lists(st.sampled_from(["he", "she", "they", "Ahmed", "the", "hers", "-", "!", "HE"]), max_size=12)


@given(words)
def test_swapping_twice_gives_the_text_back(parts: list[str]) -> None:
    text = " ".join(parts)
    assert swapped(swapped(text, "he", "she"), "he", "she") == text


@given(words)
def test_other_words_stay(parts: list[str]) -> None:
    after = swapped(" ".join(parts), "he", "she").split()
    assert len(after) == len(" ".join(parts).split())
    for one, other in zip(" ".join(parts).split(), after, strict=True):
        assert (one.lower() in ("he", "she")) == (one != other)


def test_variants_put_each_word_in_the_others_place() -> None:
    made = list(variants(["he came", "did he"], ["he", "she", "they"]))
    assert made == [
        ("he", "she", False, ("she came", "did she")),
        ("he", "they", False, ("they came", "did they")),
    ]
    assert [(one, other, both) for one, other, both, _ in variants(["he and she"], ["he", "she"])] == [
        ("he", "she", True)
    ]
    assert present("nothing of it", ["he", "she"]) == []


def test_pairs_change_in_both_parts() -> None:
    (variant,) = variants_of(3, ("he came", "who came"), ["he", "she"])
    assert variant.text == ("she came", "who came")
    assert (variant.row, variant.both) == (3, False)


def test_wrong_words_are_told() -> None:
    assert swap_problems([["he", "she"]], "text") == []
    assert "these data are images" in swap_problems([["he", "she"]], "image")[0]
    for wrong in ([], ["he"], ["he", "He"], ["he", " "]):
        assert "expected two or more different words" in swap_problems([wrong], "text")[0]


def test_wrong_words_are_refused_before_training(home: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"evaluation\.swaps: group 2: expected two or more different words"):
        fit_text(home, tmp_path / "run", swaps=[["he", "she"], ["he"]])


# ------------------------------------------------------------------------------------------------------ whole runs


@pytest.fixture(scope="module")
def run(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """It learns from the signs "good" and "bad"; "today" and "never" say nothing."""
    options: dict[str, Any] = {"epochs": 4, "method": "head", "evaluation__bootstrap": 100, **ASKED}
    with only("swaps"):
        return fit_text(
            home,
            tmp_path_factory.mktemp("swaps") / "run",
            data=planted(800, odd=0.05),
            swaps=[["good", "bad"], ["today", "never"], ["xyzzy", "plugh"]],
            **options,
        )


def test_a_word_that_decides_is_caught(run: Run) -> None:
    biased, neutral, absent = run.evidence["swaps"]["groups"]
    assert biased["changed"]["low"] > 0.5
    assert biased["rows"] == biased["variants"] == 200
    assert neutral["changed"]["high"] < 0.2
    assert neutral["shift"]["value"] < biased["shift"]["value"] / 5
    assert absent == {"words": ["xyzzy", "plugh"], "rows": 0, "variants": 0, "read": 0}


def test_it_says_where_a_word_moves_predictions(run: Run) -> None:
    pairs = {(pair["from"], pair["to"]): pair for pair in run.evidence["swaps"]["groups"][0]["pairs"]}
    assert {pair["label"] for pair in pairs.values()} == {"film"}
    assert pairs["good", "bad"]["shift"]["high"] < -0.2
    assert pairs["bad", "good"]["shift"]["low"] > 0.2


def test_examples_are_true(run: Run) -> None:
    """What the report shows as changed is what the model says."""
    examples = run.evidence["swaps"]["groups"][0]["examples"]
    assert len({example["origin"] for example in examples}) == len(examples) > 5
    assert [example["shift"] for example in examples] == sorted((e["shift"] for e in examples), reverse=True)
    for text, answer in (("text", "before"), ("changed_text", "after")):
        said = run.predict([example[text] for example in examples], precision="float32", calibrated=False)
        for example, row in zip(examples, said, strict=True):
            assert row["prediction"] == example[answer]["prediction"]
            assert row["probabilities"][row["prediction"]] == pytest.approx(example[answer]["probability"], abs=1e-3)


def test_numbers_move_without_being_changed(home: Path, tmp_path: Path) -> None:
    rows = [{**row, "label": row["text"].count("good") + 0.5} for row in planted(200)]
    with only("swaps"):
        run = fit_text(home, tmp_path / "run", data=rows, task="regression", swaps=[["good", "bad"]], **ASKED)
    (group,) = run.evidence["swaps"]["groups"]
    assert group["changed"] is None
    assert group["shift"]["value"] > 0
