"""What the user asked for: one frozen object, whether it came from YAML, flags or keyword arguments.

Every field has a default; `None` means "decide from the data and the model", and the plan replaces
it by a value with a reason. Nothing here imports torch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

Policy = Literal["drop", "keep", "fail"]
Share = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]


def option(default: Any, help: str) -> Any:
    """A field with its default and one line that documents it (shown by `--set help` and in docs/recipe.md)."""
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={"help": help})
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True, kw_only=True)
class DataRecipe:
    """Where the data are, what their columns mean, and what happens to rows that are not fit."""

    path: str | None = option(
        None, "a table, an image folder or a Hub data set; none when objects are passed in Python"
    )
    validation: str | None = option(None, "a second source that is used for validation")
    test: str | None = option(None, "a further source that is used for the test")
    text: str | None = option(None, "column with the text")
    pair: str | None = option(None, "column with a second text")
    image: str | None = option(None, "column with the image's path or bytes")
    target: str | list[str] | None = option(None, "column to predict, or several columns of 0 and 1 (several labels)")
    group: str | None = option(None, "column whose values must not be shared between splits, such as a patient")
    split: str | None = option(None, "column that says train, validation or test")
    separator: str | None = option(None, "what separates several labels within one cell")
    validation_share: Share = option(0.15, "share of rows held back for validation when it is not given")
    test_share: Share = option(0.15, "share of rows held back for the test when it is not given")
    missing: Literal["drop", "impute", "keep", "fail"] = option("drop", "rows with a missing or empty input or target")
    unreadable: Literal["drop", "fail"] = option("drop", "rows and images that cannot be read")
    duplicates: Policy = option("drop", "exact duplicates within a split")
    leaks: Policy = option("drop", "training rows whose input, exactly or nearly, stands in validation or test too")
    label_variants: Literal["merge", "keep", "fail"] = option("merge", "labels that differ only by case or spaces")
    rare: Policy = option("drop", "classes with fewer than `min_per_class` rows")
    min_per_class: Count = option(3, "rows that a class needs, one for each split")
    encoding: str | None = option(None, "text encoding of tables; none detects it")
    max_rows: Count | None = option(None, "use at most so many rows, drawn by seed and class")
    split_seed: Annotated[int, Ge(0), Lt(2**63)] | None = option(
        None, "seed of the splits and of max_rows; none: the recipe's seed"
    )
    drop_suspects: str | None = option(
        None, "a reviewed table of suspected label errors (evidence/labels.csv of a run): its rows are left out"
    )
    max_pixels: Count = option(64_000_000, "larger images are refused (decompression bombs)")


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """Which pre-trained model, and how its architecture changes."""

    name: str | None = option(None, "Hub id, timm name, local folder or embedded model; none takes the embedded one")
    revision: str | None = option(None, "branch, tag or commit on the Hub")
    weights: str | None = option(None, "a local safetensors file with the pre-trained weights of a timm model")
    options: dict[str, Any] = option({}, "further arguments of the model's constructor")
    drop_top: Annotated[int, Ge(0)] = option(0, "how many of the topmost blocks to remove")
    image_size: Count | None = option(None, "side of the square input in pixels")
    channels: Count | None = option(None, "input channels; pre-trained weights are adapted")
    max_length: Count | None = option(None, "tokens read of each text")
    dropout: Annotated[float, Ge(0), Lt(1)] | None = option(None, "dropout rate everywhere")
    pooling: Literal["mean", "first", "last"] | None = option(None, "how token features become one; none: the family's")


@dataclass(frozen=True, kw_only=True)
class PhaseRecipe:
    """A stretch of training with one set of learning groups, as written in a recipe."""

    learn: str | list[str] = option("all", "names or regular expressions of layer groups, 'all', 'head' or 'last:k'")
    epochs: Positive | None = option(None, "length; with until: plateau the most; none: an equal share")
    until: Literal["epochs", "plateau"] = option("epochs", "end after the epochs or when validation stops gaining")
    lr: Positive | None = option(None, "learning rate; none: training.lr")
    scales: dict[str, float] = option({}, "factor on the rate by group name or regular expression")
    name: str | None = option(None, "shown in tables")


@dataclass(frozen=True, kw_only=True)
class MethodRecipe:
    """How to fine-tune: which groups learn, when, and how fast relative to each other."""

    name: str | None = option(None, "see `unfreeze methods`; an argument follows a colon, as in last:2")
    options: dict[str, Any] = option({}, "the method's own settings; `unfreeze methods NAME` lists them")
    layer_decay: Annotated[float, Gt(0), Le(1)] | None = option(None, "rate of each group relative to the one above")
    phases: list[PhaseRecipe] = option([], "a plan written out; replaces the method's own")
    l2_sp: Annotated[float, Ge(0)] = option(0.0, "strength of the pull towards the pre-trained weights")
    group_dro: Annotated[float, Ge(0)] = option(
        0.0, "step by which losses of groups that fare worst come to count more (0.01 is usual); 0: no group DRO"
    )
    ewc: Annotated[float, Ge(0)] = option(
        0.0, "such a pull, on each weight as hard as features depend on it (100 or so); by evaluation.source, if named"
    )
    rehearsal: Share = option(
        0.0, "share of each update's rows that come from evaluation.source, their features held where they were (0.25)"
    )
    distil: Annotated[float, Ge(0)] = option(
        0.0, "strength with which the features of the training rows are held where they were (1 or so)"
    )


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """The loop: how long, how fast, in which batches, and what guards against overfitting."""

    epochs: Positive | None = option(None, "passes over the training data, all phases together")
    batch_size: Count | None = option(None, "rows per update")
    micro_batch: Count | None = option(None, "rows per forward pass; none: the whole batch")
    lr: Positive | None = option(None, "highest rate of the pre-trained layers; none: the family's")
    head_lr: Positive | None = option(None, "highest rate of the new head")
    optimizer: str = option("adamw", "see the docs: adamw, adam, sgd, rmsprop, adafactor, lion, adamw-8bit")
    schedule: str = option("linear", "constant, linear, cosine, polynomial, step, one-cycle, plateau")
    warmup: Share = option(0.1, "share of a phase's updates in which the rate rises from zero")
    weight_decay: Annotated[float, Ge(0)] = option(0.01, "not applied to norms and biases")
    loss: str | None = option(None, "cross-entropy, focal, mse, …; none: the task's")
    label_smoothing: Share = option(0.0, "share of the target spread over all classes")
    class_weights: Literal["none", "balanced", "group-balanced"] = option(
        "none", "weigh classes, or the groups of training.groups (and class), inversely to their frequency"
    )
    sampling: Literal["natural", "balanced", "group-balanced"] = option(
        "natural", "draw every class, or every group of training.groups (and class), equally often"
    )
    groups: list[str] | None = option(
        None, "columns of evaluation.slices whose groups are balanced, crossed with each other; none: all of them"
    )
    grad_clip: Positive | None = option(1.0, "largest norm of the gradient; none: no limit")
    early_stopping: Count | None = option(
        None, "stop after so many epochs without gain; the best weights are kept anyway"
    )
    ema: Annotated[float, Gt(0), Lt(1)] | None = option(None, "decay of an exponential average of the weights")
    augment: list[str] | None = option(
        None, "augmentations of training data, such as flip, crop, mixup:0.2; none: decided"
    )
    precision: Literal["auto", "float32", "bf16"] = option("auto", "arithmetic of all passes; weights stay in float32")
    replay: bool = option(True, "compute what is frozen once per sample")
    cached_views: Annotated[int, Ge(0)] | None = option(
        None, "augmented versions of each image that are kept for replay; 0: each epoch sees a new one; none: decided"
    )
    cache_budget: str | float | None = option(
        None,
        "what kept features may take of memory and disk: 2GB, 0.3, disk, 0; none: 0.4 of free memory, 0.1 of free disk",
    )
    memory_budget: str | None = option(
        None, "most memory that the run may take, such as 6GB: what is left open is chosen to fit; none: no limit"
    )
    gradient_checkpointing: bool | None = option(
        None, "compute activations twice instead of keeping them; none: where memory_budget needs it"
    )
    return_memory: bool | None = option(
        None, "return freed memory to the system at once; none: where memory_budget or gradient_checkpointing need it"
    )
    fast_kernels: bool = option(True, "faster dropout and attention on a CPU, equal up to rounding")
    compile: bool | None = option(
        None, "compile the passes of updates (torch.compile); none: where the run is long enough for it to pay"
    )
    touched_rows: bool = option(
        True, "of embedding tables train only the rows that occur, and let the others decay: equal up to rounding"
    )
    checkpoint_every: Positive = option(60.0, "seconds between checkpoints: the most that a crash can cost")
    checkpoint_steps: Count | None = option(None, "updates between checkpoints, instead of seconds")
    device: str | None = option(None, "cpu, cuda, mps; none: the best there is")
    threads: Count | None = option(None, "CPU threads; none: all cores")


@dataclass(frozen=True, kw_only=True)
class EvaluationRecipe:
    """What is measured, and what is proven before a run is called finished."""

    metric: str | None = option(None, "what validation maximises (or minimises); none: the task's")
    batch_size: Count | None = option(
        None, "rows per forward pass; none: by batch_tokens for texts, as in training, doubled, for images"
    )
    batch_tokens: Count | None = option(
        None, "tokens per forward pass, padding included, where batch_size is not given: short texts in large batches"
    )
    bootstrap: Annotated[int, Ge(0)] = option(1000, "resamples for 95 % intervals; 0: none")
    report: bool = option(True, "collect evidence, and write report.html and MODEL_CARD.md into the run folder")
    evidence_share: Annotated[float, Ge(0)] = option(
        0.1,
        "what evidence that runs the model again may take, as a share of the run's own time; about a second at least",
    )
    shift: list[str] = option([], "further sets, of other domains, on which the model is scored beside the test")
    source: str | None = option(None, "a set that shows what the model could do before: retention is measured on it")
    slices: list[str] = option([], "columns by whose values figures are told for each group, such as age or device")
    swaps: list[list[str]] = option(
        [], "groups of words that should not matter: predictions with each put in another's place are compared"
    )
    scratch: bool = option(
        False, "also train the same network from random weights, for as many epochs; the times of both are told"
    )
    gate: Literal["process", "inline"] = option("process", "reload the saved model in a fresh process, or in this one")
    gate_rows: Count = option(64, "rows whose predictions must be reproduced")
    gate_tolerance: Positive = option(1e-4, "largest difference of any output, relative to the outputs' scale")


@dataclass(frozen=True, kw_only=True)
class OutputRecipe:
    """Where the run is written and what is logged."""

    folder: str | None = option(None, "the run folder; none: runs/<data>-<model>-<method>-<number>")
    tensorboard: bool = option(False, "write event files for TensorBoard into the run folder")
    overwrite: bool = option(False, "replace an existing run in that folder")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Data, model, task, method, training, evaluation: everything that defines a run."""

    data: DataRecipe = option(DataRecipe(), "where the data are")
    model: ModelRecipe = option(ModelRecipe(), "which pre-trained model")
    task: str | None = option(None, "classification, multilabel or regression; none: recognised")
    method: MethodRecipe = option(MethodRecipe(), "which groups learn, when and how fast")
    training: TrainingRecipe = option(TrainingRecipe(), "the loop")
    evaluation: EvaluationRecipe = option(EvaluationRecipe(), "what is measured")
    output: OutputRecipe = option(OutputRecipe(), "where the run is written")
    seed: Annotated[int, Ge(0), Lt(2**63)] = option(0, "of splits, new weights, order, dropout and augmentation")
