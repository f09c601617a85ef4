"""Anybody's parameter names lead to the same network; the shapes alone say which; variants are never taken for it."""

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.checkpoint import Checkpoint
from upscale.errors import ModelError
from upscale.image import Floats
from upscale.keys import UnknownArchitectureError, canonical, from_layers, parameter_shapes
from upscale.ncnn_file import Layer
from upscale.spec import ModelSpec

Arrays = dict[str, Floats]
MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

X4 = ModelSpec("net", "rrdb", 4, 8, 4, 2)
RRDB = [
    X4,
    ModelSpec("net", "rrdb", 8, 8, 4, 1),
    ModelSpec("net", "rrdb", 2, 8, 4, 3),
    ModelSpec("net", "rrdb", 1, 8, 4, 1),
    ModelSpec("net", "rrdb", 2, 8, 4, 1, unshuffle=2),
    ModelSpec("net", "rrdb", 1, 8, 4, 1, unshuffle=4),
]
COMPACT = [
    ModelSpec("net", "compact", scale, 8, blocks=blocks, activation="prelu")
    for scale, blocks in ((4, 16), (4, 1), (2, 3), (3, 2), (1, 5), (8, 2))
]


def label(spec: ModelSpec) -> str:
    return f"{spec.arch} x{spec.scale} unshuffle {spec.unshuffle} blocks {spec.blocks}"


def to_newer(arrays: Arrays) -> Arrays:
    """As the ESRGAN repository's second form (RRDBNet_arch.py) names them."""
    names = {"conv_body": "trunk_conv", "conv_hr": "HRconv", "conv_up": "upconv", "body.": "RRDB_trunk."}
    result: Arrays = {}
    for key, value in arrays.items():
        theirs, ours = key, next((ours for ours in names if key.startswith(ours)), "")
        theirs = names.get(ours, "") + key.removeprefix(ours)
        result[re.sub(r"\.rdb([123])\.", r".RDB\1.", theirs)] = value
    return result


def to_old(spec: ModelSpec, arrays: Arrays) -> Arrays:
    """As the ESRGAN repository's first form names them: one flat Sequential; a doubling is upsample, conv, act."""
    first = 3 * spec.doublings + 2
    tops = {f"conv_up{k}": f"model.{3 * k}" for k in range(1, spec.doublings + 1)}
    tops |= {"conv_first": "model.0", "conv_body": f"model.1.sub.{spec.blocks}"}
    tops |= {"conv_hr": f"model.{first}", "conv_last": f"model.{first + 2}"}
    result: Arrays = {}
    for key, value in arrays.items():
        stem, _, kind = key.rpartition(".")
        if stem in tops:
            result[f"{tops[stem]}.{kind}"] = value
        else:
            _, block, dense, conv = stem.split(".")
            result[f"model.1.sub.{block}.{dense.upper()}.{conv}.0.{kind}"] = value
    return result


def same(found: Arrays, expected: Arrays) -> bool:
    return found.keys() == expected.keys() and all(np.array_equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("spec", [*RRDB, *COMPACT], ids=label)
def test_basicsr_names_and_shapes_give_the_spec_back(
    spec: ModelSpec, prefix: str, random_checkpoint: MakeCheckpoint
) -> None:
    arrays = random_checkpoint(spec, 1).arrays
    shuffled = {f"{prefix}{key}": arrays[key] for key in sorted(arrays, reverse=True)}
    found, weights = canonical(shuffled, "net")
    assert found == spec
    assert same(weights, arrays)
    assert list(weights) == list(parameter_shapes(spec)), "the order is ours"


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("spec", RRDB, ids=label)
def test_newer_esrgan_names_are_known(spec: ModelSpec, prefix: str, random_checkpoint: MakeCheckpoint) -> None:
    arrays = random_checkpoint(spec, 2).arrays
    theirs = {f"{prefix}{key}": value for key, value in to_newer(arrays).items()}
    assert {f"{prefix}trunk_conv.weight", f"{prefix}RRDB_trunk.0.RDB1.conv1.weight"} <= theirs.keys()
    found, weights = canonical(theirs, "net")
    assert found == spec
    assert same(weights, arrays)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_row_38_old_esrgan_files_keep_their_scale(scale: int, prefix: str, random_checkpoint: MakeCheckpoint) -> None:
    """An 8× file is not taken for 4×, nor a 1× file: the flat numbers differ with every doubling."""
    spec = replace(X4, scale=scale)
    arrays = random_checkpoint(spec, 3).arrays
    theirs = {f"{prefix}{key}": value for key, value in to_old(spec, arrays).items()}
    found, weights = canonical(theirs, "net")
    assert found == spec
    assert same(weights, arrays)


def test_old_names_are_the_known_ones(random_checkpoint: MakeCheckpoint) -> None:
    """The numbers in RRDB_ESRGAN_x4_old_arch.pth, so that `to_old` above does not agree with a mistake of its own."""
    keys = to_old(replace(X4, blocks=23), random_checkpoint(replace(X4, blocks=23), 0).arrays).keys()
    tops = {"model.0", "model.1.sub.23", "model.3", "model.6", "model.8", "model.10"}
    assert {f"{top}.{kind}" for top in tops for kind in ("weight", "bias")} == {key for key in keys if "RDB" not in key}
    assert "model.1.sub.22.RDB3.conv5.0.bias" in keys


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_scale_comes_from_the_shapes_and_never_from_the_name(scale: int, random_checkpoint: MakeCheckpoint) -> None:
    for spec in (replace(X4, scale=scale), replace(COMPACT[0], scale=scale)):
        for name in ("x1", "2x_net", "net_x4plus", "8x"):
            found, _ = canonical(random_checkpoint(spec, 0).arrays, name)
            assert found == spec.named(name)


def test_compact_networks_without_slopes_are_taken_for_relu(random_checkpoint: MakeCheckpoint) -> None:
    spec = replace(COMPACT[2], activation="relu")
    found, weights = canonical(random_checkpoint(spec, 0).arrays, "net")
    assert found == spec
    assert all(key.split(".")[1] in {"0", "2", "4", "6", "8"} for key in weights)


@pytest.mark.parametrize("form", [lambda spec, arrays: to_old(spec, arrays), lambda _, arrays: to_newer(arrays)])
@pytest.mark.parametrize("extra", ["conv1x1", "noise"])
def test_esrgan_plus_variants_are_unknown_and_never_taken_for_esrgan(
    form: Callable[[ModelSpec, Arrays], Arrays], extra: str, random_checkpoint: MakeCheckpoint
) -> None:
    theirs = form(X4, random_checkpoint(X4, 0).arrays)
    dense = next(key for key in theirs if "RDB1.conv1" in key).partition(".conv1")[0]
    theirs[f"{dense}.{extra}.weight"] = np.zeros((4, 8, 1, 1), np.float32)
    with pytest.raises(UnknownArchitectureError, match=rf"picture_net: .*{extra}"):
        canonical(theirs, "picture_net")


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"weight": np.zeros((3, 3), np.float32)},
        {"conv_first.weight": np.zeros((64, 3, 3, 3), np.float32)},
        {"model.0.weight": np.zeros((64, 3, 3, 3), np.float32)},
        {
            "conv_first.weight": np.zeros((64, 3, 3, 3), np.float32),
            "layers.0.attn.weight": np.zeros((8, 8), np.float32),
        },
        {"body.0.weight": np.zeros((64, 3, 3, 3), np.float32)},
        {"body.0.weight": np.zeros(64, np.float32)},
        {"body.0.weight": np.zeros((0, 3, 3, 3), np.float32)},
        {f"body.{k}.weight": np.zeros((8, 3, 3, 3), np.float32) for k in (0, 2, 10**10)},
        {f"body.{k}.weight": np.zeros((8, 3, 3, 3), np.float32) for k in ("0", "2", "04")},
        {f"model.{k}.weight": np.zeros((8, 3, 3, 3), np.float32) for k in (0, 2, "1.sub.0", "9" * 5000)},
    ],
)
def test_other_networks_are_unknown(arrays: Arrays) -> None:
    with pytest.raises(UnknownArchitectureError, match="picture_net"):
        canonical(arrays, "picture_net")


@pytest.mark.parametrize("spec", [X4, RRDB[4], COMPACT[2]], ids=label)
def test_each_missing_parameter_is_noticed(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    arrays = random_checkpoint(spec, 0).arrays
    for key in arrays:
        with pytest.raises(ModelError, match="picture_net"):
            canonical({other: value for other, value in arrays.items() if other != key}, "picture_net")


@pytest.mark.parametrize("spec", [X4, RRDB[4], COMPACT[2]], ids=label)
def test_each_wrong_shape_is_noticed(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    arrays = random_checkpoint(spec, 0).arrays
    for key, value in arrays.items():
        for wrong in (value[..., :-1], value[np.newaxis], value.ravel()[:1], value[:0], np.float32(1) * value.sum()):
            with pytest.raises(ModelError, match="picture_net"):
                canonical({**arrays, key: np.asarray(wrong)}, "picture_net")


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_no_set_of_arrays_makes_it_crash(data: st.DataObject) -> None:
    """Whatever shapes the known names have: a spec that fits them, or a ModelError."""
    base = data.draw(st.sampled_from([X4, RRDB[5], COMPACT[2]]))
    shapes = dict(parameter_shapes(base))
    for key in data.draw(st.lists(st.sampled_from(sorted(shapes)), max_size=4)):
        shapes[key] = tuple(data.draw(st.lists(st.integers(0, 13), max_size=4)))
    dropped = data.draw(st.sets(st.sampled_from(sorted(shapes)), max_size=2))
    extra = data.draw(st.sampled_from(["", "body.9.rdb1.conv1.weight", "conv_up7.weight", "body.99.weight"]))
    if extra:
        shapes[extra] = (8, 8, 3, 3)
    arrays = {key: np.zeros(shape, np.float32) for key, shape in shapes.items() if key not in dropped}
    try:
        spec, weights = canonical(arrays, "net")
    except ModelError as error:
        message = str(error)
    else:
        message = "net: "
        assert {key: value.shape for key, value in weights.items()} == parameter_shapes(spec)
    assert message.startswith("net: ")
    assert "\n" not in message


# ---------------------------------------------------------------- ncnn's layers


def rrdb_layers(spec: ModelSpec, arrays: Arrays) -> list[Layer]:
    stems = dict.fromkeys(key.rpartition(".")[0] for key in arrays)
    layers = []
    for stem in stems:
        if stem.startswith("conv_up"):
            layers.append(Layer("Interp", {}, ()))
        layers.append(Layer("Convolution", {}, (arrays[f"{stem}.weight"], arrays[f"{stem}.bias"])))
        layers.append(Layer("Concat", {}, ()))
    return layers


def compact_layers(spec: ModelSpec, arrays: Arrays, act: Layer | None) -> list[Layer]:
    layers = []
    for k in range(spec.blocks + 2):
        layers.append(Layer("Convolution", {}, (arrays[f"body.{2 * k}.weight"], arrays[f"body.{2 * k}.bias"])))
        if k <= spec.blocks:
            layers.append(act or Layer("PReLU", {}, (arrays[f"body.{2 * k + 1}.weight"],)))
    return [*layers, Layer("PixelShuffle", {0: spec.scale}, ()), Layer("Interp", {}, ()), Layer("BinaryOp", {}, ())]


@pytest.mark.parametrize("spec", RRDB, ids=label)
def test_ncnn_layers_of_an_rrdbnet_are_named_by_their_order(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    arrays = random_checkpoint(spec, 4).arrays
    found, weights = from_layers(rrdb_layers(spec, arrays), "net")
    assert found == spec
    assert same(weights, arrays)


@pytest.mark.parametrize("spec", COMPACT, ids=label)
def test_ncnn_layers_of_a_compact_network_are_named_by_their_order(
    spec: ModelSpec, random_checkpoint: MakeCheckpoint
) -> None:
    arrays = random_checkpoint(spec, 4).arrays
    found, weights = from_layers(compact_layers(spec, arrays, None), "net")
    assert found == spec
    assert same(weights, arrays)


@pytest.mark.parametrize(("slope", "activation"), [(0.0, "relu"), (0.1, "leakyrelu")])
def test_ncnn_layers_show_the_activation(slope: float, activation: str, random_checkpoint: MakeCheckpoint) -> None:
    spec = replace(COMPACT[2], activation=activation)  # type: ignore[arg-type]
    arrays = random_checkpoint(spec, 4).arrays
    found, weights = from_layers(compact_layers(spec, arrays, Layer("ReLU", {0: slope}, ())), "net")
    assert found == spec
    assert same(weights, arrays)


@pytest.mark.parametrize("act", [Layer("ReLU", {0: 0.3}, ()), Layer("Swish", {}, ()), Layer("GELU", {}, ())])
def test_ncnn_activations_that_the_network_has_not_are_refused(act: Layer, random_checkpoint: MakeCheckpoint) -> None:
    spec = replace(COMPACT[2], activation="relu")
    with pytest.raises(UnknownArchitectureError, match=r"picture_net: .*activation"):
        from_layers(compact_layers(spec, random_checkpoint(spec, 4).arrays, act), "picture_net")


def test_ncnn_activations_fused_into_a_convolution_are_refused(random_checkpoint: MakeCheckpoint) -> None:
    """ncnn's optimizer does this; without them the network would be linear."""
    spec = replace(COMPACT[2], activation="relu")
    layers = compact_layers(spec, random_checkpoint(spec, 4).arrays, Layer("ReLU", {}, ()))
    fused = [replace(layer, parameters={9: 2.0}) for layer in layers if layer.kind != "ReLU"]
    with pytest.raises(UnknownArchitectureError, match="picture_net"):
        from_layers(fused, "picture_net")


def test_ncnn_layers_of_other_networks_are_unknown(random_checkpoint: MakeCheckpoint) -> None:
    layers = rrdb_layers(X4, random_checkpoint(X4, 4).arrays)
    for wrong in ([], layers[:1], layers[3:], [layer for layer in layers if layer.kind != "Interp"], layers * 2):
        with pytest.raises(UnknownArchitectureError, match="picture_net"):
            from_layers(wrong, "picture_net")
