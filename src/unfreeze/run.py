"""A run: the folder that holds everything one fine-tuning produced, and what can be done with it."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.data.io import read_manifest
from unfreeze.data.manifest import Input, Manifest, Quarantined
from unfreeze.errors import DataError, RunError, nearest, sentence
from unfreeze.models.pretrained import Pretrained
from unfreeze.recipe import Recipe
from unfreeze.recipe_io import load_recipe
from unfreeze.tasks import TASKS
from unfreeze.tasks._task import Task
from unfreeze.train.files import read_json, write_json

if TYPE_CHECKING:
    from unfreeze.evaluation.calibration import Calibration, Step
    from unfreeze.evaluation.out_of_distribution import Reference

RECIPE, MANIFEST, STATUS, RESULT = "recipe.resolved.yaml", "manifest.json", "status.json", "result.json"
SWEEP, SOUP, LOG = "sweep.json", "soup.json", "log.jsonl"
PRECISIONS = ("auto", "bf16", "float32")


@dataclass(frozen=True)
class Run:
    """A finished or unfinished run, read from its folder."""

    path: Path

    @cached_property
    def recipe(self) -> Recipe:
        """The resolved recipe."""
        return load_recipe(self.path / RECIPE)

    @cached_property
    def manifest(self) -> Manifest:
        """What the data turned out to be."""
        try:
            return read_manifest(self.path / MANIFEST)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _damaged(self.path / MANIFEST, error) from None

    @property
    def status(self) -> str:
        """running, interrupted, failed or finished."""
        return str(_read(self.path / STATUS).get("status"))

    @property
    def weights(self) -> str | None:
        """sha256 of the pre-trained weights that the run began with, if they were loaded."""
        value = _read(self.path / STATUS).get("weights")
        return None if value is None else str(value)

    @property
    def hooks(self) -> list[str]:
        """Names of the hooks that were given in Python, beside those that the recipe asks for."""
        return [str(name) for name in _read(self.path / STATUS).get("hooks") or ()]

    @property
    def cost(self) -> dict[str, Any] | None:
        """Of an unfinished run, what its sessions have taken so far, as `unfreeze.energy.Meter` reads it."""
        found: dict[str, Any] | None = _read(self.path / STATUS).get("cost")
        return found

    @cached_property
    def result(self) -> dict[str, Any]:
        """Everything that was measured.

        Raises
        ------
        RunError
            If the run is not finished.
        """
        if not (self.path / RESULT).exists():
            raise RunError(
                f"The run '{self.path}' is not finished (status: {self.status}). Continue it with: "
                f"unfreeze resume {shlex.quote(str(self.path))}"
            )
        result = _read(self.path / RESULT)
        if not {"model", "metric", "test", "parameters"} <= result.keys():
            raise RunError(f"'{self.path / RESULT}' is damaged: it lacks figures that every finished run has.")
        return result

    @cached_property
    def sweep(self) -> dict[str, Any]:
        """What a sweep tried before it made this run: every configuration's figures on validation, and the choice.

        Raises
        ------
        RunError
            If the run was not made by a sweep.
        """
        if not (self.path / SWEEP).exists():
            raise RunError(f"The run '{self.path}' was not made by a sweep: it has no {SWEEP}.")
        return _read(self.path / SWEEP)

    @cached_property
    def soup(self) -> dict[str, Any]:
        """Of a run that is the mean of others: which ones, their figures on validation, and which of them it holds.

        Raises
        ------
        RunError
            If the run is no such mean.
        """
        if not (self.path / SOUP).exists():
            raise RunError(f"The run '{self.path}' is no soup of other runs: it has no {SOUP}.")
        return _read(self.path / SOUP)

    @property
    def metrics(self) -> dict[str, float]:
        """The test split's figures by name; validation's if there is no test split."""
        figures = self.result["test"] or self.result["validation"]
        return {name: figure["value"] for name, figure in figures.items()}

    @cached_property
    def evidence(self) -> dict[str, dict[str, Any]]:
        """What was found out about the run beyond its figures, by kind of evidence."""
        return {file.stem: _read(file) for file in sorted((self.path / "evidence").glob("*.json"))}

    @cached_property
    def task(self) -> Task:
        """What is predicted."""
        return TASKS.get(self.manifest.task)

    @cached_property
    def pretrained(self) -> Pretrained:
        """The fine-tuned model, loaded from this folder without any network."""
        from unfreeze.models.store import load

        if not (self.path / RESULT).exists():
            _ = self.result
        return load(self.path / "model")

    @cached_property
    def calibration(self) -> Calibration | None:
        """What makes probabilities mean what they say, fitted on validation; None where the run has none."""
        from unfreeze.evaluation.calibration import read_calibration

        return read_calibration(self.path / "model")

    @cached_property
    def reference(self) -> Reference | None:
        """How far validation rows lie from their classes, against which new rows are held; None where it is unknown."""
        from unfreeze.evaluation.out_of_distribution import read_reference

        return read_reference(self.path / "model")

    def threshold(self, error_rate: float) -> Step:
        """Below which confidence to abstain for a wished error rate, and what came of it on validation and test.

        Raises
        ------
        RunError
            If the run has no calibration, or its validation rows cannot show such a rate.
        """
        if self.calibration is None:
            raise RunError(
                f"The run '{self.path}' has no calibration to abstain by: it had no validation rows, or collected no "
                f"evidence. `unfreeze report {shlex.quote(str(self.path))} --again` collects it."
            )
        return self.calibration.step_for(error_rate)

    def predict(
        self,
        source: Any,
        batch_size: int | None = None,
        precision: str = "auto",
        *,
        calibrated: bool = True,
        error_rate: float | None = None,
        by_group: str | None = None,
        criterion: str = "equal-opportunity",
    ) -> list[dict[str, Any]]:
        """Predictions for new data.

        Parameters
        ----------
        source : path, list of inputs, DataFrame or anything that `fit` takes; targets are not needed
        precision : "auto", "bf16" or "float32"
            "auto" takes what this machine is fast in; the saved weights are float32.
        calibrated : bool
            Divide outputs by the run's temperature, if it has one: probabilities change, predictions do not. Numbers
            get an `interval`.
        error_rate : float, optional
            The error rate that is wished: where the model is not sure enough for it, `prediction` is None, and
            `best_guess` stands beside it.
        by_group : str, optional
            A column of evaluation.slices, which the source has to hold: of two labels each group is decided by a
            threshold of its own. That treats people by their group; the report says what it does and costs.
        criterion : "equal-opportunity" or "equal-selection"
            What those thresholds make equal: the share recognised of the truly positive, or the share selected.

        Returns
        -------
        list of dict
            In the order of the source: `origin`, `text` (and `pair`) as it was read, `prediction`, and
            `probabilities` for classes. `ood_percentile`: per cent of the validation rows that lie nearer to their
            classes than this row to any (99: out of distribution, most likely). Rows that cannot be read have none:
            see `predict_all`.

        Raises
        ------
        RunError
            If an error rate is wished that the run cannot show, or thresholds that it does not have.
        """
        return self.predict_all(
            source,
            batch_size,
            precision,
            calibrated=calibrated,
            error_rate=error_rate,
            by_group=by_group,
            criterion=criterion,
        )[0]

    def predict_all(
        self,
        source: Any,
        batch_size: int | None = None,
        precision: str = "auto",
        *,
        calibrated: bool = True,
        error_rate: float | None = None,
        by_group: str | None = None,
        criterion: str = "equal-opportunity",
    ) -> tuple[list[dict[str, Any]], tuple[Quarantined, ...]]:
        """As `predict`, and the rows that were left out with the reason of each."""
        from unfreeze.data.prepare import unlabelled
        from unfreeze.evaluation.calibration import abstain, decode
        from unfreeze.evaluation.out_of_distribution import entering_head
        from unfreeze.evaluation.reading import read

        if error_rate is not None and by_group is not None:
            raise RunError("Predictions either abstain for an error rate or are decided by group; got both.")
        step = None if error_rate is None else self.threshold(error_rate)
        examples, left_out = unlabelled(source, self.manifest, self.recipe.data)
        groups = None
        if by_group is not None:
            from unfreeze.evidence._thresholds import by_group as deciding

            groups = deciding(self.path, self.manifest, by_group, criterion, examples)
        form, calibration, reference = self._fast(precision), self.calibration, self.reference
        decoded: dict[int, dict[str, Any]] = {}
        with entering_head(form.module) as entering:
            for rows, outputs in read(self.pretrained, form, examples.inputs, batch_size):
                told = decode(self.task, outputs, self.manifest, calibration if calibrated else None)
                if step is not None and calibration is not None:
                    told = abstain(told, calibration.confidence(outputs), step)
                if groups is not None:
                    told = groups.decide(rows, told, outputs)
                if reference is not None:
                    places = reference.percentile(entering.features()).tolist()
                    told = [{**row, "ood_percentile": place} for row, place in zip(told, places, strict=True)]
                decoded.update(zip(rows, told, strict=True))
        parts = zip(examples.origin, examples.inputs, (decoded[row] for row in range(len(examples))), strict=True)
        return [{"origin": origin, **_texts(item), **row} for origin, item, row in parts], left_out

    def evaluate(self, source: Any, batch_size: int | None = None, precision: str = "auto") -> dict[str, Any]:
        """Figures on labelled data, with intervals, and the rows that were left out. Of data with splits: the test.

        Parameters
        ----------
        precision : "auto", "bf16" or "float32"

        Raises
        ------
        DataError
            If no row of the source can be scored.
        """
        from unfreeze.data.prepare import labelled
        from unfreeze.evaluation.intervals import with_intervals
        from unfreeze.evaluation.reading import read

        examples, left_out = labelled(source, self.manifest, self.recipe.data)
        if not len(examples):
            reasons = {item.reason for item in left_out}
            raise DataError(f"None of the {len(left_out)} rows can be scored: {'; '.join(sorted(reasons)[:3])}.")
        scorer = self.task.scorer(self.manifest)
        targets = self._targets(examples.targets)
        for rows, outputs in read(self.pretrained, self._fast(precision), examples.inputs, batch_size):
            scorer.update(outputs, targets[rows])
        figures = with_intervals(scorer, self.recipe.evaluation.bootstrap, self.recipe.seed)
        return {
            "rows": len(examples),
            "split": examples.split,
            "left_out": [{"origin": item.origin, "reason": item.reason} for item in left_out],
            "metrics": figures,
        }

    def _fast(self, precision: str) -> Any:
        """The model in the form that computes, made once for each precision."""
        from unfreeze.evaluation.reading import fast

        if precision not in PRECISIONS:
            raise RunError(f"Unknown precision '{precision}'. {nearest(precision, PRECISIONS)}")
        if precision not in self._forms:
            self._forms[precision] = fast(self.pretrained, precision)
        return self._forms[precision]

    @cached_property
    def _forms(self) -> dict[str, Any]:
        return {}

    def _targets(self, targets: Any) -> Any:
        from unfreeze.tasks._task import encode_targets

        return encode_targets(self.task.encode, targets, self.manifest)


def _texts(item: Input) -> dict[str, str]:
    """What was read, where it is text; images are told by their origin."""
    if isinstance(item, tuple):
        return {"text": item[0], "pair": item[1]}
    return {"text": item} if isinstance(item, str) else {}


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> RunError:
    reason = f"it lacks {error}" if isinstance(error, KeyError) else getattr(error, "strerror", None) or str(error)
    return RunError(f"'{path}' is missing or damaged: {sentence(reason)}")


def open_run(path: str | Path) -> Run:
    """A run by its folder.

    Raises
    ------
    RunError
        If the folder is missing or holds no run.
    """
    folder = Path(path)
    try:
        found = (folder / STATUS).exists()
    except OSError as error:
        raise RunError(f"There is no run '{folder}' ({error.strerror}).") from None
    if found:
        return Run(folder)
    if folder.is_dir() and _never_began(folder):
        raise RunError(f"'{folder}' was stopped before training began: give the same fit command again.")
    if not folder.exists():
        beside = sorted(item.parent.name for item in folder.parent.glob(f"*/{STATUS}"))
        near = f" Runs there: {', '.join(beside[:5])}." if beside else ""
        raise RunError(f"There is no run '{folder}'.{near}")
    raise RunError(f"'{folder}' is not a run: it has no {STATUS}.")


def new_run_folder(wanted: str | None, stem: str, overwrite: bool, sources: Iterable[str | None] = ()) -> Path:
    """Make the folder of a new run.

    Parameters
    ----------
    sources : iterable of str or None
        What the run reads: a folder that holds any of it is not replaced.

    Raises
    ------
    RunError
        If it holds something already, or cannot be written.
    """
    folder = Path(wanted) if wanted else _numbered(Path("runs"), _plain(stem))
    check_folder(folder, overwrite, sources)
    with _said(folder):
        if folder.exists() and (_is_run(folder) or _never_began(folder)):
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".probe"
        probe.touch()
        probe.unlink()
    return folder


def check_folder(folder: Path, overwrite: bool, sources: Iterable[str | None] = ()) -> None:
    """Refuse an output folder that is taken, before any work is done and without writing anything.

    Raises
    ------
    RunError
        If there is something in it, except a run that may be overwritten.
    """
    with _said(folder):
        if not folder.exists() or not any(folder.iterdir()) or _never_began(folder):
            return
        if not _is_run(folder):
            hint = "It holds files that no run wrote, so it is left alone; choose another output folder."
        elif not overwrite:
            hint = "Choose another output folder, or replace the run in it with --overwrite."
        else:
            inside = [
                source for source in sources if source and Path(source).resolve().is_relative_to(folder.resolve())
            ]
            if not inside:
                return
            hint = f"It is not replaced, since '{inside[0]}' lies in it."
    raise RunError(f"The output folder '{folder}' is not empty. {hint}")


def _is_run(folder: Path) -> bool:
    return (folder / STATUS).exists() and (folder / RECIPE).exists()


def _never_began(folder: Path) -> bool:
    """Whether a process was killed while it made this folder: it holds only what a run writes before its status."""
    first = (RECIPE, MANIFEST, "quarantine.jsonl", SWEEP, SOUP, LOG, STATUS)
    written = {".probe", *first[:-1], *(f".{name}.tmp" for name in first)}
    names = {item.name for item in folder.iterdir()}
    return names <= written and bool(names & {".probe", RECIPE, f".{RECIPE}.tmp"})


@contextmanager
def _said(folder: Path) -> Iterator[None]:
    """What a file system says of a folder, as one clear message."""
    try:
        yield
    except (FileExistsError, NotADirectoryError):
        raise RunError(f"The output folder '{folder}' cannot be made: a file is in the way.") from None
    except PermissionError:
        raise RunError(f"The output folder '{folder}' cannot be written (permission denied).") from None
    except OSError as error:
        raise RunError(f"The output folder '{folder}' cannot be written ({os.strerror(error.errno or 0)}).") from None
    except ValueError as error:
        raise RunError(f"The output folder {str(folder)!r} is no name for a folder ({error}).") from None


def missing_of(run: Run) -> dict[str, str]:
    """By kind of evidence, why it was not collected."""
    found: dict[str, str] = (run.evidence.get("collected") or {}).get("missing") or {}
    return found


def how_to_collect(run: Run) -> str:
    """How all evidence of a run is collected and its report made: a command, or a call where data came from Python."""
    if run.recipe.data.path is None:
        return f"unfreeze.write_report({str(run.path)!r}, again=True, data=…)"
    return f"unfreeze report {shlex.quote(str(run.path))} --again"


def _plain(stem: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", stem.lower()).strip("-.")[:80] or "run"


def _numbered(parent: Path, stem: str) -> Path:
    taken = {path.name for path in parent.glob(f"{stem}-*")} if parent.exists() else set()
    number = next(number for number in range(1, len(taken) + 2) if f"{stem}-{number}" not in taken)
    return parent / f"{stem}-{number}"


def set_status(folder: Path, status: str, **more: Any) -> None:
    """Write how a run stands."""
    write_json(folder / STATUS, {"status": status, **more})
