"""Texts to token ids and back to batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from unfreeze.data.manifest import ImageRef, Input
from unfreeze.errors import DataError
from unfreeze.models.pretrained import Batch, Sample

DEFAULT_LENGTH = 256
"""Tokens read of each text unless said otherwise: attention's cost grows with the square of the length."""


SHOWN = 160
"""Characters of a decoded text that are shown: its beginning and its end, where a cut or a lost ending is seen."""


def shorten(text: str) -> str:
    """The text, without its middle if it is long."""
    return text if len(text) <= SHOWN else f"{text[: SHOWN * 2 // 3]} … {text[-SHOWN // 3 :]}"


@dataclass(frozen=True)
class TextPreprocessor:
    """Tokenizes texts and pairs, cuts them to `max_length`, pads on the right.

    Parameters
    ----------
    tokenizer : a transformers tokenizer
    max_length : int
        Tokens, special ones included. Of a pair the longer text is cut first.
    token_types : bool
        Whether the model reads `token_type_ids`.
    """

    tokenizer: Any
    max_length: int
    token_types: bool

    def encode(self, item: Input) -> Sample:
        """One text or pair: `input_ids` and, where the model reads them, `token_type_ids`, each of shape (tokens,)."""
        return self.encode_many([item])[0]

    def encode_many(self, items: Sequence[Input]) -> list[Sample]:
        """Many at once, which a fast tokenizer does in parallel."""
        if not items:
            return []
        pairs = [self._pair(item) for item in items]
        if all(second is None for _, second in pairs):
            return self._samples(self._tokenize([first for first, _ in pairs]))
        if all(second is not None for _, second in pairs):
            return self._samples(self._tokenize([first for first, _ in pairs], [str(second) for _, second in pairs]))
        return [self.encode(item) for item in items]

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Pad to the longest; the mask has 1 for real tokens. Every tensor has the shape (rows, tokens)."""
        sizes = torch.tensor([self.length(sample) for sample in samples])
        batch = {
            "input_ids": pad_sequence([sample["input_ids"] for sample in samples], True, float(self.pad_id)),
            "attention_mask": (torch.arange(int(sizes.max())) < sizes[:, None]).long(),
        }
        if self.token_types:
            types = [sample["token_type_ids"] for sample in samples]
            batch["token_type_ids"] = pad_sequence(types, True, float(self.tokenizer.pad_token_type_id))
        return batch

    def length(self, sample: Sample) -> int:
        """Tokens."""
        return len(sample["input_ids"])

    def config(self) -> dict[str, Any]:
        """Everything that changes what `encode` returns."""
        return {
            "kind": "text",
            "max_length": self.max_length,
            "token_types": self.token_types,
            "tokenizer": self.tokenizer.backend_tokenizer.to_str()
            if self.tokenizer.is_fast
            else repr(sorted(self.tokenizer.get_vocab().items())),
        }

    def save(self, folder: Path) -> None:
        """The tokenizer's own files."""
        self.tokenizer.save_pretrained(folder)

    @cached_property
    def pad_id(self) -> int:
        """What fills the right; a model without a padding token never looks at it, by the mask."""
        tokenizer = self.tokenizer
        known = (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.bos_token_id)
        return int(next((token for token in known if token is not None), 0))

    @property
    def facts(self) -> dict[str, Any]:
        """What changes of tokens need to know: `mask_id` (or None), `special_ids`, `vocabulary` (its size)."""
        return {
            "mask_id": self.tokenizer.mask_token_id,
            "special_ids": frozenset(self.tokenizer.all_special_ids),
            "vocabulary": len(self.tokenizer),
        }

    def describe(self, sample: Sample) -> str:
        """What the model reads, decoded from the tokens that it gets; special ones included, long texts shortened."""
        text = str(self.tokenizer.decode(sample["input_ids"]))
        tokens = self.length(sample)
        return f"{shorten(text)} ({tokens} tokens)"

    def count(self, items: Sequence[Input]) -> list[int]:
        """Tokens of each input before it is cut, special ones included: for the audit."""
        pairs = [self._pair(item) for item in items]
        joined = [first if second is None else f"{first} {second}" for first, second in pairs]
        return [len(ids) for ids in self.tokenizer(joined, verbose=False)["input_ids"]] if joined else []

    def _pair(self, item: Input) -> tuple[str, str | None]:
        if isinstance(item, ImageRef):
            raise DataError("A text model reads texts; the input is an image. Choose an image model.")
        if isinstance(item, str):
            return item, None
        first, second = item
        if self._joins_pairs:
            return first, second
        # Without a separator of its own the tokenizer would glue the texts together.
        return f"{first}{self.tokenizer.eos_token or ' '}{second}", None

    @property
    def _joins_pairs(self) -> bool:
        count = self.tokenizer.num_special_tokens_to_add
        return bool(count(pair=True) > count(pair=False))

    def _tokenize(self, first: list[str], second: list[str] | None = None) -> Any:
        return self.tokenizer(
            first,
            second,
            truncation=True,
            max_length=self.max_length,
            padding=False,
            return_attention_mask=False,
            return_token_type_ids=self.token_types,
        )

    def _samples(self, encoded: Any) -> list[Sample]:
        samples: list[Sample] = []
        for row, ids in enumerate(encoded["input_ids"]):
            # A decoder's tokenizer makes nothing of an empty text, and a model reads at least one token.
            sample = {"input_ids": torch.tensor(ids or [self.pad_id])}
            if self.token_types:
                types = encoded["token_type_ids"][row] or [self.tokenizer.pad_token_type_id]
                sample["token_type_ids"] = torch.tensor(types)
            samples.append(sample)
        return samples
