"""Tokenizing, padding and pooling."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze.data.manifest import ImageRef
from unfreeze.errors import DataError, ModelError
from unfreeze.models.text import pool

sys.path.insert(0, str(Path(__file__).parents[1] / "contract"))
from tiny import families, tiny_pretrained

TOKENS = torch.tensor([[[1.0], [3.0], [100.0]], [[2.0], [4.0], [6.0]]])
MASK = torch.tensor([[1, 1, 0], [1, 1, 1]])


@pytest.mark.parametrize(("how", "expected"), [("mean", [2.0, 4.0]), ("first", [1.0, 2.0]), ("last", [3.0, 6.0])])
def test_pooling_looks_at_real_tokens_only(how: str, expected: list[float]) -> None:
    assert pool(TOKENS, MASK, how).squeeze(1).tolist() == expected


@settings(deadline=None, max_examples=20)
@given(st.lists(st.text(max_size=40), min_size=1, max_size=5), st.sampled_from(families("text")))
def test_any_text_becomes_a_batch_that_the_model_can_read(texts: list[str], name: str) -> None:
    preprocess = tiny_pretrained(name).preprocess
    samples = preprocess.encode_many(texts)
    batch = preprocess.collate(samples)
    lengths = [preprocess.length(sample) for sample in samples]
    assert min(lengths) >= 1
    assert batch["attention_mask"].sum(1).tolist() == lengths
    assert {tuple(tensor.shape) for tensor in batch.values()} == {(len(texts), max(lengths))}
    for row, (text, length) in enumerate(zip(texts, lengths, strict=True)):
        assert batch["input_ids"][row, :length].tolist() == preprocess.encode(text)["input_ids"].tolist()
        assert (batch["input_ids"][row, length:] == preprocess.pad_id).all()


@pytest.mark.parametrize("name", families("text"))
def test_pairs_are_separated_and_mixed_inputs_keep_their_order(name: str) -> None:
    preprocess = tiny_pretrained(name).preprocess
    pair, reverse, single = preprocess.encode_many([("good", "bad"), ("bad", "good"), "good"])
    assert pair["input_ids"].tolist() != reverse["input_ids"].tolist()
    assert preprocess.length(pair) >= preprocess.length(single) + 1
    assert preprocess.encode(("good", "bad"))["input_ids"].tolist() == pair["input_ids"].tolist()
    tokens = preprocess.tokenizer.convert_ids_to_tokens(pair["input_ids"].tolist())
    assert tokens.index("bad") > tokens.index("good") + 1


def test_second_text_of_a_pair_has_its_own_type() -> None:
    preprocess = tiny_pretrained("bert").preprocess
    assert preprocess.encode(("good", "bad"))["token_type_ids"].tolist() == [0, 0, 0, 1, 1]
    assert "token_type_ids" not in tiny_pretrained("gpt2").preprocess.encode("good")


def test_facts_name_what_must_not_be_changed() -> None:
    facts = tiny_pretrained("bert").preprocess.facts
    assert facts["mask_id"] in facts["special_ids"]
    assert facts["vocabulary"] <= 96
    assert tiny_pretrained("gpt2").preprocess.facts["mask_id"] is None


def test_tokens_are_counted_before_they_are_cut() -> None:
    preprocess = tiny_pretrained("bert", max_length=8).preprocess
    assert preprocess.count(["bad " * 20, "bad"]) == [22, 3]


def test_an_image_is_refused() -> None:
    with pytest.raises(DataError, match="reads texts"):
        tiny_pretrained("bert").preprocess.encode(ImageRef(data=b"x"))


def test_changes_that_are_for_images_and_lengths_without_room_are_refused() -> None:
    with pytest.raises(ModelError, match=r"model\.channels is for images"):
        tiny_pretrained("bert", channels=1)
    with pytest.raises(ModelError, match="at least 5 tokens"):
        tiny_pretrained("bert", max_length=3)


def test_pooling_can_be_chosen() -> None:
    assert tiny_pretrained("bert").module.pooling.how == "mean"
    assert tiny_pretrained("bert", pooling="last").module.pooling.how == "last"
