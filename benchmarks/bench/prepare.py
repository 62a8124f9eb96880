"""What jobs need before the clock starts: `python -m bench.prepare KIND PLACE` makes a run, or weights from a seed."""

from __future__ import annotations

import sys
from pathlib import Path

PER_CLASS = 8
EPOCHS = 10


def finished_run(place: Path) -> None:
    """A fine-tuned model for the prediction jobs."""
    import unfreeze
    from bench.data import to_learn_before

    keep = {"duplicates": "keep", "leaks": "keep", "rare": "keep"}
    data = to_learn_before(PER_CLASS)
    unfreeze.fit(data, "all-MiniLM-L6-v2", method="head", epochs=EPOCHS, output=place, overwrite=True, **keep)


def random_weights(place: Path) -> None:
    """A timm network as its constructor makes it."""
    from safetensors.torch import save_file

    from unfreeze.models.image import network

    state = network(place.stem, {}, seed=0).state_dict()
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, place)


def random_text_model(place: Path) -> None:
    """A transformers model as its constructor makes it, with the embedded model's tokenizer."""
    import torch
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    from bench.jobs import JOBS
    from unfreeze.models.embedded import minilm_folder

    asked = dict(next(job.model for job in JOBS if job.model.name == place.name).config)
    tokenizer = AutoTokenizer.from_pretrained(minilm_folder())
    config = AutoConfig.for_model(asked.pop("model_type"), **asked, vocab_size=len(tokenizer))
    torch.manual_seed(0)
    AutoModel.from_config(config).save_pretrained(place)
    tokenizer.save_pretrained(place)


if __name__ == "__main__":
    {"run": finished_run, "weights": random_weights, "text": random_text_model}[sys.argv[1]](Path(sys.argv[2]))
