"""Promise 8: no pickle, no remote code, no evaluated text; found by reading the source itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from small import fit_text, text_model

import unfreeze
from unfreeze.errors import ModelError

SOURCE = Path(unfreeze.__file__).parent
PICKLING = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
EVALUATING = {"eval", "exec", "compile", "__import__"}
LOADERS = {"torch.load", "np.load", "numpy.load", "torch.jit.load", "torch.hub.load", "pd.read_pickle"}
SAVERS = {"torch.save", "np.save", "numpy.save", "torch.jit.save"}
UNSAFE_YAML = {"yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load", "yaml.unsafe_load_all"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput"}


def dotted(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    return next((item.value for item in call.keywords if item.arg == name), None)


def true(value: ast.expr | None) -> bool:
    return isinstance(value, ast.Constant) and value.value is True


def dangers(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in PICKLING)
        elif isinstance(node, ast.Call):
            yield from _call(node, dotted(node.func))
        elif isinstance(node, ast.Constant) and node.value == "trust_remote_code":
            yield "names trust_remote_code"


def _call(call: ast.Call, name: str) -> Iterator[str]:
    if name in EVALUATING | SAVERS | UNSAFE_YAML | SHELLS:
        yield f"calls {name}"
    if name in LOADERS and not true(keyword(call, "weights_only")):
        yield f"calls {name} without weights_only=True"
    if name.endswith("load_dataset") and keyword(call, "trust_remote_code") is not None:
        yield "load_dataset with trust_remote_code"
    for item in ("trust_remote_code", "allow_pickle", "shell"):
        value = keyword(call, item)
        if value is not None and not (isinstance(value, ast.Constant) and value.value is False):
            yield f"{name} with {item}"
    if name.endswith("from_pretrained") and "odel" in name and not true(keyword(call, "use_safetensors")):
        yield f"{name} without use_safetensors=True"
    if name == "cls.from_pretrained" and not true(keyword(call, "use_safetensors")):
        yield f"{name} without use_safetensors=True"


FILES = sorted(SOURCE.rglob("*.py"))


def test_the_source_was_found() -> None:
    assert len(FILES) > 100
    assert SOURCE / "models" / "sources.py" in FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_no_pickle_no_remote_code_no_evaluated_text(path: Path) -> None:
    assert list(dangers(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from joblib import load",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.save(state, path)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text)",
        "eval(text)",
        "exec(text)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "AutoModel.from_pretrained(name)",
        "cls.from_pretrained(name, use_safetensors=False)",
        "AutoConfig.from_pretrained(name, trust_remote_code=asked)",
        "options = {'trust_remote_code': True}",
        "subprocess.run(command, shell=True)",
    ],
)
def test_each_danger_would_be_found(line: str) -> None:
    assert list(dangers(ast.parse(line)))


def test_pickled_weights_are_not_read(home: Path, tmp_path: Path) -> None:
    """A folder that holds its weights only as a pickle that would run code."""
    folder = text_model(tmp_path / "bert")
    (folder / "model.safetensors").unlink()
    ran = tmp_path / "ran"

    class Attack:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (ran,)

    torch.save({"weights": Attack()}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError):
        unfreeze.fit(home / "table.csv", str(folder), target="label", output=tmp_path / "run")
    assert not ran.exists()


def test_code_beside_a_model_is_not_run(home: Path, tmp_path: Path) -> None:
    import json

    folder = text_model(tmp_path / "bert")
    ran = tmp_path / "ran"
    (folder / "own.py").write_text(f"import pathlib; pathlib.Path({str(ran)!r}).touch()\nclass Own: pass\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        unfreeze.fit(home / "table.csv", str(folder), target="label", output=tmp_path / "run")
    assert not ran.exists()


def test_what_a_run_writes_holds_no_pickle(home: Path, tmp_path: Path) -> None:
    run = fit_text(home, tmp_path / "run", epochs=1, checkpoint_steps=2)
    suffixes = {path.suffix for path in run.path.rglob("*") if path.is_file()}
    assert suffixes <= {".yaml", ".json", ".jsonl", ".safetensors", ".txt", ".jinja"}
