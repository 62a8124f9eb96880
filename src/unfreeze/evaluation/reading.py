"""A model reads inputs that nobody trains on: encoded in portions, in batches of similar length, in inference mode."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor

from unfreeze.data.manifest import Input
from unfreeze.machine import keeping_pages
from unfreeze.models.kernels import fast_kernels
from unfreeze.models.pretrained import Pretrained, Sample
from unfreeze.stack.fused_norms import WORTH, fused_norms
from unfreeze.stack.working import Working, make_working
from unfreeze.train.feed import encode_all, to_device
from unfreeze.train.memory import Portions
from unfreeze.train.order import PASS, PASS_ELSEWHERE, TOKENS, TOKENS_ELSEWHERE, reading_batches
from unfreeze.train.precision import choose_precision

ENCODED_TOGETHER = 2000
"""Inputs that are encoded, and sorted by length, at a time: images of a large prediction must not all be in memory."""

IMAGES = 64
"""Images that are read at a time."""


def exact(pretrained: Pretrained) -> Working:
    """The model itself, in float32 and by its library's own kernels."""
    stack = pretrained.stack()
    return Working(stack, stack)


def fast(pretrained: Pretrained, precision: str = "auto") -> Working:
    """A copy of the model that computes in a precision ("auto": what this machine is fast in)."""
    device = next(pretrained.module.parameters()).device
    chosen = choose_precision(device)[0] if precision == "auto" else precision
    stack = pretrained.stack()
    return make_working(stack, chosen, fast_kernels(device))


def read(
    pretrained: Pretrained, working: Working, inputs: Sequence[Input], batch_size: int | None = None
) -> Iterator[tuple[list[int], Tensor]]:
    """Batches of outputs and the numbers of the inputs that they belong to.

    Parameters
    ----------
    batch_size : int, optional
        Inputs that are read at a time; None: as many texts as make a number of tokens, or 64 images.

    Yields
    ------
    list of int, and Tensor of shape (rows, outputs) in float32 on the CPU
    """
    working.module.eval()
    preprocess = pretrained.preprocess
    device = next(working.module.parameters()).device
    portions = Portions()
    size = batch_size if batch_size or pretrained.family.modality == "text" else IMAGES
    tokens, fixed = (TOKENS, PASS) if device.type == "cpu" else (TOKENS_ELSEWHERE, PASS_ELSEWHERE)
    for start in range(0, len(inputs), ENCODED_TOGETHER):
        samples = encode_all(preprocess, inputs[start : start + ENCODED_TOGETHER])

        @torch.inference_mode()
        def outputs_of_rows(rows: Sequence[int], samples: Sequence[Sample] = samples) -> Tensor:
            batch = working.laid_out(to_device(preprocess.collate([samples[row] for row in rows]), device))
            found: Tensor = working.module(**batch).float().cpu()
            return found

        lengths = [preprocess.length(sample) for sample in samples]
        many, images = len(samples) >= WORTH, pretrained.family.modality == "image"
        with ExitStack() as faster:
            if many and images and device.type == "cpu":
                faster.enter_context(keeping_pages())
            # The model itself gives exact outputs; of a copy that is about speed norms may be fused.
            if many and working.module is not working.master.module:
                faster.enter_context(fused_norms(working.module, lambda: outputs_of_rows([0])))
            for batch in reading_batches(lengths, size, tokens=tokens, fixed=fixed):
                for rows, outputs in portions.each(batch, outputs_of_rows):
                    yield [start + row for row in rows], outputs


def outputs_of(
    pretrained: Pretrained, working: Working, inputs: Sequence[Input], batch_size: int | None = None
) -> Tensor:
    """All outputs, of shape (inputs, outputs), in the order of the inputs."""
    found = torch.zeros(len(inputs), pretrained.spec["outputs"])
    for rows, outputs in read(pretrained, working, inputs, batch_size):
        found[rows] = outputs
    return found
