"""The torch networks: the original's numbers and parameter names, and the same rows in bands as in one piece."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from upscale.bands import Plan, Step, bands_of, schedule
from upscale.checkpoint import Checkpoint
from upscale.keys import canonical, parameter_shapes
from upscale.nets import RRDBNet, SRVGGNetCompact, build
from upscale.nets.compact import PReLU
from upscale.spec import Activation, ModelSpec
from upscale.stages import stages

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

GOLDEN = ["rrdb_x4", "rrdb_x2", "rrdb_x1", "compact_x4_prelu", "compact_x2_leakyrelu", "compact_x3_relu"]

ROUNDING = 1e-5
"""fp32 with another order of summation: golden/README.md measured 3e-6."""

SPECS = [
    ModelSpec("x4", "rrdb", 4, 16, 8, 2),
    ModelSpec("x2", "rrdb", 2, 16, 8, 2, unshuffle=2),
    ModelSpec("x1", "rrdb", 1, 16, 8, 2, unshuffle=4),
    ModelSpec("old x2", "rrdb", 2, 16, 8, 2),
    ModelSpec("old x1", "rrdb", 1, 16, 8, 2),
    ModelSpec("old x8", "rrdb", 8, 8, 4, 2),
    *(ModelSpec(f"c{scale}", "compact", scale, 16, blocks=4, activation="prelu") for scale in (1, 2, 3, 4, 8)),
    *(ModelSpec(f"c{blocks} leaky", "compact", 2, 8, blocks=blocks) for blocks in (1, 3, 7)),
    ModelSpec("c relu", "compact", 2, 8, blocks=5, activation="relu"),
]
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


@pytest.mark.parametrize("name", GOLDEN)
def test_networks_compute_what_basicsr_computes(name: str, golden: Path) -> None:
    with np.load(golden / f"{name}.npz") as file:
        arrays = {key.removeprefix("weight/"): file[key] for key in file.files if key.startswith("weight/")}
        picture, wanted = file["input"], file["output"]
        arguments = json.loads(str(file["versions"]))["arguments"]
    spec, weights = canonical(arrays, name)
    if "act_type" in arguments and spec.activation != "prelu":  # relu and leakyrelu leave no trace in the weights
        activation: Activation = arguments["act_type"]
        spec = ModelSpec(name, "compact", spec.scale, spec.features, blocks=spec.blocks, activation=activation)
    network = build(spec)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in weights.items()})
    with torch.inference_mode():
        got = network(torch.from_numpy(picture)).numpy()
    np.testing.assert_allclose(got, wanted, atol=ROUNDING, rtol=0)


@by_spec
def test_parameters_have_basicsrs_names_and_shapes(spec: ModelSpec) -> None:
    found = {key: tuple(value.shape) for key, value in build(spec).state_dict().items()}
    assert found == parameter_shapes(spec)


@by_spec
def test_rows_in_bands_are_the_rows_of_the_whole(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    """Every stage as the schedule calls it, against forward(). No engine in between."""
    network, f = _network(spec, random_checkpoint), spec.unshuffle
    rows, width = 43, 9
    picture = torch.rand((1, 3, rows * f, width * f), generator=torch.Generator().manual_seed(5))
    with torch.inference_mode():
        whole = network(picture)
        got = _in_bands(network, torch.nn.functional.pixel_unshuffle(picture, f), Plan(16, 5))
    assert whole.shape == (1, 3, rows * f * spec.scale, width * f * spec.scale)
    torch.testing.assert_close(got, whole, atol=ROUNDING, rtol=0)


@by_spec
def test_half_precision_touches_neither_the_first_nor_the_last_convolution(spec: ModelSpec) -> None:
    network = build(spec)
    first, last = ("conv_first", "conv_last") if spec.arch == "rrdb" else ("body.0", f"body.{2 * spec.blocks + 2}")
    for tail in (True, False):
        inner = {parameter for layer in network.inner(tail) for parameter in layer.parameters()}
        assert inner
        assert inner.isdisjoint(network.get_submodule(first).parameters())
        assert inner.isdisjoint(network.get_submodule(last).parameters())
        if spec.arch == "rrdb":
            assert (network.get_submodule("conv_hr").weight in inner) == tail
            assert network.get_submodule("conv_body").weight not in inner


def test_build_gives_each_architecture_its_network() -> None:
    assert isinstance(build(SPECS[0]), RRDBNet)
    assert isinstance(build(SPECS[-1]), SRVGGNetCompact)
    with pytest.raises(ValueError, match="spandrel"):
        build(ModelSpec("other", "foreign", 4))


def _network(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> RRDBNet | SRVGGNetCompact:
    network = build(spec).eval()
    arrays = random_checkpoint(spec, 1).arrays
    network.load_state_dict({key: torch.from_numpy(value) for key, value in arrays.items()})
    return network


def _in_bands(network: RRDBNet | SRVGGNetCompact, picture: Tensor, plan: Plan) -> Tensor:
    """The schedule played with whole streams: each step reads just its rows of them."""
    chain, rows = stages(network.spec), picture.shape[2]
    streams: dict[str, list[Tensor]] = {"picture": list(picture.unbind(2))} | {stage.output: [] for stage in chain}

    def read(name: str, span: tuple[int, int]) -> Tensor:
        return torch.stack(streams[name][slice(*span)], dim=2)

    for step in schedule(chain, rows, plan, bands_of(rows, plan.rows)):
        if not isinstance(step, Step):
            continue
        stage = chain[step.stage]
        sides = [read(name, span) for (name, _), span in zip(stage.sides, step.sides, strict=True)]
        main, rim = read(stage.main, step.main), (step.top, step.bottom)
        match stage.role:
            case "head":
                y = network.head(main, *rim)
            case "unit":
                y = network.unit(stage.unit, main, sides[0] if sides else None, *rim)
            case "tail":
                y = network.tail(main, sides[0], *rim)
        skip = (step.start - step.computed[0]) * stage.factor
        streams[stage.output] += y.unbind(2)[skip : skip + (step.stop - step.start) * stage.factor]
    return torch.stack(streams["enlarged"], dim=2)


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_prelu_in_training_has_torchs_values_and_gradients(kind: torch.dtype) -> None:
    dice = torch.Generator().manual_seed(1)
    x, slopes = torch.randn(2, 5, 9, 7, generator=dice).to(kind), torch.rand(5, generator=dice)
    pull = torch.randn(2, 5, 9, 7, generator=dice).to(kind)
    found = list[tuple[Tensor, Tensor, Tensor]]()
    for module in (PReLU(5), torch.nn.PReLU(5)):
        module.weight.data.copy_(slopes)
        leaf = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == torch.bfloat16):
            made = module(leaf) if isinstance(module, PReLU) else F.prelu(leaf, module.weight.to(kind))
        made.backward(pull)
        assert leaf.grad is not None
        assert module.weight.grad is not None
        found.append((made.detach(), leaf.grad, module.weight.grad))
    ours, torchs = found
    assert torch.equal(ours[0], torchs[0])
    assert torch.equal(ours[1], torchs[1])
    torch.testing.assert_close(ours[2], torchs[2], rtol=1e-5 if kind == torch.float32 else 2e-2, atol=1e-5)
    with torch.no_grad():
        assert torch.equal(PReLU(5)(x.float()), torch.nn.PReLU(5)(x.float()))
