"""Several adapters over one base in one process: the base's weights are in memory once, whoever predicts.

>>> both = unfreeze.load_together({"stars": "runs/stars", "topic": "runs/topic"})   # doctest: +SKIP
>>> both.predict(["What a film!"], adapter="topic")                                 # doctest: +SKIP
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from unfreeze.errors import ModelError, RunError, nearest
from unfreeze.run import Run, open_run

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unfreeze.models.pretrained import Pretrained

Place: TypeAlias = "Run | str | Path"


def load_together(runs: Mapping[str, Place] | Iterable[Place]) -> Together:
    """Load runs that hold adapters over the same pre-trained model, which is read and kept once.

    Parameters
    ----------
    runs : mapping of name to run, or sequence of runs
        Runs or their folders. Without names each is called as its folder is.

    Raises
    ------
    RunError
        If a run is missing or unfinished, or two have the same name.
    ModelError
        If a run holds a whole model and no adapter, or learned on another base than the first.
    """
    from unfreeze.models.store import base_of

    opened = {name: place if isinstance(place, Run) else open_run(place) for name, place in _named(runs).items()}
    if not opened:
        raise RunError("There is nothing to load together: expected at least one run.")
    for run in opened.values():
        _ = run.result  # of an unfinished run there is no model
    base = base_of(next(iter(opened.values())).path / "model")
    models: dict[str, Pretrained] = {}
    for name, run in opened.items():
        models[name] = _over(run, base, list(models.values()))
    held = {id(tensor) for model in models.values() for _, _, tensor in _tensors(model.module)}
    # Whole weights of which every run keeps codes only are let go.
    tensors = {name: tensor for name, _, tensor in _tensors(base.module) if id(tensor) in held}
    return Together({name: _holding(run, models[name]) for name, run in opened.items()}, Base(tensors))


@dataclass(frozen=True)
class Base:
    """The tensors of a pre-trained model that others are made of, by name; and cast, where predictions compute so."""

    tensors: Mapping[str, Tensor] = field(repr=False)
    _casts: dict[tuple[str, Tensor], Tensor] = field(default_factory=dict, repr=False)

    def predict(self, run: Run, source: Any, precision: str, options: Mapping[str, Any]) -> list[dict[str, Any]]:
        """A run's predictions, computed with one copy of the base in that precision."""
        form = run._fast(precision)
        shared = {id(tensor) for tensor in self.tensors.values()}
        for group in form.master.groups:
            pairs = zip(form.master.parameters(group), form.stack.parameters(group), strict=True)
            for (_, whole), (_, mine) in pairs:
                if id(whole) in shared and mine is not whole:
                    mine.data = self._casts.setdefault((str(mine.dtype), whole), mine.data)
        return run.predict(source, precision=precision, **options)


@dataclass(frozen=True)
class Together:
    """Runs by name, whose models share the tensors of one base."""

    runs: Mapping[str, Run]
    base: Base = field(repr=False)

    @property
    def adapters(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(self.runs)

    def predict(self, source: Any, adapter: str, *, precision: str = "auto", **options: Any) -> list[dict[str, Any]]:
        """Predictions of one of the adapters for new data, as `Run.predict` makes them; it says what `options` are.

        Raises
        ------
        RunError
            If there is no adapter of that name.
        """
        return self.base.predict(self._run(adapter), source, precision, options)

    def average(
        self, adapters: Sequence[str] | None = None, weights: Sequence[float] | None = None, head: str | None = None
    ) -> Average:
        """A model that is the average of several adapters: of what they add to the base's weights.

        Of `lora` and `qlora` that is the mean of their updates, exactly up to rounding: the average's rank is the sum
        of theirs, since the mean of factors is not that of products. Of other methods each learned tensor is averaged;
        outputs are the mean of outputs only where they depend on it linearly, as on IA3's scales within a layer.

        Parameters
        ----------
        adapters : sequence of str, optional
            Names; None: all.
        weights : sequence of float, optional
            One for each, of any sum above zero; None: equal ones.
        head : str, optional
            The adapter whose head, labels and preprocessing are kept. None: heads are averaged as well, which needs
            the same labels in the same order.

        Raises
        ------
        RunError
            If a name is unknown, a weight is no number of at least zero, or the labels differ.
        ModelError
            If methods, their settings or the tensors' shapes differ, or updates are DoRA's, which have no mean.

        References
        ----------
        Chronopoulou et al. 2023, AdapterSoup, arXiv:2302.07027. What started alike can be averaged.
        """
        names = list(self.runs if adapters is None else adapters)
        shares = _shares(names, weights)
        runs = {name: self._run(name) for name in names}
        kept = runs[names[0]] if head is None else self._run(head)
        _check_alike({**runs, **({} if head is None else {head: kept})})
        if head is None:
            _check_heads(runs)
        model = _averaged(kept, runs, shares, with_head=head is None)
        # What was measured of the run, to calibrate or to tell strange rows by, says nothing about the average.
        run = _holding(kept, model, calibration=None, reference=None)
        return Average(dict(zip(names, shares, strict=True)), run, self.base)

    def _run(self, name: str) -> Run:
        if name not in self.runs:
            raise RunError(f"There is no adapter '{name}' here. {nearest(name, self.runs)}")
        return self.runs[name]


@dataclass(frozen=True)
class Average:
    """A model made of several adapters: it predicts and is scored as a run, uncalibrated. `shares` sum to 1."""

    shares: Mapping[str, float]
    _run: Run = field(repr=False)
    _base: Base = field(repr=False)

    @property
    def pretrained(self) -> Pretrained:
        """The model."""
        return self._run.pretrained

    def predict(self, source: Any, *, precision: str = "auto", batch_size: int = 64) -> list[dict[str, Any]]:
        """As `Run.predict`."""
        return self._base.predict(self._run, source, precision, {"batch_size": batch_size})

    def evaluate(self, source: Any, batch_size: int = 64, precision: str = "auto") -> dict[str, Any]:
        """As `Run.evaluate`."""
        return self._run.evaluate(source, batch_size, precision)


def _named(runs: Mapping[str, Place] | Iterable[Place]) -> dict[str, Place]:
    if isinstance(runs, Mapping):
        return dict(runs)
    named: dict[str, Place] = {}
    for place in [runs] if isinstance(runs, (str, Path, Run)) else runs:
        name = (place.path if isinstance(place, Run) else Path(place)).resolve().name
        if name in named:
            raise RunError(f"Two of the runs are called '{name}': give them names, as in {{'first': …, 'second': …}}.")
        named[name] = place
    return named


def _holding(run: Run, pretrained: Pretrained, **known: None) -> Run:
    """The run with a model that is in memory already, where it would keep the one that it loads."""
    held = Run(run.path)
    vars(held).update(pretrained=pretrained, **known)
    return held


# ---------------------------------------------------------------------------------------------- one base


def _over(run: Run, base: Pretrained, others: Sequence[Pretrained]) -> Pretrained:
    """A run's model on the tensors of a base that is in memory, and on other models' codes of it that are equal."""
    from unfreeze.models.quantised import QuantisedLinear

    found = _on(run, base)
    for other in others:
        _share_equal(found.module, other.module, QuantisedLinear)
    return found


def _on(run: Run, base: Pretrained) -> Pretrained:
    from unfreeze.models.sources import read_description
    from unfreeze.models.store import DESCRIPTION, base_of, load

    folder = run.path / "model"
    description = read_description(folder / DESCRIPTION)
    spec = {key: value for key, value in description.get("spec", {}).items() if key != "tuning"}
    if "base" in description and spec == base.spec:
        return load(folder, base)
    # Another number of labels, or texts of another length: it has a base of its own, of which most is the same.
    own = base_of(folder)
    if own.provenance.sha256 != base.provenance.sha256:
        raise ModelError(
            f"The adapter of '{run.path}' learned on another base ('{own.provenance.name}') than that of the first run "
            f"('{base.provenance.name}'): load them apart."
        )
    _share_equal(own.module, base.module)
    return load(folder, own)


def _share_equal(module: nn.Module, other: nn.Module, kind: type[nn.Module] | None = None) -> None:
    """Let a module have the tensors of another of its kind, in place, wherever they are equal: all, or one kind's."""
    import torch

    there = {name: tensor for name, _, tensor in _tensors(other, kind)}
    for name, keeper, tensor in list(_tensors(module, kind)):
        known = there.get(name)
        if known is not None and known.shape == tensor.shape and torch.equal(known, tensor):
            keeper[name.rpartition(".")[2]] = known


def _tensors(module: nn.Module, kind: type[nn.Module] | None = None) -> Iterator[tuple[str, dict[str, Any], Tensor]]:
    """Every parameter and buffer under each of its names, and the dictionary that holds it; or of layers of a kind."""
    for name, child in module.named_modules(remove_duplicate=False):
        if kind is not None and not isinstance(child, kind):
            continue
        for keeper in (child._parameters, child._buffers):
            for leaf, tensor in keeper.items():
                if tensor is not None:
                    yield f"{name}.{leaf}" if name else leaf, keeper, tensor


# ---------------------------------------------------------------------------------------------- averages


def _shares(names: Sequence[str], weights: Sequence[float] | None) -> list[float]:
    """Weights that sum to 1."""
    if not names or len(set(names)) < len(names):
        raise RunError(f"Expected the names of different adapters to average. Got {list(names)}.")
    given = [1.0] * len(names) if weights is None else [float(weight) for weight in weights]
    if len(given) != len(names):
        raise RunError(f"Expected a weight for each of {len(names)} adapters. Got {len(given)}.")
    if not all(math.isfinite(weight) and weight >= 0 for weight in given) or not sum(given):
        raise RunError(f"Weights must be numbers of at least 0, and not all of them 0. Got {given}.")
    return [weight / sum(given) for weight in given]


def _check_alike(runs: Mapping[str, Run]) -> None:
    """Adapters of another kind, place or width have no tensors in common."""
    (first, *others) = runs
    one = runs[first].pretrained.spec["tuning"]
    for name in others:
        other = runs[name].pretrained.spec["tuning"]
        if one["method"] != other["method"]:
            raise ModelError(
                f"Only adapters of one method can be averaged: '{first}' is made by '{one['method']}', '{name}' by "
                f"'{other['method']}'."
            )
        mine, theirs = one["options"], other["options"]
        differing = [
            f"{key} {mine.get(key)} and {theirs.get(key)}"
            for key in sorted({*mine, *theirs})
            if mine.get(key) != theirs.get(key)
        ]
        if differing:
            raise ModelError(
                f"Only adapters of equal settings can be averaged: '{first}' and '{name}' have {', '.join(differing)}."
            )


def _check_heads(runs: Mapping[str, Run]) -> None:
    """Outputs that mean something else cannot be averaged."""
    (first, *others) = runs
    meanings = {
        name: (run.manifest.task, run.manifest.labels, run.manifest.target_mean, run.manifest.target_scale)
        for name, run in runs.items()
    }
    for name in others:
        if meanings[name] != meanings[first]:
            raise RunError(
                f"The heads of '{first}' and '{name}' cannot be averaged, since their outputs mean different things "
                f"(task, labels or scale). Say whose head is kept, as in head='{first}'."
            )


def _averaged(run: Run, runs: Mapping[str, Run], shares: Sequence[float], with_head: bool) -> Pretrained:
    """A copy of a run's model, in which what learned in any of the runs is their average, and the rest is shared."""
    import torch
    from torch import nn

    from unfreeze.models.sources import read_safetensors
    from unfreeze.models.store import WEIGHTS

    # What counts nothing is not there: it would only make updates longer.
    counted = {name: share for name, share in zip(runs, shares, strict=True) if share}
    model = _copy(run.pretrained)
    summed = _sum_updates(model, {name: runs[name].pretrained for name in counted}, list(counted.values()))
    stack = model.stack()
    head = stack.groups[-1]
    left = set() if with_head else {*head.parameters, *head.buffers}
    left |= {name for name in model.module.state_dict() if summed and ".lora_" in name}
    learned = {name for other in runs.values() for name in read_safetensors(other.path / "model" / WEIGHTS)} - left
    states = [runs[name].pretrained.module.state_dict() for name in counted]
    for name, keeper, tensor in list(_tensors(model.module)):
        if stack.tied.get(name, name) not in learned or not tensor.is_floating_point():
            continue  # the base's, or a count
        mean = torch.zeros_like(tensor, requires_grad=False)
        for share, state in zip(counted.values(), states, strict=True):
            if name not in state or state[name].shape != tensor.shape:
                raise ModelError(f"Models of different shapes cannot be averaged: '{name}' is not the same in all.")
            mean.add_(state[name], alpha=share)
        # A new tensor: the old one is the run's own, or the base's.
        keeper[name.rpartition(".")[2]] = nn.Parameter(mean) if isinstance(tensor, nn.Parameter) else mean
    return model


def _copy(pretrained: Pretrained) -> Pretrained:
    """Another module of the same tensors."""
    tensors = {id(tensor): tensor for _, _, tensor in _tensors(pretrained.module)}
    module = copy.deepcopy(pretrained.module, tensors)  # type: ignore[arg-type]
    return replace(pretrained, module=module, spec=copy.deepcopy(pretrained.spec))


def _sum_updates(model: Pretrained, others: Mapping[str, Pretrained], shares: Sequence[float]) -> bool:
    """Give a model with low-rank updates the weighted sum of several models' ones, in place; whether it has any.

    Raises
    ------
    ModelError
        If they are DoRA's.
    """
    from unfreeze.methods._peft import adapted
    from unfreeze.models.low_rank import ADAPTER, exchanged
    from unfreeze.models.summed_updates import sum_updates

    layers = {name: layer for name, layer in adapted(model).items() if hasattr(layer, "lora_A")}
    if len(others) < 2 or not layers:
        return False
    options = model.spec["tuning"]["options"]
    if options["dora"]:
        raise ModelError(
            f"The updates of {', '.join(map(repr, others))} cannot be averaged: with dora base and update are brought "
            "to a learned length together, output by output, and the mean of several is no update of that kind."
        )
    theirs = [adapted(other) for other in others.values()]
    for name, layer in layers.items():
        if any(name not in each for each in theirs):
            raise ModelError(f"Models of different shapes cannot be averaged: '{name}' is not adapted in all.")
        sum_updates(layer, [exchanged(each[name]) for each in theirs], shares)
    model.spec["tuning"]["options"] = {
        **options,
        "rank": layer.r[ADAPTER],
        "alpha": float(layer.lora_alpha[ADAPTER]),
        "start": "kaiming",
    }
    return True
