"""What every method that adds something to a model promises, tried on a tiny model of each family.

A method is covered as soon as its file is there. Where it cannot be used on a family it has to say so in one line with
the family's name, and stands in REFUSED.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
from test_replay import batch_of
from tiny import families, tiny_pretrained
from torch import Tensor

from unfreeze.errors import ModelError
from unfreeze.evaluation.state import differences, state_of
from unfreeze.methods import METHODS, MethodContext, StackView
from unfreeze.models import store, techniques
from unfreeze.models.kernels import fast_kernels
from unfreeze.models.load import load_pretrained
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.sources import read_safetensors
from unfreeze.models.techniques import tune
from unfreeze.recipe import ModelRecipe
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.gradient_checkpointing import recompute
from unfreeze.stack.groups import LayerStack
from unfreeze.stack.ledger import group_digests
from unfreeze.stack.replay import NotReplayable, prepare_replay
from unfreeze.stack.working import make_working

ALL, IMAGE = set(families()), set(families("image"))
CONVOLUTIONAL = IMAGE - {"vit"}

VARIANTS: dict[str, dict[str, dict[str, Any]]] = {
    "adapter": {"houlsby": {"placement": "houlsby"}, "parallel": {"placement": "parallel", "scale": 4.0}},
}
"""Settings that are tried beside the defaults."""

REFUSED: dict[str, set[str]] = {
    "adapter houlsby": CONVOLUTIONAL,
    "adapter parallel": {"xlnet"},
    "bitfit": {"decoder", "modernbert", "t5"},
    "norm-only": {"vgg"},
    "prefix": IMAGE | {"deberta", "xlnet"},
    "prompt": CONVOLUTIONAL,
    "qlora": CONVOLUTIONAL,
}
"""Families in which a method, or a variant of it, makes no sense."""

MOVES_AT_ONCE = {"prompt", "qlora"}
"""Methods that change outputs before anything is learned, and do not promise otherwise."""

CHANGES_THE_BASE = {"qlora"}
"""Methods that keep the base's weights in a form of their own."""

NOT_REPLAYED = {("t5", "block 2")}
"""Families whose top block cannot be replayed, whatever learns in it: see test_replay."""

VARIED = {"bert", "gpt2", "t5", "xlnet", "resnet", "vit"}
"""Families on which variants are tried, for speed."""

SLOW = {"inception": {"adapter", "lora", "norm-only"}}
"""Families that are made slowly, and the methods that are tried on them."""

SMALLER = {"inception": {"drop_top": 8}, "mobilenet": {"drop_top": 8}, "vgg": {"drop_top": 4}}
"""Deep families lose most of their blocks here, for speed."""

CLOSE = {"float32": 1e-5, "bf16": 0.15}
"""Largest difference of outputs, relative to their scale."""

KERNELS = fast_kernels(torch.device("cpu"))
TARGETS = torch.tensor([0, 1, 2, 0])


@dataclass(frozen=True)
class Combination:
    """A method with settings, and a family."""

    method: str
    variant: str
    options: dict[str, Any] = field(hash=False)
    family: str

    @property
    def label(self) -> str:
        return f"{self.method} {self.variant}".strip()


def combinations() -> Iterator[Combination]:
    for name, method in METHODS.items():
        if method.additions:
            for variant, options in {"": {}, **VARIANTS.get(name, {})}.items():
                for family in families():
                    yield Combination(name, variant, options, family)


EVERY = list(combinations())
NO_SENSE = [each for each in EVERY if each.family in REFUSED.get(each.label, ())]
WORKING = [
    each
    for each in EVERY
    if each not in NO_SENSE
    and each.method in SLOW.get(each.family, {each.method})
    and (not each.variant or each.family in VARIED)
]


def spelled(each: Combination) -> str:
    return f"{each.label} {each.family}".replace(" ", "-")


@pytest.fixture(scope="session")
def base_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Pretrained]:
    """A family's tiny model, loaded from a folder in which it can be found again: always the same one."""
    kept: dict[str, Pretrained] = {}

    def find(family: str) -> Pretrained:
        if family not in kept:
            folder = tmp_path_factory.mktemp("bases") / family
            tiny = tiny_pretrained(family, **SMALLER.get(family, {}))
            store.save(tiny, folder)
            recipe = ModelRecipe(name=str(folder))
            kept[family] = load_pretrained(recipe, modality=tiny.family.modality, outputs=3, seed=0)
        return kept[family]

    return find


def copied(pretrained: Pretrained) -> Pretrained:
    return replace(pretrained, module=copy.deepcopy(pretrained.module), spec=copy.deepcopy(pretrained.spec))


def outputs_of(pretrained: Pretrained) -> Tensor:
    pretrained.module.eval()
    with torch.no_grad():
        return pretrained.module(**batch_of(pretrained, 0, 1, 2, 3))


def plain(name: str) -> str:
    """The name that a tensor has in the base; peft puts the layer that it wraps one level deeper."""
    return name.replace(".base_layer.", ".")


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def learning(each: Combination, stack: LayerStack) -> tuple[str, ...]:
    """The groups that learn in the method's last phase."""
    sizes = tuple(stack.size(group) for group in stack.groups)
    view = StackView(stack.names, sizes, {group.name: group.beside for group in stack.groups if group.beside})
    return METHODS.get(each.method).phases(MethodContext(view, None, 1.0))[-1].learn


@dataclass(frozen=True)
class Case:
    """A model before its method was applied, when it was, and after two updates: in memory and as saved."""

    each: Combination
    base: Pretrained
    start: Tensor
    trained: Pretrained
    learn: tuple[str, ...]
    moved: set[str]
    folder: Path

    @property
    def stack(self) -> LayerStack:
        return self.trained.stack()

    @cached_property
    def gradients(self) -> dict[str, Tensor]:
        return gradients(self, "float32")


@pytest.fixture(scope="module", params=WORKING, ids=spelled)
def case(
    request: pytest.FixtureRequest, base_of: Callable[[str], Pretrained], tmp_path_factory: pytest.TempPathFactory
) -> Case:
    each: Combination = request.param
    base = base_of(each.family)
    trained = copied(base)
    tune(trained, each.method, each.options)
    start, stack = outputs_of(trained), trained.stack()
    learn = learning(each, stack)
    before = group_digests(stack, stack.names)
    update(trained, learn, 2)
    moved = {name for name, digest in group_digests(stack, stack.names).items() if digest != before[name]}
    folder = tmp_path_factory.mktemp("saved")
    groups = [group for group in stack.groups if group.name not in learn]
    store.save(trained, folder, unmoved={name for group in groups for name in (*group.parameters, *group.buffers)})
    return Case(each, base, start, trained, learn, moved, folder)


def update(pretrained: Pretrained, learn: tuple[str, ...], times: int) -> None:
    """As the loop does: on the copy that computes, in its modes."""
    working = make_working(pretrained.stack(), "float32", KERNELS)
    working.set_learning(learn)
    optimizer = torch.optim.Adam([p for p in pretrained.module.parameters() if p.requires_grad], lr=0.01)
    batch = batch_of(pretrained, 0, 1, 2, 3)
    for number in range(times):
        set_modes(working.stack, learn)
        torch.manual_seed(number)
        torch.nn.functional.cross_entropy(working.module(**batch), TARGETS).backward()
        working.collect(learn)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        working.refresh(learn)
    working.set_learning(())


def test_before_the_first_update_outputs_are_the_bases(case: Case) -> None:
    same = torch.equal(case.start, outputs_of(case.base))
    assert same is (case.each.method not in MOVES_AT_ONCE)


def test_exactly_what_was_added_and_the_head_learn(case: Case) -> None:
    stack = case.stack
    assert set(case.learn) == {group.name for group in stack.groups if group.beside} | {stack.names[-1]}
    assert case.moved == set(case.learn)
    assert not torch.equal(outputs_of(case.trained), case.start)
    if case.each.method in CHANGES_THE_BASE:
        return
    own = {name for group in stack.groups if group.name in case.learn for name in (*group.parameters, *group.buffers)}
    trained = {plain(name): tensor for name, tensor in case.trained.module.state_dict().items() if name not in own}
    base = case.base.module.state_dict()
    assert set(base) - {plain(name) for name in own} <= set(trained)
    assert all(torch.equal(tensor, base[name]) for name, tensor in trained.items())


def test_cards_say_for_what_a_method_is_not() -> None:
    """What refuses a family says on its card that there are such families."""
    for label in REFUSED:
        card = METHODS.get(label.split()[0]).card
        assert "ot for" in card.when, label


def test_the_head_is_no_addition_and_none_lies_above_it(case: Case) -> None:
    stack = case.stack
    head = {name for name, _ in case.base.stack().parameters(case.base.stack().groups[-1])}
    assert {name for name, _ in stack.parameters(stack.groups[-1])} == head


def test_the_saved_folder_holds_what_learned_only(case: Case) -> None:
    stack = case.stack
    learned = {
        name for group in stack.groups if group.name in case.learn for name in (*group.parameters, *group.buffers)
    }
    saved = read_safetensors(case.folder / store.WEIGHTS)
    assert saved.keys() <= learned
    assert {name for name, _ in case.trained.module.named_parameters()} & learned <= saved.keys()
    whole = Path(case.base.asked.name) / store.WEIGHTS  # type: ignore[union-attr, arg-type]
    assert (case.folder / store.WEIGHTS).stat().st_size < whole.stat().st_size
    description = json.loads((case.folder / store.DESCRIPTION).read_text())
    assert description["base"]["name"] == case.base.asked.name  # type: ignore[union-attr]
    assert description["spec"]["tuning"]["method"] == case.each.method


def test_loaded_again_it_is_the_same_to_the_bit(case: Case) -> None:
    loaded = store.load(case.folder)
    assert torch.equal(outputs_of(loaded), outputs_of(case.trained))
    assert list(differences(state_of(case.trained.module), state_of(loaded.module))) == []
    assert loaded.stack().names == case.stack.names


def test_loaded_over_a_base_in_memory_it_shares_its_tensors(case: Case) -> None:
    before = {name: tensor.clone() for name, tensor in case.base.module.state_dict().items()}
    loaded = store.load(case.folder, case.base)
    assert torch.equal(outputs_of(loaded), outputs_of(case.trained))
    assert all(torch.equal(before[name], tensor) for name, tensor in case.base.module.state_dict().items())
    if case.each.method in CHANGES_THE_BASE:
        return
    stack = loaded.stack()
    frozen = {name for group in stack.groups if group.name not in case.learn for name in group.parameters}
    places = {name: parameter.data_ptr() for name, parameter in case.base.module.named_parameters()}
    assert frozen
    for name, parameter in loaded.module.named_parameters():
        assert name not in frozen or parameter.data_ptr() == places[plain(name)], name


def test_another_base_is_refused(case: Case) -> None:
    other = replace(case.base, provenance=replace(case.base.provenance, sha256="0" * 64, name="another"))
    with pytest.raises(ModelError, match="learned on another base than 'another'"):
        store.load(case.folder, other)


def test_with_additions_that_learn_in_the_top_block_only_the_rest_is_replayed(case: Case) -> None:
    stack = case.stack
    case.trained.module.eval()
    top = [group for group in stack.groups if group.beside][-1]
    batches = [batch_of(case.trained, *rows) for rows in ((0, 1, 2), (2, 3), (3, 0, 2, 1))]
    try:
        replay = prepare_replay(stack, (top.name, stack.names[-1]), *batches[:2])
    except NotReplayable as problem:
        if (case.each.family, top.beside) in NOT_REPLAYED or stack.names[0] == top.name:
            return
        raise AssertionError(f"not replayed: {problem}") from problem
    with torch.no_grad():
        kept = replay.capture(batches[2])
        assert torch.equal(replay.forward(batches[2], kept), case.trained.module(**batches[2]))


def gradients(case: Case, precision: str, checkpointed: bool = False) -> dict[str, Tensor]:
    """Loss and gradients of one pass in training, with dropout, in a copy that computes."""
    pretrained = case.trained
    working = make_working(pretrained.stack(), precision, KERNELS)
    if checkpointed:
        recompute(working.stack)
    working.set_learning(case.learn)
    set_modes(working.stack, case.learn)
    torch.manual_seed(1)
    batch = working.laid_out(batch_of(pretrained, 0, 1, 2, 3))
    loss = torch.nn.functional.cross_entropy(working.module(**batch).float(), TARGETS)
    loss.backward()
    working.collect(case.learn)
    named = pretrained.module.named_parameters()
    found = {"loss": loss.detach(), **{name: value.grad for name, value in named if value.grad is not None}}
    working.set_learning(())
    return found


def test_gradient_checkpointing_changes_no_gradient(case: Case) -> None:
    again = gradients(case, "float32", checkpointed=True)
    assert again.keys() == case.gradients.keys()
    assert [name for name in again if not torch.equal(again[name], case.gradients[name])] == []
    learned = {n for group in case.stack.groups if group.name in case.learn for n in group.parameters}
    assert again.keys() - {"loss"} <= learned


def test_it_computes_in_bfloat16(case: Case) -> None:
    pretrained = case.trained
    working = make_working(pretrained.stack(), "bf16", KERNELS)
    working.module.eval()
    with torch.no_grad():
        found = working.module(**working.laid_out(batch_of(pretrained, 0, 1, 2, 3)))
    assert found.dtype == torch.float32
    assert relative(found, outputs_of(pretrained)) <= CLOSE["bf16"]
    learned = gradients(case, "bf16")
    assert learned.keys() == case.gradients.keys()
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in learned.values())


def test_merged_it_is_a_plain_model_that_predicts_the_same(case: Case, tmp_path: Path) -> None:
    merged = copied(case.trained)
    if METHODS.get(case.each.method).merge is None:
        with pytest.raises(ModelError, match="cannot be folded into the model's own layers"):
            techniques.merge(merged)
        return
    techniques.merge(merged)
    assert merged.module.state_dict().keys() == case.base.module.state_dict().keys()
    assert relative(outputs_of(merged), outputs_of(case.trained)) <= CLOSE["float32"]
    store.save(merged, tmp_path)
    loaded = store.load(tmp_path)
    assert loaded.stack().names == case.base.stack().names
    assert torch.equal(outputs_of(loaded), outputs_of(merged))


@pytest.mark.parametrize("each", NO_SENSE, ids=spelled)
def test_where_it_makes_no_sense_it_says_so(each: Combination, base_of: Callable[[str], Pretrained]) -> None:
    with pytest.raises(ModelError, match=rf"\b{each.family}\b"):
        tune(copied(base_of(each.family)), each.method, each.options)


def test_every_method_works_somewhere() -> None:
    assert {each.label for each in WORKING} == {each.label for each in EVERY}
    assert "adapter" in {each.method for each in WORKING}


def test_weights_that_changed_under_a_saved_adapter_are_noticed(
    base_of: Callable[[str], Pretrained], tmp_path: Path
) -> None:
    folder = tmp_path / "base"
    store.save(tiny_pretrained("bert"), folder)
    tuned = load_pretrained(ModelRecipe(name=str(folder)), modality="text", outputs=3, seed=0)
    tune(tuned, "adapter", {})
    names = [group for group in tuned.stack().groups[:-1] if not group.beside]
    store.save(tuned, tmp_path / "saved", unmoved={name for group in names for name in group.parameters})
    store.load(tmp_path / "saved")
    store.save(tiny_pretrained("bert", seed=1), folder)
    with pytest.raises(ModelError, match="On another base it would predict something else"):
        store.load(tmp_path / "saved")
