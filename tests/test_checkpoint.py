"""Every kind of checkpoint file opens as what it is, or is refused in one line that names it, and never runs code."""

import json
import os
import pickle
import stat
import struct
import sys
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file as save_numpy
from safetensors.torch import save_file as save_torch

from upscale.checkpoint import SPEC_KEY, Checkpoint, blend, read_checkpoint, write_pth, write_safetensors
from upscale.errors import ModelError
from upscale.keys import UnknownArchitectureError
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

RRDB = ModelSpec("net", "rrdb", 4, 8, 4, 1)
X2 = ModelSpec("net", "rrdb", 2, 8, 4, 1, unshuffle=2)
X1 = ModelSpec("net", "rrdb", 1, 8, 4, 1, unshuffle=4)
COMPACT = ModelSpec("net", "compact", 2, 8, blocks=3, activation="prelu")
RELU = replace(COMPACT, activation="relu")
LEAKY = replace(COMPACT, activation="leakyrelu")
SPECS = [RRDB, X2, X1, COMPACT, RELU, LEAKY]


def label(spec: ModelSpec) -> str:
    return f"{spec.arch} x{spec.scale} {spec.activation}"


def state_dict(checkpoint: Checkpoint) -> "OrderedDict[str, torch.Tensor]":
    return OrderedDict((key, torch.from_numpy(value.copy())) for key, value in checkpoint.arrays.items())


def assert_same(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.arrays.keys() == expected.arrays.keys()
    for key, value in expected.arrays.items():
        assert found.arrays[key].dtype == np.float32
        assert np.array_equal(found.arrays[key], value), key


def refused(path: Path) -> str:
    """The message with which a file is refused: one line, and it names the file."""
    with pytest.raises(ModelError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert path.stem in message
    assert "\n" not in message
    return message


# ---------------------------------------------------------------- our own form


@pytest.mark.parametrize("spec", SPECS, ids=label)
def test_our_own_form_keeps_spec_notes_and_every_bit(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    named = replace(spec, name="a fine näme", license="CC-BY-4.0")
    notes = {"source": "https://example.org/net.pth", "sha256": "0" * 64, "ümlaut": "ja\nzwei Zeilen"}
    checkpoint = Checkpoint(named, random_checkpoint(spec, 1).arrays, notes)
    write_safetensors(checkpoint, tmp_path / "other_x8.safetensors")
    found = read_checkpoint(tmp_path / "other_x8.safetensors")
    assert found.spec == named
    assert found.notes == notes
    assert_same(found, checkpoint)
    assert all(value.flags.writeable for value in found.arrays.values())


def test_what_was_read_can_be_written_again_byte_for_byte(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    first, second = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    write_safetensors(replace(random_checkpoint(RRDB, 1), notes={"a": "b"}), first)
    write_safetensors(read_checkpoint(first), second)
    one, two = first.read_bytes(), second.read_bytes()
    assert header(one) == header(two)
    assert len(one) == len(two)


def header(content: bytes) -> Any:
    return json.loads(content[8 : 8 + struct.unpack("<Q", content[:8])[0]])


def test_our_own_form_opens_elsewhere(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    from safetensors.torch import load_file

    checkpoint = random_checkpoint(RRDB, 1)
    write_safetensors(checkpoint, tmp_path / "net.safetensors")
    loaded = load_file(tmp_path / "net.safetensors")
    assert all(np.array_equal(loaded[key].numpy(), value) for key, value in checkpoint.arrays.items())


def test_arrays_that_are_views_are_written_as_they_look(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(COMPACT, 1)
    turned = {key: np.asfortranarray(value) for key, value in checkpoint.arrays.items()}
    write_safetensors(Checkpoint(COMPACT, turned), tmp_path / "net.safetensors")
    assert_same(read_checkpoint(tmp_path / "net.safetensors"), checkpoint)


@pytest.mark.skipif(sys.platform == "win32", reason="rights as on POSIX systems")
def test_written_files_have_ordinary_rights(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(COMPACT, 1)
    before = os.umask(0o022)
    try:
        write_safetensors(checkpoint, tmp_path / "net.safetensors")
        write_pth(checkpoint, tmp_path / "net.pth")
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.glob("net.*")} == {0o644}


def test_a_failed_write_leaves_the_old_file(
    tmp_path: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, checkpoint = tmp_path / "net.safetensors", random_checkpoint(COMPACT, 1)
    write_safetensors(checkpoint, path)

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        write_safetensors(random_checkpoint(COMPACT, 2), path)
    assert_same(read_checkpoint(path), checkpoint)
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_are_read_as_fp32(
    dtype: torch.dtype, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    state = {key: value.to(dtype) for key, value in state_dict(random_checkpoint(COMPACT, 1)).items()}
    save_torch(state, tmp_path / "net.safetensors")
    torch.save(state, tmp_path / "net.pth")
    for name in ("net.safetensors", "net.pth"):
        found = read_checkpoint(tmp_path / name)
        assert found.spec == COMPACT
        assert_same(found, Checkpoint(COMPACT, {key: value.float().numpy() for key, value in state.items()}))


def test_foreign_safetensors_without_a_spec_open_by_their_shapes(
    tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(X2, 1)
    save_numpy(checkpoint.arrays, tmp_path / "4x_net.safetensors", {"title": "kept"})
    found = read_checkpoint(tmp_path / "4x_net.safetensors")
    assert found.spec == X2.named("4x_net")
    assert found.notes == {"title": "kept"}
    assert_same(found, checkpoint)


@pytest.mark.parametrize(
    "change",
    [
        {"scale": 2},
        {"scale": 8},
        {"blocks": 2},
        {"features": 16},
        {"growth": 8},
        {"unshuffle": 2, "scale": 2},
        {"arch": "compact"},
        {"arch": "foreign"},
        {"activation": "prelu"},
    ],
    ids=str,
)
def test_a_spec_that_disagrees_with_the_tensors_is_refused(
    change: dict[str, Any], tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    path = tmp_path / "picture_net.safetensors"
    lie = replace(RRDB, **change).to_json()
    save_numpy(random_checkpoint(RRDB, 1).arrays, path, {SPEC_KEY: lie})
    assert "its spec says" in refused(path)


@pytest.mark.parametrize(("true", "written"), [("prelu", "relu"), ("prelu", "leakyrelu"), ("relu", "prelu")])
def test_a_spec_cannot_deny_the_slopes(
    true: str, written: str, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    path = tmp_path / "picture_net.safetensors"
    arrays = random_checkpoint(replace(COMPACT, activation=true), 1).arrays  # type: ignore[arg-type]
    save_numpy(arrays, path, {SPEC_KEY: replace(COMPACT, activation=written).to_json()})  # type: ignore[arg-type]
    assert "its spec says" in refused(path)


@pytest.mark.parametrize("text", ["", "{}", "no json", '{"name": "x", "arch": "rrdb", "scale": "4"}'])
def test_an_unreadable_spec_is_refused(text: str, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    path = tmp_path / "picture_net.safetensors"
    save_numpy(random_checkpoint(RRDB, 1).arrays, path, {SPEC_KEY: text})
    assert "spec" in refused(path)


# ---------------------------------------------------------------- PyTorch's form


@pytest.mark.parametrize("old_format", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("key", ["params_ema", "params", "state_dict", "model_state_dict", "model", "net_g", None])
def test_state_dicts_are_found_bare_or_nested(
    key: str | None, old_format: bool, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(X1, 1)
    state: Any = state_dict(checkpoint)
    content = state if key is None else {key: state, "iter": 5, "name": "text"}
    torch.save(content, tmp_path / "x4.pth", _use_new_zipfile_serialization=not old_format)
    found = read_checkpoint(tmp_path / "x4.pth")
    assert found.spec == X1.named("x4")
    assert_same(found, checkpoint)


def test_the_averaged_weights_are_preferred(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    plain, averaged = random_checkpoint(RRDB, 1), random_checkpoint(RRDB, 2)
    torch.save({"params": state_dict(plain), "params_ema": state_dict(averaged)}, tmp_path / "net.pth")
    assert_same(read_checkpoint(tmp_path / "net.pth"), averaged)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".ckpt", ".pkl", ".PTH"])
def test_all_usual_suffixes_are_known(suffix: str, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(COMPACT, 1)
    torch.save(state_dict(checkpoint), tmp_path / f"net{suffix}")
    assert_same(read_checkpoint(tmp_path / f"net{suffix}"), checkpoint)


def test_parameters_that_ask_for_gradients_are_read_too(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(COMPACT, 1)
    parameters = {key: torch.nn.Parameter(value) for key, value in state_dict(checkpoint).items()}
    torch.save(parameters, tmp_path / "net.pth")
    assert_same(read_checkpoint(tmp_path / "net.pth"), checkpoint)


@pytest.mark.parametrize("scale", [1, 2, 4, 8])
def test_row_38_scale_is_read_off_the_tensors_whatever_the_file_is_called(
    scale: int, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    for spec in (replace(RRDB, scale=scale), replace(COMPACT, scale=scale)):
        for name in ("4x_net", "net_x4plus", "x1", "8x-net-2x"):
            torch.save({"params": state_dict(random_checkpoint(spec, 1))}, tmp_path / f"{name}.pth")
            assert read_checkpoint(tmp_path / f"{name}.pth").spec == spec.named(name)


@pytest.mark.parametrize("spec", SPECS[:5], ids=label)
def test_pth_files_are_the_form_that_real_esrgan_reads(
    spec: ModelSpec, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(spec, 1)
    write_pth(checkpoint, tmp_path / "net.pth")
    loaded = torch.load(tmp_path / "net.pth", weights_only=True)
    assert list(loaded) == ["params_ema"]
    assert list(loaded["params_ema"]) == list(checkpoint.arrays)
    for key, value in loaded["params_ema"].items():
        assert value.dtype == torch.float32
        assert np.array_equal(value.numpy(), checkpoint.arrays[key])
    found = read_checkpoint(tmp_path / "net.pth")
    assert found.spec == spec
    assert_same(found, checkpoint)


# ---------------------------------------------------------------- files that are not what they should be


class Evil:
    """A pickle of this touches a file when it is loaded."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f'echo evil > "{self.victim}"',)


class EvilTouch(Evil):
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.victim,)


class EvilEval(Evil):
    def __reduce__(self) -> tuple[Any, ...]:
        return eval, (f"open({str(self.victim)!r}, 'w').close()",)


@pytest.mark.parametrize("kind", [Evil, EvilTouch, EvilEval])
@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".pt", ".pkl"])
@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_and_runs_nothing(
    form: str, suffix: str, kind: type[Evil], tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    victim, path = tmp_path / "victim", tmp_path / f"evil{suffix}"
    content = {"params": state_dict(random_checkpoint(COMPACT, 1)), "extra": kind(victim)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content["extra"]))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert "refused" in refused(path)
    assert not victim.exists(), "the file's code ran"


def test_the_malicious_pickles_would_have_done_harm(tmp_path: Path) -> None:
    """So that the test above does not pass because its pickles are harmless."""
    for number, kind in enumerate((Evil, EvilTouch, EvilEval)):
        victim = tmp_path / f"victim{number}"
        pickle.loads(pickle.dumps(kind(victim)))
        assert victim.exists()


@pytest.mark.parametrize("share", [0.0, 0.001, 0.05, 0.3, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_a_truncated_file_is_refused(
    form: str, share: float, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    path = tmp_path / f"picture_net.{'safetensors' if form == 'safetensors' else 'pth'}"
    checkpoint = random_checkpoint(RRDB, 1)
    if form == "safetensors":
        write_safetensors(checkpoint, path)
    else:
        torch.save({"params": state_dict(checkpoint)}, path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    refused(path)


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_damaged_bytes_never_crash_the_reader(form: str, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    """A flipped byte may pass unseen in the weights; anywhere else the file is refused, by a ModelError."""
    path = tmp_path / f"net.{'safetensors' if form == 'safetensors' else 'pth'}"
    if form == "safetensors":
        write_safetensors(random_checkpoint(COMPACT, 1), path)
    else:
        torch.save(state_dict(random_checkpoint(COMPACT, 1)), path, _use_new_zipfile_serialization=form == "zip")
    content = path.read_bytes()
    rng = np.random.default_rng(0)
    outcomes = {"read": 0, "refused": 0}
    for place in {*range(0, 1200, 17), *rng.integers(0, len(content), 60)}:
        damaged = bytearray(content)
        damaged[place] ^= int(rng.integers(1, 256))
        path.write_bytes(bytes(damaged))
        try:
            found = read_checkpoint(path)
        except ModelError:
            outcomes["refused"] += 1
        else:
            outcomes["read"] += 1
            assert all(np.isfinite(value).all() for value in found.arrays.values())
    assert outcomes["refused"] > 10


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_nan_in_the_weights_is_refused_by_name(
    suffix: str, value: float, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    checkpoint = random_checkpoint(RRDB, 1)
    checkpoint.arrays["conv_body.weight"][3, 2, 1, 0] = value
    path = tmp_path / f"picture_net{suffix}"
    (write_pth if suffix == ".pth" else write_safetensors)(checkpoint, path)
    assert "conv_body.weight" in refused(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_missing_and_misshapen_parameters_are_refused_by_name(
    suffix: str, tmp_path: Path, random_checkpoint: MakeCheckpoint
) -> None:
    path = tmp_path / f"picture_net{suffix}"
    write = write_pth if suffix == ".pth" else write_safetensors
    arrays = dict(random_checkpoint(RRDB, 1).arrays)
    taken = arrays.pop("body.0.rdb2.conv3.bias")
    write(Checkpoint(RRDB, arrays), path)
    assert "body.0.rdb2.conv3.bias" in refused(path)
    write(Checkpoint(RRDB, {**arrays, "body.0.rdb2.conv3.bias": taken[:-1]}), path)
    assert "body.0.rdb2.conv3.bias" in refused(path)


@pytest.mark.parametrize("content", [5, "text", [1, 2], {"params": 3}, {}, torch.zeros(3), {"epoch": 1}], ids=repr)
def test_pickles_without_a_network_are_refused(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "picture_net.pth")
    refused(tmp_path / "picture_net.pth")


def test_other_networks_are_unknown_so_that_spandrel_can_be_tried(tmp_path: Path) -> None:
    torch.save({"layers.0.attn.weight": torch.zeros(8, 8)}, tmp_path / "picture_net.pth")
    with pytest.raises(UnknownArchitectureError, match="picture_net"):
        read_checkpoint(tmp_path / "picture_net.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".ckpt", ".bin", ".param"])
@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"<html>404</html>", b"\xff" * 64, b"PK\x03\x04" + b"\0" * 50])
def test_files_that_are_something_else_are_refused(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"picture_net{suffix}"
    path.write_bytes(content)
    refused(path)


@pytest.mark.parametrize("name", ["picture_net.png", "picture_net", "picture_net.onnx", "picture_net.bin"])
def test_other_kinds_of_file_are_refused_with_what_is_expected(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"something")
    assert "expected .safetensors, .pth or ncnn's" in refused(tmp_path / name)


@pytest.mark.parametrize("name", ["picture_net.pth", "picture_net.safetensors", "picture_net.param", "picture_net"])
def test_missing_files_and_folders_are_refused(name: str, tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / name)
    (tmp_path / name).mkdir()
    assert "no such file" in refused(tmp_path / name)


def test_a_param_without_its_bin_names_the_missing_one(tmp_path: Path) -> None:
    (tmp_path / "picture_net.param").write_text("7767517\n0 0\n")
    assert "picture_net.bin" in refused(tmp_path / "picture_net.param")


# ---------------------------------------------------------------- blending


@pytest.mark.parametrize("spec", [RRDB, COMPACT], ids=label)
def test_blending_goes_from_the_first_to_the_second(spec: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    first, second = random_checkpoint(spec, 1), random_checkpoint(spec, 2)
    assert_same(blend(first, second, 0.0, "mix"), first)
    assert_same(blend(first, second, 1.0, "mix"), second)
    half, quarter = blend(first, second, 0.5, "mix"), blend(first, second, 0.25, "mix")
    for key in first.arrays:
        one, two = first.arrays[key].astype(np.float64), second.arrays[key].astype(np.float64)
        assert half.arrays[key].dtype == np.float32
        assert np.allclose(half.arrays[key], (one + two) / 2, rtol=1e-6, atol=1e-7)
        assert np.allclose(quarter.arrays[key], 0.75 * one + 0.25 * two, rtol=1e-6, atol=1e-7)


def test_blending_takes_the_new_name_and_leaves_its_inputs_alone(random_checkpoint: MakeCheckpoint) -> None:
    first, second = random_checkpoint(COMPACT, 1).named("first"), random_checkpoint(COMPACT, 2).named("second")
    mixed = blend(first, second, 0.5, "mix")
    assert mixed.spec == COMPACT.named("mix")
    assert_same(first, random_checkpoint(COMPACT, 1))
    assert_same(second, random_checkpoint(COMPACT, 2))


@pytest.mark.parametrize(("one", "two", "expected"), [("MIT", "MIT", "MIT"), ("MIT", "CC-BY-4.0", "unknown")])
def test_a_blend_has_a_license_only_where_both_agree(
    one: str, two: str, expected: str, random_checkpoint: MakeCheckpoint
) -> None:
    first, second = random_checkpoint(COMPACT, 1).named("a", one), random_checkpoint(COMPACT, 2).named("b", two)
    assert blend(first, second, 0.5, "mix").spec.license == expected


@pytest.mark.parametrize("other", [X2, RELU, replace(COMPACT, blocks=4), replace(COMPACT, scale=4)], ids=label)
def test_networks_of_different_shape_cannot_be_blended(other: ModelSpec, random_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(ModelError, match="first and second differ"):
        blend(random_checkpoint(COMPACT, 1).named("first"), random_checkpoint(other, 1).named("second"), 0.5, "mix")


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), float("inf")])
def test_shares_outside_0_to_1_are_refused(share: float, random_checkpoint: MakeCheckpoint) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1"):
        blend(random_checkpoint(COMPACT, 1), random_checkpoint(COMPACT, 2), share, "mix")
