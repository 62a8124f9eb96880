"""LoRA and its kin: how updates begin, what they compute, who learns, what merging leaves; quantised bases."""

from __future__ import annotations

import copy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some
from hypothesis.extra import numpy as arrays
from small import KillAt, Killed, essence, fit_text, resume
from test_replay import batch_of
from tiny import tiny_pretrained
from torch import Tensor, nn

import unfreeze
from unfreeze.errors import ModelError, RecipeError
from unfreeze.methods import METHODS, MethodContext, StackView
from unfreeze.methods._peft import adapted
from unfreeze.models.low_rank import ADAPTER, matrix_of, product
from unfreeze.models.nf4_kernels import kernel
from unfreeze.models.pretrained import Pretrained
from unfreeze.models.quantised import BLOCK, NORMAL_FLOAT, QuantisedLinear, decode, encode, from_pairs
from unfreeze.models.techniques import merge, tune
from unfreeze.stack.frontier import set_modes
from unfreeze.stack.working import make_working

FAMILIES = ("bert", "gpt2", "t5", "resnet", "mobilenet", "vit")
LINEAR = ("bert", "gpt2", "t5", "vit")
CLOSE = 1e-5


def tuned(family: str, method: str = "lora", **options: Any) -> Pretrained:
    pretrained = tiny_pretrained(family)
    tune(pretrained, method, {"rank": 4, **options})
    return pretrained


def outputs_of(pretrained: Pretrained) -> Tensor:
    pretrained.module.eval()
    with torch.no_grad():
        return pretrained.module(**batch_of(pretrained, 0, 1, 2, 3))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.abs().max())


def learned(pretrained: Pretrained, size: float = 0.1) -> Pretrained:
    """As if updates had learned something."""
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, parameter in pretrained.module.named_parameters():
            if ".lora_" in name:
                parameter += size * torch.randn(parameter.shape, generator=draw)
    return pretrained


# ---------------------------------------------------------------------------------------------------- start


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", [{}, {"start": "gaussian", "rslora": True}, {"dora": True}], ids=str)
def test_with_a_random_start_outputs_are_the_bases_to_the_bit(family: str, options: dict[str, Any]) -> None:
    pretrained = tuned(family, **options)
    assert torch.equal(outputs_of(pretrained), outputs_of(tiny_pretrained(family)))
    assert not torch.equal(outputs_of(learned(pretrained)), outputs_of(tiny_pretrained(family)))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_with_an_informed_start_outputs_are_the_bases_up_to_rounding(family: str, start: str) -> None:
    pretrained = tuned(family, start=start, alpha=8.0)
    assert relative(outputs_of(pretrained), outputs_of(tiny_pretrained(family))) < CLOSE
    for name, layer in adapted(pretrained).items():
        down, up = layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight
        begun = layer.scaling[ADAPTER] * product(down, up).detach()
        matrix = matrix_of(layer)
        if start == "pissa":  # the best approximation of rank 4 is as far away as the other directions are strong
            rest = torch.linalg.svdvals(matrix)[4:].norm()
            assert float((matrix - begun).norm()) == pytest.approx(float(rest), rel=1e-2), name
        else:
            base = torch.linalg.qr(matrix).Q[:, :4]
            assert torch.allclose(begun, base @ base.T @ matrix, atol=1e-4), name


def test_updates_begin_alike_whatever_the_global_seed() -> None:
    torch.manual_seed(1)
    one = tuned("bert", start="pissa").module.state_dict()
    torch.manual_seed(2)
    before = torch.random.get_rng_state()
    other = tuned("bert", start="pissa").module.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())
    torch.manual_seed(2)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_layer_that_is_too_small_for_an_informed_start_is_named() -> None:
    with pytest.raises(ModelError, match=r"start 'pissa' needs a rank of at most 8 for 'layer1\.0\.conv1'.*Got 16"):
        tuned("resnet", rank=16, start="pissa")


# --------------------------------------------------------------------------------------------------- meaning


@pytest.mark.parametrize(
    ("family", "target"), [("bert", "query"), ("gpt2", "attn.c_attn"), ("resnet", "layer2.0.conv1"), ("vit", "qkv")]
)
@pytest.mark.parametrize(
    ("options", "scale"), [({"alpha": 2.0}, 0.5), ({"alpha": 2.0, "rslora": True}, 1.0), ({}, 1.0)]
)
def test_a_layer_adds_alpha_over_rank_times_b_times_a(
    family: str, target: str, options: dict[str, Any], scale: float
) -> None:
    pretrained = learned(tuned(family, targets=[target], **options))
    name, layer = next(iter(adapted(pretrained).items()))
    seen: list[tuple[Tensor, Tensor]] = []
    layer.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output)))
    outputs_of(pretrained)
    input, output = seen[0]
    base = copy.deepcopy(layer.get_base_layer())
    change = scale * product(layer.lora_A[ADAPTER].weight, layer.lora_B[ADAPTER].weight).detach()
    with torch.no_grad():
        base.weight += change.T if target == "attn.c_attn" else change.view(base.weight.shape)
        assert torch.allclose(base(input), output, atol=1e-4), name


def test_dora_learns_lengths_apart_from_directions() -> None:
    pretrained = tuned("bert", targets=["query"], dora=True)
    layer = next(iter(adapted(pretrained).values()))
    length = layer.lora_magnitude_vector[ADAPTER].weight
    assert torch.allclose(length, layer.get_base_layer().weight.norm(dim=1))
    with torch.no_grad():
        length *= 2
    input = torch.randn(5, 32)
    base = layer.get_base_layer()
    expected = nn.functional.linear(input, 2 * base.weight, base.bias)
    assert torch.allclose(layer(input), expected, atol=1e-5)


def test_names_keep_their_groups_and_updates_get_one_of_their_own() -> None:
    before = tiny_pretrained("bert").stack()
    stack = tuned("bert", blocks=1).stack()
    assert stack.names == (*before.names[:-2], "block 2 lora", "block 2", "head")
    assert stack.group("block 2 lora").beside == "block 2"
    assert stack.size(stack.group("block 2")) == before.size(before.group("block 2"))
    assert all(".lora_" in name for name in stack.group("block 2 lora").parameters)


def modes(stack_of: Pretrained, learn: tuple[str, ...]) -> dict[str, bool]:
    set_modes(stack_of.stack(), learn)
    return {n: m.training for n, m in stack_of.module.named_modules() if isinstance(m, nn.Dropout) and m.p}


def test_dropout_is_on_where_the_update_learns_and_nowhere_else() -> None:
    pretrained = learned(tuned("bert", dropout=0.5))
    names = pretrained.stack().names
    on = {name for name, training in modes(pretrained, ("block 1 lora", "head")).items() if training}
    assert on
    assert all((".layer.1." in name and ".lora_dropout." in name) or name.startswith("head") for name in on)
    assert {name for name in on if ".lora_dropout." in name}
    set_modes(pretrained.stack(), tuple(name for name in names if name.endswith("lora")))
    one, other = (pretrained.module(**batch_of(pretrained, 0, 1)) for _ in range(2))
    assert not torch.equal(one, other)
    assert torch.equal(outputs_of(pretrained), outputs_of(learned(tuned("bert"))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dora": True, "start": "pissa"}, "start 'pissa' cannot be combined with dora"),
        ({"dora": True, "dropout": 0.1}, "dropout has no effect on dora's updates"),
        ({"rank": 0}, "rank must be a whole number of at least 1"),
        ({"start": "pisa"}, "Did you mean 'pissa'?"),
        ({"target": ["query"]}, "unknown key 'target'. Did you mean 'targets'?"),
    ],
)
def test_what_does_not_fit_together_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        tuned("bert", **options)
    assert said in str(caught.value)


def test_what_was_left_open_is_decided_and_noted() -> None:
    pretrained = tiny_pretrained("bert")
    tune(pretrained, "lora", {})
    decided = pretrained.spec["tuning"]["options"]
    assert (decided["rank"], decided["alpha"]) == (16, 16.0)
    assert pretrained.tuned[0] == "updates of rank 16, alpha 16, beside 18 layers:"
    assert tuned("bert", "lora").spec["tuning"]["options"]["alpha"] == 4.0


# ------------------------------------------------------------------------------------------------- learning


def test_with_plus_ratio_the_second_factors_learn_faster() -> None:
    pretrained = tuned("bert", plus_ratio=16.0)
    stack = pretrained.stack()
    assert stack.names[1:4] == ("block 0 lora B", "block 0 lora", "block 0")
    assert all(".lora_B." in name for name in stack.group("block 0 lora B").parameters)
    assert all(".lora_A." in name for name in stack.group("block 0 lora").parameters)
    view = StackView(stack.names, (1,) * len(stack.names), {g.name: g.beside for g in stack.groups if g.beside})
    method = METHODS.get("lora")
    assert method.options is not None
    (phase,) = method.phases(MethodContext(view, None, 2.0, method.options(plus_ratio=16.0)))
    assert phase.scales == {f"block {number} lora B": 16.0 for number in range(3)}
    assert set(phase.learn) == {*view.added, "head"}


def test_a_whole_run_saves_updates_only_and_plans_rates(home: Path) -> None:
    run = fit_text(home, Path("run"), method="lora:2", method__options={"plus_ratio": 4.0, "dropout": 0.1}, lr=None)
    assert run.result["gate"]["state"] == "identical"
    assert run.result["gate"]["difference"] == 0.0
    assert run.recipe.method.options["alpha"] == 2.0
    rates = unfreeze.plan(recipe=run.recipe, data=home / "table.csv").layers
    found = {layer.name: layer.learns.get(0) for layer in rates}
    assert found["block 1 lora B"] == pytest.approx(4 * found["block 1 lora"])  # type: ignore[operator]
    assert found["block 1 lora"] == pytest.approx(10 * 1e-5)
    assert found["block 1"] is None
    assert run.result["learned_parameters"] < run.result["parameters"] / 2


@pytest.mark.parametrize("method", ["lora:2", "qlora:2"])
def test_killed_and_resumed_it_is_the_run_that_was_not(home: Path, method: str) -> None:
    options = {"method": method, "method__options": {"dropout": 0.2}, "checkpoint_steps": 2}
    fit_text(home, Path("whole"), **options)
    recipe = unfreeze.load("whole").recipe
    with pytest.raises(Killed):
        unfreeze.fit(recipe=recipe, output="killed", data=home / "table.csv", progress=KillAt(7))
    resume(Path("killed"))
    assert essence(Path("killed")) == essence(Path("whole"))


# -------------------------------------------------------------------------------------------------- merging


VARIANTS: list[dict[str, Any]] = [
    {},
    {"rslora": True, "alpha": 3.0},
    {"dora": True},
    {"start": "pissa", "alpha": 8.0},
    {"start": "olora", "rslora": True},
    {"plus_ratio": 2.0, "dropout": 0.1},
]


@pytest.mark.parametrize("family", ["gpt2", "resnet", "vit"])
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_it_computes_and_learns_in_bfloat16(family: str, options: dict[str, Any]) -> None:
    pretrained = tuned(family, **options)
    stack = pretrained.stack()
    expected = outputs_of(pretrained)
    working = make_working(stack, "bf16")
    learn = tuple(group.name for group in stack.groups if group.beside)
    working.set_learning(learn)
    set_modes(working.stack, learn)
    found = working.module(**working.laid_out(batch_of(pretrained, 0, 1, 2, 3))).float()
    if not options.get("dropout"):
        assert relative(found.detach(), expected) < 0.05
    found.square().sum().backward()
    working.collect(learn)
    gradients = [p.grad for n, p in pretrained.module.named_parameters() if ".lora_B." in n and p.grad is not None]
    assert len(gradients) == len(adapted(pretrained))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("options", VARIANTS, ids=str)
def test_merged_it_is_plain_and_predicts_the_same(family: str, options: dict[str, Any]) -> None:
    pretrained = learned(tuned(family, **options))
    before = outputs_of(pretrained)
    merge(pretrained)
    plain = tiny_pretrained(family).module
    assert relative(outputs_of(pretrained), before) < CLOSE
    assert [(n, type(m)) for n, m in pretrained.module.named_modules()] == [
        (n, type(m)) for n, m in plain.named_modules()
    ]
    assert pretrained.module.state_dict().keys() == plain.state_dict().keys()
    assert "tuning" not in pretrained.spec
    assert not pretrained.additions


def test_merging_leaves_weights_that_are_shared_with_others() -> None:
    base = tiny_pretrained("bert")
    kept = {name: tensor.clone() for name, tensor in base.module.state_dict().items()}
    memo: dict[int, Any] = {id(parameter): parameter for parameter in base.module.parameters()}
    other = Pretrained(copy.deepcopy(base.module, memo), base.preprocess, base.family, base.provenance, {**base.spec})
    tune(other, "lora", {"rank": 4, "start": "pissa"})
    merge(learned(other))
    assert all(torch.equal(tensor, kept[name]) for name, tensor in base.module.state_dict().items())
    changed = other.module.state_dict()
    assert sum(not torch.equal(tensor, changed[name]) for name, tensor in kept.items()) == 18


# ---------------------------------------------------------------------------------------- quantised weights


SHAPES = arrays.array_shapes(min_dims=2, max_dims=2, max_side=40)
WEIGHTS = arrays.arrays("float32", SHAPES, elements=some.floats(-8, 8, width=32))


@given(WEIGHTS, some.sampled_from([8, 4]))
@settings(deadline=None)
def test_decoded_weights_are_near_within_their_blocks_scale(array: Any, bits: int) -> None:
    weight = torch.from_numpy(array)
    codes, scales = encode(weight, bits)
    assert codes.dtype == torch.int8
    assert codes.numel() == len(scales) * BLOCK * bits // 8
    found = decode(codes, scales, tuple(weight.shape), torch.float32)
    assert found.shape == weight.shape
    largest = nn.functional.pad(weight.flatten(), (0, -weight.numel() % BLOCK)).view(-1, BLOCK).abs().amax(1)
    allowed = largest.repeat_interleave(BLOCK)[: weight.numel()].view(weight.shape)
    gap = 1 / 127 if bits == 8 else max(b - a for a, b in pairwise(NORMAL_FLOAT))
    assert bool(((found - weight).abs() <= allowed * gap * 0.5001 + 1e-12).all())
    assert torch.equal(found[weight == 0], weight[weight == 0])
    again = decode(*encode(found, bits), tuple(weight.shape), torch.float32)
    assert torch.allclose(again, found, rtol=1e-5)


def test_four_bits_are_bitsandbytes_own() -> None:
    """What bitsandbytes 0.50.2's quantize_4bit (nf4, blocks of 64) makes of these weights, and makes whole again."""
    weight = torch.linspace(-1, 1, 128).view(2, 64).sin() * torch.tensor([[3.0], [0.5]])
    codes, scales = encode(weight, 4)
    assert codes.view(torch.uint8).flatten().tolist() == BITSANDBYTES
    assert torch.equal(scales.flatten(), weight.abs().amax(1))


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_bitsandbytes_makes_the_same_weights_whole(device: str, dtype: torch.dtype) -> None:
    pytest.importorskip("bitsandbytes")
    fast = kernel(device)
    assert fast is not None
    torch.manual_seed(0)
    for shape in ((24, 64), (7, 13), (1, 1)):
        codes, scales = (each.to(device) for each in encode(torch.randn(shape), 4))
        assert torch.equal(fast(codes, scales, dtype), from_pairs(codes, scales, dtype))
        assert decode(codes, scales, shape, dtype).shape == shape


def test_without_bitsandbytes_weights_are_made_whole_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    kernel.cache_clear()
    try:
        assert kernel("cpu") is None
        assert kernel("mps") is None
    finally:
        kernel.cache_clear()


@pytest.mark.parametrize(
    "first",
    [
        "from unfreeze.models.nf4_kernels import kernel\nassert kernel('cpu') is not None",
        "from unfreeze.methods._peft import library\nlibrary()",
        "from unfreeze.models.low_rank_products import _kinds\n_kinds()",
    ],
)
def test_nothing_is_fetched_from_a_hub_for_it(first: str) -> None:
    """bitsandbytes asks `kernels` for code from a hub while it is imported, and peft imports it."""
    pytest.importorskip("bitsandbytes")
    code = (
        "import importlib.machinery, sys, types\n"
        "asked = []\n"
        "fake = sys.modules['kernels'] = types.ModuleType('kernels')\n"
        "fake.__spec__ = importlib.machinery.ModuleSpec('kernels', None)\n"
        "fake.get_kernel = lambda *given, **named: asked.append(given)\n"
        f"{first}\n"
        "assert 'bitsandbytes' in sys.modules and asked == [] and sys.modules['kernels'] is fake, asked\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def saved_by(layer: nn.Module, input: Tensor) -> list[Tensor]:
    """What autograd keeps for the backward pass."""
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(input)
    return kept


def test_products_and_gradients_are_those_of_the_decoded_weights() -> None:
    torch.manual_seed(0)
    plain = nn.Linear(40, 24)
    for bits in (8, 4):
        layer = QuantisedLinear(plain, bits)
        whole = nn.Linear(40, 24)
        whole.weight, whole.bias = nn.Parameter(layer.dequantize()), plain.bias
        one = torch.randn(3, 5, 40, requires_grad=True)
        other = one.detach().clone().requires_grad_()
        found, kept = layer(one), saved_by(layer, one)
        assert torch.equal(found, whole(other))
        found.square().sum().backward()
        whole(other).square().sum().backward()
        assert torch.allclose(one.grad, other.grad, atol=1e-5)  # type: ignore[arg-type]
        assert kept
        assert not [tensor for tensor in kept if tensor.is_floating_point() and tensor.numel() == 24 * 40]


@pytest.mark.parametrize("family", LINEAR)
@pytest.mark.parametrize("options", [{}, {"bits": 4}, {"bits": 4, "dora": True}, {"start": "pissa"}], ids=str)
def test_over_a_quantised_base_too(family: str, options: dict[str, Any]) -> None:
    pretrained = tuned(family, "qlora", **options)
    bits = options.get("bits", 4 if torch.cuda.is_available() else 8)
    assert pretrained.spec["tuning"]["options"]["bits"] == bits
    layers = [m for m in pretrained.module.modules() if isinstance(m, QuantisedLinear)]
    plain = tiny_pretrained(family)
    stack, base = pretrained.stack(), plain.stack()
    assert len(layers) == len(adapted(pretrained))
    assert stack.size(stack.group("block 1")) == base.size(base.group("block 1"))
    assert "weights of" in pretrained.tuned[0]
    assert f"kept in {bits} bits each" in pretrained.tuned[0]
    start = outputs_of(pretrained)
    assert 0 < relative(start, outputs_of(plain)) < (0.1 if bits == 8 else 0.6)
    after = outputs_of(learned(pretrained))
    assert not torch.equal(start, after)
    merge(pretrained)
    assert relative(outputs_of(pretrained), after) < CLOSE
    assert [type(m) for m in pretrained.module.modules()] == [type(m) for m in plain.module.modules()]


def test_a_quantised_base_computes_in_bfloat16_and_shares_its_codes() -> None:
    pretrained = learned(tuned("bert", "qlora"))
    working = make_working(pretrained.stack(), "bf16")
    working.module.eval()
    with torch.no_grad():
        found = working.module(**batch_of(pretrained, 0, 1, 2, 3))
    assert relative(found, outputs_of(pretrained)) < 0.1
    codes = {name: buffer for name, buffer in pretrained.module.named_buffers() if name.endswith("W_q")}
    assert codes
    assert all(buffer is codes[name] for name, buffer in working.module.named_buffers() if name in codes)


@pytest.mark.parametrize("family", ["resnet", "mobilenet"])
def test_where_there_are_no_linear_layers_there_is_nothing_to_quantise(family: str) -> None:
    with pytest.raises(ModelError, match=rf"tiny-{family}.*have none: take 'lora'"):
        tuned(family, "qlora")


BITSANDBYTES = [
    0,
    0,
    0,
    0,
    0,
    0,
    0,
    17,
    17,
    17,
    17,
    17,
    17,
    17,
    17,
    34,
    34,
    34,
    34,
    35,
    51,
    51,
    51,
    68,
    68,
    69,
    85,
    85,
    86,
    102,
    102,
    119,
    119,
    136,
    136,
    153,
    153,
    154,
    170,
    170,
    187,
    187,
    188,
    204,
    204,
    204,
    221,
    221,
    221,
    221,
    238,
    238,
    238,
    238,
    238,
    238,
    238,
    239,
    255,
    255,
    255,
    255,
    255,
    255,
]
