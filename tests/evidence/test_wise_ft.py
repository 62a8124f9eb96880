"""WiSE-FT as a whole run: the saved model is the mixture that validation chose, statistics and all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from collecting import ASKED as TOLD
from collecting import only
from small import KillAt, Killed, essence, fit_images, fit_text, resume, weights

from unfreeze.errors import RecipeError
from unfreeze.evidence._context import Context
from unfreeze.methods._parse import all_settings
from unfreeze.progress import Silent
from unfreeze.recipe import MethodRecipe
from unfreeze.run import Run
from unfreeze.train.interpolation import Interpolation
from unfreeze.train.loop import put
from unfreeze.train.scoring import score
from unfreeze.train.statistics import estimate_statistics, norms_of

Made = tuple[Run, Context, Interpolation]


@pytest.fixture(scope="module", params=["text", "images"])
def made(request: pytest.FixtureRequest, home: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("wise") / request.param
    fit = fit_text if request.param == "text" else fit_images
    with only("wise-ft") as contexts:
        run = fit(home, folder, method="wise-ft", epochs=4, augment=[], **ASKED)
    hook = next(hook for hook in contexts[0].job.hooks if isinstance(hook, Interpolation))
    return run, contexts[0], hook


ASKED: dict[str, Any] = {**TOLD, "metric": "nll"}


def test_the_saved_model_is_the_chosen_mixture(made: Made) -> None:
    run, _, hook = made
    assert hook.taken is not None
    saved, mixture = weights(run), hook.at(hook.taken)
    assert all(torch.equal(tensor, mixture[name]) for name, tensor in saved.items() if name in mixture)
    assert run.result["gate"]["passed"]
    assert any(f"alpha {hook.taken:g}" in note for note in run.result["notes"])


def test_the_ends_are_the_probe_and_the_fine_tuned_weights(made: Made) -> None:
    _, context, hook = made
    module = context.before.module
    probe = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    head = set(context.stack.groups[-1].parameters)
    start = hook.at(0.0)
    for name, tensor in start.items():
        assert torch.equal(tensor, probe[name].cpu()) != (name in head), f"{name}: only the head has learned at 0"
    assert any(not torch.equal(tensor, start[name]) for name, tensor in hook.at(1.0).items() if name not in head)


def test_validation_chose_the_best_of_the_curve(made: Made) -> None:
    run, _, hook = made
    losses = {alpha: figures["nll"] for alpha, figures in hook.curve}
    assert len(losses) == 11
    assert losses[hook.taken or 0.0] == min(losses.values())
    assert run.result["validation"]["nll"]["value"] == pytest.approx(min(losses.values()), abs=1e-5)


def test_figures_of_the_curve_are_those_of_the_mixtures(made: Made) -> None:
    _, context, hook = made
    assert context.job.validation is not None
    before = {name: tensor.clone() for name, tensor in context.stack.module.state_dict().items()}
    for alpha in (0.0, 0.3, 1.0):
        put(context.job, hook.at(alpha))
        found = score(context.job, context.job.validation).compute()["nll"]
        assert found == pytest.approx(dict(hook.curve)[alpha]["nll"], abs=1e-5)
    put(context.job, before)


def test_the_evidence_tells_the_curve_on_the_test(made: Made) -> None:
    run, _, hook = made
    found = run.evidence["wise-ft"]
    assert found["alpha"] == hook.taken
    assert [item["alpha"] for item in found["curve"]] == [step / 10 for step in range(11)]
    (test,) = found["sets"]
    assert (test["name"], test["rows"]) == ("test", test["of"])
    told = {item["alpha"]: item["value"]["value"] for item in test["curve"]}
    assert told[hook.taken or 0.0] == pytest.approx(run.result["test"]["nll"]["value"], abs=1e-4)
    assert test["gain"]["value"] == pytest.approx(told[hook.taken or 0.0] - told[1.0], abs=1e-6)


def test_the_model_is_as_it_was_after_the_evidence(made: Made) -> None:
    run, context, _ = made
    now = context.stack.module.state_dict()
    assert all(torch.equal(tensor, now[name]) for name, tensor in weights(run).items())


def test_statistics_of_a_mixture_are_estimated_anew(home: Path, tmp_path: Path) -> None:
    with only("wise-ft") as contexts:
        fit_images(home, tmp_path / "run", method="wise-ft:0.5", epochs=2, augment=[], **ASKED)
    job = contexts[0].job
    hook = next(hook for hook in job.hooks if isinstance(hook, Interpolation))
    norms = norms_of(job.stack, job.learned)
    assert len(norms) > 2
    mixed, lerped = hook.at(0.5), {k: torch.lerp(hook.start[k], v, 0.5) for k, v in hook.end.items() if "running" in k}
    assert any(not torch.allclose(mixed[name], lerped[name], rtol=1e-3) for name in lerped)
    # What is estimated is the mean over batches of what the layer reads: of the first one, plain convolution's output.
    first = next(name for name in mixed if name.endswith("running_mean"))
    put(job, mixed)
    assert estimate_statistics(job)
    again = dict(job.stack.module.named_buffers())
    assert torch.allclose(again[first], mixed[first])
    assert again[first.replace("mean", "var")].min() > 0
    assert int(again[first.replace("running_mean", "num_batches_tracked")]) == int(
        hook.end[first.replace("running_mean", "num_batches_tracked")]
    )
    seen: list[torch.Tensor] = []
    norm = next(module for name, module in job.working.module.named_modules() if f"{name}.running_mean" == first)
    handle = norm.register_forward_pre_hook(lambda _, args: seen.append(args[0].float()))
    with torch.no_grad():
        job.working.module(**job.batch(job.train.batch(range(len(job.train)))))
    handle.remove()
    # All training rows; the estimate leaves out what does not fill a batch.
    assert torch.allclose(seen[0].mean(dim=(0, 2, 3)), again[first], rtol=0.2, atol=0.05)


def test_texts_have_no_statistics_to_estimate(home: Path, tmp_path: Path) -> None:
    with only("wise-ft") as contexts:
        fit_text(home, tmp_path / "run", method="wise-ft:1", epochs=1, **ASKED)
    before = {name: tensor.clone() for name, tensor in contexts[0].stack.module.state_dict().items()}
    assert not estimate_statistics(contexts[0].job)
    assert all(torch.equal(tensor, before[name]) for name, tensor in contexts[0].stack.module.state_dict().items())


@pytest.mark.parametrize("alpha", ["0", "1.5", "-1", "half"])
def test_a_share_is_a_share(alpha: str) -> None:
    with pytest.raises(RecipeError, match="alpha"):
        all_settings(MethodRecipe(name=f"wise-ft:{alpha}"))
    assert all_settings(MethodRecipe(name="wise-ft:0.5")) == {"alpha": 0.5}
    assert all_settings(MethodRecipe(name="wise-ft")) == {"alpha": None}


@pytest.mark.parametrize("moment", ["in the probe", "in fine-tuning", "while weighing"])
def test_interrupted_is_uninterrupted(moment: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"method": "wise-ft", "epochs": 4, "checkpoint_steps": 1, "augment": [], "metric": "nll"}
    whole = fit_images(home, tmp_path / "whole", **options)
    with monkeypatch.context() as patch:
        progress: Any = Silent()
        if moment == "while weighing":
            left = iter(range(3))

            def judged(self: Interpolation, *more: Any) -> None:
                if next(left, None) is None:
                    raise Killed

            patch.setattr(Interpolation, "judged", judged)
        else:
            progress = KillAt(3 if moment == "in the probe" else 9)
        with pytest.raises(Killed):
            fit_images(home, tmp_path / "cut", progress=progress, **options)
    again = resume(tmp_path / "cut")
    assert essence(again.path) == essence(whole.path)
    chosen = [note for note in again.result["notes"] if "alpha" in note]
    assert chosen == [note for note in whole.result["notes"] if "alpha" in note]
