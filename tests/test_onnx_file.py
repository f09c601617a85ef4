"""Networks as ONNX files: valid by ONNX's own checker, and computing what the network computes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscale import trial
from upscale.checkpoint import SPEC_KEY, Checkpoint
from upscale.convert import ENOUGH_DB, halved
from upscale.engines.reference import forward
from upscale.image import Array, Floats
from upscale.onnx_file import onnx_bytes
from upscale.onnx_wire import tensor
from upscale.rows import unshuffled
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

SPECS = [
    ModelSpec("x4", "rrdb", 4, 8, 4, 2),
    ModelSpec("x2 in front", "rrdb", 2, 8, 4, 1, unshuffle=2),
    ModelSpec("x1 in front", "rrdb", 1, 8, 4, 1, unshuffle=4),
    ModelSpec("x1", "rrdb", 1, 8, 4, 1),
    ModelSpec("x8", "rrdb", 8, 6, 4, 1),
    ModelSpec("x4 alias-free", "rrdb", 4, 8, 4, 1, upsampling="alias-free"),
    ModelSpec("c4 prelu", "compact", 4, 8, blocks=5, activation="prelu"),
    ModelSpec("c3 relu", "compact", 3, 8, blocks=2, activation="relu"),
    ModelSpec("c2 leaky", "compact", 2, 7, blocks=4),
    ModelSpec("c1 prelu", "compact", 1, 8, blocks=1, activation="prelu"),
]
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)


def written(checkpoint: Checkpoint, folder: Path) -> Path:
    path = folder / "net.onnx"
    facts = {**checkpoint.notes, SPEC_KEY: checkpoint.spec.to_json()}
    path.write_bytes(onnx_bytes(checkpoint.spec, checkpoint.arrays, facts))
    return path


def expected(checkpoint: Checkpoint, picture: Floats) -> Floats:
    features = np.concatenate(list(unshuffled(iter([picture]), checkpoint.spec.unshuffle)))
    return forward(checkpoint.spec, checkpoint.arrays, features)


def close(path: Path, checkpoint: Checkpoint) -> None:
    runtime = trial.open_onnx(path)
    assert runtime is not None, "onnxruntime or openvino must be installed for the tests"
    for rows, columns in ((10, 14), (5, 3)):
        factor = checkpoint.spec.unshuffle
        picture = np.random.default_rng(rows).random((rows * factor, columns * factor, 3), np.float32)
        assert trial.decibels(runtime.run(picture), expected(checkpoint, picture)) > ENOUGH_DB


@by_spec
def test_the_file_computes_what_the_network_computes(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(spec, 1)
    close(written(checkpoint, tmp_path), checkpoint)


@pytest.mark.parametrize("spec", [SPECS[1], SPECS[6]], ids=lambda spec: spec.name)
def test_openvino_opens_it_too(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    checkpoint = random_checkpoint(spec, 2)
    path = written(checkpoint, tmp_path)
    runtime = trial.open_onnx(path)
    assert runtime is not None
    assert runtime.name.startswith("openvino ")
    close(path, checkpoint)


@pytest.mark.parametrize("spec", [SPECS[1], SPECS[6]], ids=lambda spec: spec.name)
def test_half_precision_is_that_of_the_kernels_alone(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(spec, 3)
    half = halved(checkpoint, kernels=True)
    path = written(half, tmp_path)
    rounded: dict[str, Any] = {key: value.astype(np.float32) for key, value in half.arrays.items()}
    close(path, Checkpoint(spec, rounded))
    kernels = sum(value.size for value in checkpoint.arrays.values() if value.ndim == 4)
    path_full = tmp_path / "full"
    path_full.mkdir()
    saved = written(checkpoint, path_full).stat().st_size - path.stat().st_size
    assert 0.5 * 2 * kernels < saved <= 2 * kernels


@by_spec
def test_onnxs_own_checker_agrees(spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    onnx: Any = pytest.importorskip("onnx")
    checkpoint = halved(random_checkpoint(spec, 4), kernels=True)
    path = written(Checkpoint(spec, checkpoint.arrays, {"blend": "a + b"}), tmp_path)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert [(item.domain, item.version) for item in model.opset_import] == [("", 17)]
    facts = {item.key: item.value for item in model.metadata_props}
    assert ModelSpec.from_json(facts[SPEC_KEY]) == spec
    assert facts["blend"] == "a + b"
    (taken,), (given,) = model.graph.input, model.graph.output
    assert (taken.name, given.name) == ("input", "output")
    sides = [side.dim_param or side.dim_value for side in taken.type.tensor_type.shape.dim]
    assert sides == ["batch", 3, "height", "width"]
    for stored in model.graph.initializer:
        if stored.name.removesuffix(".fp16") in checkpoint.arrays:
            wanted = checkpoint.arrays[stored.name.removesuffix(".fp16")]
            assert np.array_equal(onnx.numpy_helper.to_array(stored).ravel(), wanted.ravel())


@pytest.mark.parametrize("values", [np.arange(300, dtype=np.int64), np.ones((1, 200, 3), np.float16)])
def test_tensors_are_read_by_onnx(values: Array) -> None:
    onnx: Any = pytest.importorskip("onnx")
    found = onnx.numpy_helper.to_array(onnx.TensorProto.FromString(tensor("größe", values)))
    assert found.dtype == values.dtype
    assert np.array_equal(found, values)


def test_any_number_of_pictures_at_once(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    ort: Any = pytest.importorskip("onnxruntime")
    checkpoint = random_checkpoint(SPECS[6], 5)
    session = ort.InferenceSession(str(written(checkpoint, tmp_path)), providers=["CPUExecutionProvider"])
    pictures = np.random.default_rng(0).random((3, 3, 6, 5), np.float32)
    result = session.run(["output"], {"input": pictures})[0]
    for picture, found in zip(pictures, result, strict=True):
        assert trial.decibels(found.transpose(1, 2, 0), expected(checkpoint, picture.transpose(1, 2, 0))) > ENOUGH_DB


def test_the_same_network_gives_the_same_bytes(random_checkpoint: MakeCheckpoint) -> None:
    first, second = (onnx_bytes(SPECS[0], random_checkpoint(SPECS[0], 1).arrays, {}) for _ in range(2))
    assert first == second


def test_a_foreign_network_is_refused() -> None:
    with pytest.raises(ValueError, match="foreign"):
        onnx_bytes(ModelSpec("f", "foreign", 2), {}, {})


def test_the_specs_json_is_plain_text(random_checkpoint: MakeCheckpoint) -> None:
    spec = ModelSpec("Größe", "compact", 2, 4, blocks=1)
    data = onnx_bytes(spec, random_checkpoint(spec, 0).arrays, {SPEC_KEY: spec.to_json()})
    assert json.dumps("Größe").encode() in data
