"""Non-maximum suppression in plain PyTorch, against the definition written out."""

from __future__ import annotations

import subprocess
import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unfreeze import _torchvision


def naive(boxes: list[list[float]], scores: list[float], threshold: float) -> list[int]:
    def area(box: list[float]) -> float:
        return (box[2] - box[0]) * (box[3] - box[1])

    def overlap(a: list[float], b: list[float]) -> float:
        wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
        tall = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
        return wide * tall / (area(a) + area(b) - wide * tall)

    kept: list[int] = []
    for index in sorted(range(len(boxes)), key=lambda i: -scores[i]):
        if all(not overlap(boxes[index], boxes[other]) > threshold for other in kept):
            kept.append(index)
    return kept


corner = st.integers(0, 12)
side = st.integers(1, 8)
box = st.tuples(corner, corner, side, side).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(box, st.integers(0, 5)), max_size=12), st.sampled_from([0.0, 0.26, 0.51, 1.0]))
def test_kept_boxes_are_those_of_the_definition(rows: list[tuple[list[float], int]], threshold: float) -> None:
    boxes, scores = [list(box) for box, _ in rows], [float(score) for _, score in rows]
    dets = torch.tensor(boxes).reshape(-1, 4)
    assert _torchvision.nms(dets, torch.tensor(scores), threshold).tolist() == naive(boxes, scores, threshold)


def test_bytes_as_of_quantised_boxes_do_not_wrap_around() -> None:
    boxes = torch.tensor([[10, 10, 200, 200], [12, 12, 200, 200], [0, 0, 5, 5]], dtype=torch.uint8)
    assert _torchvision.nms(boxes, torch.tensor([1, 2, 0]), 0.5).tolist() == [1, 2]


def test_torchvision_and_timm_can_be_imported_afterwards() -> None:
    code = (
        "from unfreeze import _torchvision; import torch, timm, torchvision.transforms.v2; "
        "print(torch.ops.torchvision.nms(torch.tensor([[0., 0, 2, 2], [0, 0, 2, 1.9]]), torch.tensor([.5, .9]), .5))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "tensor([1])" in done.stdout
