"""sentence-transformers' embeddings and scikit-learn's logistic regression: the usual way to a head on text."""

from __future__ import annotations

from typing import Any

from sentence_transformers import SentenceTransformer
from sklearn.linear_model import LogisticRegression

from bench.work import Told, Work, share_equal


def run(work: Work) -> Told:
    """Encode each text once; fit until convergence; score."""
    if work.job.data == "prediction":
        return _use(work)
    told = Told(notes=["until convergence instead of by epochs"])
    with told.timed("loading"):
        encoder = SentenceTransformer(str(work.place))
    with told.timed("encoding the training rows"):
        features = encoder.encode(_texts(work, "train"))
    with told.timed("fitting"):
        heads = [_fitted(strength, features, work) for strength in _strengths(work)]
    with told.timed("scoring"):
        held_out = {split: encoder.encode(_texts(work, split)) for split in ("validation", "test")}
        head = max(heads, key=lambda head: head.score(held_out["validation"], _labels(work, "validation")))
        scores = {split: head.score(found, _labels(work, split)) for split, found in held_out.items()}
    told.rows, told.trainable = len(features), int(head.coef_.size + head.intercept_.size)
    told.validation, told.test = float(scores["validation"]), float(scores["test"])
    told.train_seconds = told.parts["encoding the training rows"] + told.parts["fitting"]
    return told


def _strengths(work: Work) -> list[float]:
    """scikit-learn's default of 1, or 32 strengths to search."""
    return [10 ** (exponent / 8) for exponent in range(-16, 16)] if work.job.method == "sweep" else [1.0]


def _fitted(strength: float, features: Any, work: Work) -> Any:
    head = LogisticRegression(C=strength, max_iter=1000, random_state=work.seed)
    return head.fit(features, _labels(work, "train"))


def _texts(work: Work, split: str) -> list[str]:
    return [text for text, _ in work.splits[split]]


def _labels(work: Work, split: str) -> list[str]:
    return [label for _, label in work.splits[split]]


def _use(work: Work) -> Told:
    """The saved model's encoder for the features, its head by hand."""
    import torch

    from bench.sides._text import saved
    from unfreeze.models.embedded import minilm_folder

    model, labels = saved(work)
    encoder: Any = SentenceTransformer(str(minilm_folder()))
    encoder[0].auto_model.load_state_dict(model.backbone.state_dict(), strict=False)
    features = encoder.encode(_texts(work, "test"), convert_to_tensor=True)
    with torch.inference_mode():
        found = model.head(features).argmax(-1).tolist()
    return Told(rows=len(found), test=share_equal([labels[number] for number in found], _labels(work, "test")))
