"""SetFit without its contrastive step: the body as it is, and its head."""

from __future__ import annotations

from setfit import SetFitModel

from bench.work import Told, Work, share_equal


def run(work: Work) -> Told:
    """Fit the head on encoded texts, score."""
    told = Told(notes=["until convergence instead of by epochs"])
    with told.timed("loading"):
        model = SetFitModel.from_pretrained(str(work.place))
    with told.timed("training"):
        rows = work.splits["train"]
        model.fit([text for text, _ in rows], [label for _, label in rows], num_epochs=work.job.epochs)
    with told.timed("scoring"):
        scores = {
            split: share_equal([str(label) for label in model.predict([t for t, _ in found])], [x for _, x in found])
            for split, found in work.splits.items()
            if split != "train"
        }
    head = model.model_head
    told.rows, told.trainable = len(rows), int(head.coef_.size + head.intercept_.size)
    told.validation, told.test = scores["validation"], scores["test"]
    told.train_seconds = told.parts["training"]
    return told
