"""`unfreeze merge`: a plain model that predicts the same, proven in a fresh process, and readable by its library."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from small import fit_images, fit_text, tree_hashes
from test_replay import batch_of
from tiny import tiny_pretrained
from torch import Tensor

import unfreeze
from unfreeze.cli import main
from unfreeze.data.manifest import ImageRef
from unfreeze.errors import ModelError, ReloadError, RunError
from unfreeze.methods import _peft
from unfreeze.models import store
from unfreeze.models.plain import write_plain
from unfreeze.run import Run

if TYPE_CHECKING:
    from conftest import Stub

CLOSE = 1e-5
TEXTS = ["a good movie", "the bank is poor, a card"]


@pytest.fixture(scope="module")
def runs(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Runs by name, each made once: "text lora", "images lora", …"""
    folder = tmp_path_factory.mktemp("runs")

    def run_of(name: str) -> Path:
        kind, method = name.split()
        if not (folder / name).exists():
            (fit_text if kind == "text" else fit_images)(home, folder / name, method=method, epochs=1)
        return folder / name

    return run_of


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def probabilities(run: Run, inputs: list[Any]) -> Tensor:
    rows = run.predict(inputs, precision="float32")
    return torch.tensor([[row["probabilities"][label] for label in sorted(row["probabilities"])] for row in rows])


@pytest.mark.parametrize("method", ["lora:2", "qlora:2", "ia3", "norm-only"])
def test_a_merged_run_predicts_the_same_and_needs_no_base(runs: Callable[[str], Path], method: str) -> None:
    path = runs(f"text {method}")
    before = tree_hashes(path)
    merged = unfreeze.merge(path, Path("merged"))
    assert tree_hashes(path) == before
    assert relative(probabilities(merged, TEXTS), probabilities(unfreeze.load(path), TEXTS)) < CLOSE
    description = json.loads((merged.path / "model" / store.DESCRIPTION).read_text())
    assert "base" not in description
    assert "tuning" not in description["spec"]
    gate = merged.result["gate"]
    assert gate["passed"]
    assert gate["state"] == "identical"
    assert gate["difference"] < gate["tolerance"] == 1e-4
    assert (merged.result["merged"], merged.status) == (str(path.resolve()), "finished")
    assert merged.result["parameters"] <= unfreeze.load(path).result["parameters"]
    assert merged.metrics == unfreeze.load(path).metrics
    assert unfreeze.compare([path, merged.path])[0]["same_test"]


def test_a_merged_run_is_fine_tuned_further(runs: Callable[[str], Path], home: Path) -> None:
    merged = unfreeze.merge(runs("text lora:2"), Path("merged"))
    options = {"target": "label", "split": "split", "epochs": 1, "evaluation__gate": "inline"}
    further = unfreeze.fit(home / "table.csv", str(merged.path), method="head", output="further", **options)
    stack = merged.pretrained.stack()
    below = {name for group in stack.groups[:-1] for name in group.parameters}
    begun, gone_on = merged.pretrained.module.state_dict(), further.pretrained.module.state_dict()
    assert all(torch.equal(begun[name], gone_on[name]) for name in below)


@pytest.mark.parametrize("method", ["lora:2", "qlora:2"])
def test_transformers_alone_reads_it(runs: Callable[[str], Path], method: str) -> None:
    from transformers import AutoModel, AutoTokenizer

    path = runs(f"text {method}")
    merged = unfreeze.merge(path, Path("merged"))
    folder = merged.path / "transformers"
    batch = AutoTokenizer.from_pretrained(folder)(TEXTS, return_tensors="pt", padding=True)
    with torch.no_grad():
        plain = AutoModel.from_pretrained(folder).eval()(**batch).last_hidden_state
        ours: Any = unfreeze.load(path).pretrained.module.get_submodule("backbone")
        assert relative(plain, ours(**batch).last_hidden_state) < CLOSE


@pytest.mark.parametrize("method", ["lora:2", "ia3"])
def test_timm_alone_reads_it(runs: Callable[[str], Path], home: Path, method: str) -> None:
    import timm

    path = runs(f"images {method}")
    merged = unfreeze.merge(path, Path("merged"))
    network = timm.create_model(f"local-dir:{merged.path / 'timm'}", pretrained=True).eval()
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert relative(network(pixels), unfreeze.load(path).pretrained.module.eval()(pixels)) < CLOSE
    assert list(network.pretrained_cfg["mean"]) == [0.5, 0.5, 0.5]
    assert json.loads((merged.path / "timm" / "head.json").read_text())["labels"] == ["blue", "red"]
    picture = ImageRef(path=next((home / "pictures" / "red").iterdir()))
    assert picture.path is not None
    found = [probabilities(run, [str(picture.path)]) for run in (unfreeze.load(path), merged)]
    assert relative(*found) < CLOSE


@pytest.mark.parametrize("family", ["bert", "gpt2", "t5", "resnet", "mobilenet", "vit", "inception", "vgg", "convnext"])
def test_every_kind_of_model_is_written_as_its_library_reads_it(family: str, tmp_path: Path) -> None:
    pretrained = tiny_pretrained(family)
    folder = write_plain(pretrained, tmp_path)
    batch = batch_of(pretrained, 0, 1, 2)
    with torch.no_grad():
        if pretrained.family.library == "timm":
            import timm

            plain = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
            assert torch.equal(plain(batch["pixel_values"]), pretrained.module(**batch))
            return
        from transformers import AutoModel

        whole = AutoModel.from_pretrained(folder).eval()
        encoder = whole.get_encoder() if family == "t5" else whole
        ours: Any = pretrained.module.get_submodule("backbone")
        types = {} if family == "t5" else batch
        words = {key: batch[key] for key in ("input_ids", "attention_mask")}
        assert torch.equal(encoder(**words | types).last_hidden_state, ours(**words | types).last_hidden_state)


def test_a_network_that_timm_cannot_make_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="timm cannot make a network without its topmost blocks"):
        write_plain(tiny_pretrained("resnet", drop_top=1), tmp_path)


def test_a_merge_that_changes_predictions_is_not_finished(
    runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forgetful(pretrained: Any) -> None:
        for name, layer in _peft.adapted(pretrained).items():
            _peft.backbone_of(pretrained).set_submodule(name, layer.get_base_layer())

    monkeypatch.setattr("unfreeze.methods.lora.merge_layers", forgetful)
    with pytest.raises(ReloadError, match="does not reproduce"):
        unfreeze.merge(runs("text lora:2"), Path("merged"))
    assert unfreeze.load("merged").status == "failed"
    with pytest.raises(RunError, match="is not finished"):
        _ = unfreeze.load("merged").result


def test_a_damaged_merged_model_is_noticed(runs: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    save = store.save

    def spoil(pretrained: Any, folder: Path) -> None:
        save(pretrained, folder)
        state = load_file(folder / store.WEIGHTS)
        name = next(name for name in state if "word_embeddings" in name)
        state[name][95] += 1e-3  # a word that no sample has
        save_file(state, folder / store.WEIGHTS)

    monkeypatch.setattr("unfreeze.merging.store.save", spoil)
    with pytest.raises(ReloadError, match=r"word_embeddings.*holds other values"):
        unfreeze.merge(runs("text lora:2"), Path("merged"))


def test_what_cannot_be_merged_is_said(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", str(runs("text head")), "--output", "out"]) == 2
    assert "holds no adapter: all of its weights are its own" in capsys.readouterr().err
    assert not Path("out").exists()
    assert main(["merge", str(runs("text adapter")), "--output", "out"]) == 2
    error = capsys.readouterr().err
    assert "What 'adapter' adds cannot be folded into the model's own layers." in error
    assert all(name in error for name in ("lora", "qlora", "ia3", "norm-only"))
    assert main(["merge", "nowhere"]) == 2
    assert "There is no run 'nowhere'" in capsys.readouterr().err


def test_the_command(runs: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    path = runs("text lora:2")
    assert main(["merge", str(path), "--output", "out"]) == 0
    said = capsys.readouterr().out
    assert "the merged model reproduces the outputs for 6 rows" in said
    assert "(allowed: 0.0001)" in said
    assert f"As transformers reads it: {Path('out') / 'transformers'}" in said
    assert main(["merge", str(path), "--output", "out"]) == 2
    assert "is not empty" in capsys.readouterr().err
    assert main(["merge", str(path), "--output", "out", "--overwrite", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gate"]["passed"] is True
    assert main(["predict", "out", str(Path(__file__).parent / "nothing.csv")]) == 2
    assert main(["merge", str(path), "--output", str(path), "--overwrite"]) == 2
    assert (path / "result.json").exists()


def test_the_new_folder_lies_beside_the_run_by_default(runs: Callable[[str], Path]) -> None:
    path = runs("text ia3")
    assert unfreeze.merge(path).path == path.with_name(f"{path.name}-merged")


def test_a_fresh_process_proves_it(runs: Callable[[str], Path]) -> None:
    shutil.copytree(runs("text lora:2"), "run")
    recipe = Path("run") / "recipe.resolved.yaml"
    recipe.write_text(recipe.read_text().replace("gate: inline", "gate: process"))
    assert unfreeze.merge("run").result["gate"]["process"] == "fresh"


def test_the_command_with_a_stand_in(api: Stub, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "r", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["run"] == "r-merged"
    assert main(["merge", "r", "--output", "o"]) == 0
    assert "Run: o" in capsys.readouterr().out


def test_a_merged_run_has_the_report_of_its_source(home: Path, tmp_path: Path) -> None:
    options = {"method": "lora:2", "epochs": 1, "evaluation__report": True, "evaluation__evidence_share": 1000.0}
    source = fit_text(home, tmp_path / "run", **options)
    merged = unfreeze.merge(source.path)
    assert merged.evidence.keys() == source.evidence.keys()
    assert "was merged from" in (merged.path / "report.html").read_text(encoding="utf-8")
    assert "folded into the base" in (merged.path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "was merged from" not in (source.path / "report.html").read_text(encoding="utf-8")
    with pytest.raises(RunError, match="was merged: its evidence is that of"):
        unfreeze.write_report(merged.path, again=True)
    assert unfreeze.resume(merged.path).path == merged.path
