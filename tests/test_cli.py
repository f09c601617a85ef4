"""`upscale` as people call it: files in and files out, honest words and exit codes, and a light start."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image as Pil
from PIL import ImageCms

import upscale
from upscale import cli, sources, workshop, zoo
from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.engines.machine import has_openvino
from upscale.files import sha256_of
from upscale.sources import Shipped
from upscale.spec import ModelSpec
from upscale.work import Record
from upscale.zoo import Entry

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")
SLOW = ModelSpec("slow", "compact", 4, features=64, blocks=32, activation="prelu")
TWICE = ModelSpec("twice", "compact", 2, features=8, blocks=2, activation="prelu")
MakePhoto = Callable[..., npt.NDArray[Any]]
SCALES = [0.5, 0.75, 1, 1.5, 2, 2.5, 3, 4, 5, 8, 16]


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]


Call = Callable[..., Result]


@pytest.fixture(scope="session")
def models(random_checkpoint: Callable[[ModelSpec, int], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    for spec in (TINY, SLOW, TWICE):
        write_safetensors(random_checkpoint(spec, 0), folder / f"{spec.name}.safetensors")
    return folder


@pytest.fixture
def call(models: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command in this process, with the tiny model."""

    def run(*arguments: str | Path, model: str | None = None) -> Result:
        # The tiny model is random, and its colors are nothing that could be mended.
        options = ["--model", model or str(models / "tiny.safetensors"), "--device", "cpu", "--no-color-fix"]
        monkeypatch.setattr(sys, "argv", ["upscale", *options, *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert isinstance(left.value.code, int)
        return Result(left.value.code, *capfd.readouterr())

    return run


def started(*arguments: str | Path, **options: Any) -> "subprocess.CompletedProcess[str]":
    """The command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "upscale", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        **options,
    )


def save(path: str | Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(pixels).save(path, **options)
    return path


def opened(path: str | Path) -> Pil.Image:
    with Pil.open(path) as picture:
        picture.load()
        return picture


def names(folder: Path) -> list[str]:
    """All files below a folder, but for the list that a batch keeps."""
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir())
    return sorted(name for name in found if Path(name).name != ".upscale.jsonl")


def test_one_picture_becomes_a_larger_one_beside_it(place: Path, call: Call, make_photo: MakePhoto) -> None:
    before = save("in.png", make_photo(12, 17)).read_bytes()
    result = call("in.png")
    assert result.code == 0
    assert result.out == ""
    assert "in_x4.png: 17×12 → 68×48" in result.err
    assert opened("in_x4.png").size == (68, 48)
    assert names(place) == ["in.png", "in_x4.png"]
    assert Path("in.png").read_bytes() == before


def test_python_m_upscale_is_the_command(place: Path, models: Path, make_photo: MakePhoto) -> None:
    save("in.png", make_photo(12, 17))
    done = started("in.png", "--model", models / "tiny.safetensors", "--device", "cpu", "--scale", 2)
    assert (done.returncode, done.stdout) == (0, "")
    assert opened("in_x2.png").size == (34, 24)


def test_the_default_scale_is_the_models_own(place: Path, call: Call, models: Path, make_photo: MakePhoto) -> None:
    save("in.png", make_photo(12, 17))
    assert call("in.png", model=str(models / "twice.safetensors")).code == 0
    assert opened("in_x2.png").size == (34, 24)


@pytest.mark.parametrize(("scale", "taken"), [("2", "own-x2"), ("1.5", "own-x2"), ("4", "own"), (None, "own")])
def test_a_known_model_has_its_variant_do_what_that_can(
    place: Path,
    call: Call,
    models: Path,
    make_photo: MakePhoto,
    monkeypatch: pytest.MonkeyPatch,
    scale: str,
    taken: str,
) -> None:
    def known(name: str, scale: int, file: str, variant_of: str | None = None) -> Entry:
        source = Shipped(file, sha256_of(models / file))
        return Entry(name, "compact", scale, "CC0-1.0", "tests", (source,), variant_of=variant_of)

    own, twice = known("own", 4, "tiny.safetensors"), known("own-x2", 2, "twice.safetensors", "own")
    monkeypatch.setattr(zoo, "entries", lambda: (own, twice))
    monkeypatch.setattr(sources, "data_folder", lambda: models)
    save("in.png", make_photo(12, 16))
    result = call("in.png", "--name", "{model}", *(["--scale", scale] if scale else []), model="own")
    assert (result.code, names(place)) == (0, ["in.png", f"{taken}.png"])
    assert f"{taken} on " in result.err
    assert opened(f"{taken}.png").width == round(16 * float(scale or 4))


def test_version(call: Call) -> None:
    result = call("--version")
    assert (result.code, result.out.strip()) == (0, f"upscale, version {upscale.__version__}")


@pytest.mark.parametrize("scale", SCALES)
def test_output_size_is_the_rounded_product_for_every_scale(
    place: Path, call: Call, make_photo: MakePhoto, scale: float
) -> None:
    sizes = [(1, 37), (37, 1), (3, 3), (1, 1), (13, 7)]
    for index, (height, width) in enumerate(sizes):
        save(f"{index}.png", make_photo(height, width))
    result = call("*.png", "--scale", str(scale), "--json")
    assert result.code == 0
    for index, (height, width) in enumerate(sizes):
        wanted = max(1, round(width * scale)), max(1, round(height * scale))
        assert opened(f"{index}_x{scale:g}.png").size == wanted
        assert tuple(result.records[index]["output_size"]) == wanted
        assert tuple(result.records[index]["input_size"]) == (width, height)


@pytest.mark.parametrize("scale", SCALES)
def test_row_12_transparency_at_every_scale(place: Path, call: Call, make_photo: MakePhoto, scale: float) -> None:
    alpha = np.zeros((9, 11, 1), np.uint8)
    alpha[:, 6:] = 255
    save("a.png", np.dstack((make_photo(9, 11), alpha)))
    assert call("a.png", "--scale", str(scale)).code == 0
    result = np.asarray(opened(f"a_x{scale:g}.png"))
    assert result.shape == (round(9 * scale), round(11 * scale), 4)
    assert result[:, 0, 3].max() <= 8
    assert result[:, -1, 3].min() >= 247


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff"])
@pytest.mark.parametrize("alpha", [False, True])
def test_8_bit_formats(place: Path, call: Call, make_photo: MakePhoto, suffix: str, alpha: bool) -> None:
    if alpha and suffix in (".jpg", ".jpeg"):
        pytest.skip("JPEG has no alpha")
    photo = make_photo(12, 17)
    save(f"a{suffix}", np.dstack((photo, photo[..., 0])) if alpha else photo)
    result = call(f"a{suffix}", "--json")
    assert result.code == 0
    assert result.records[0]["warnings"] == []
    larger = opened(f"a_x4{suffix}")
    assert (larger.mode, larger.size) == ("RGBA" if alpha else "RGB", (68, 48))


@pytest.mark.parametrize(("mode", "written"), [("L", "L"), ("LA", "LA"), ("1", "L"), ("P", "RGB")])
def test_row_15_gray_stays_gray(place: Path, call: Call, make_photo: MakePhoto, mode: str, written: str) -> None:
    Pil.fromarray(make_photo(12, 17)).convert(mode).save("a.png")
    assert call("a.png").code == 0
    assert (opened("a_x4.png").mode, opened("a_x4.png").size) == (written, (68, 48))


def test_row_11_palette_with_transparency(place: Path, call: Call, make_photo: MakePhoto) -> None:
    palette = Pil.fromarray(make_photo(12, 17)).quantize(8)
    palette.save("a.png", transparency=palette.getpixel((0, 0)))
    assert call("a.png").code == 0
    larger = opened("a_x4.png")
    assert larger.mode == "RGBA"
    assert larger.getpixel((1, 1))[3] < 128


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_in_is_16_bit_out(place: Path, call: Call, make_photo: MakePhoto, suffix: str) -> None:
    cv2.imwrite(f"a{suffix}", make_photo(40, 50, dtype=np.uint16))
    assert call(f"a{suffix}").code == 0
    larger = cv2.imread(f"a_x4{suffix}", cv2.IMREAD_UNCHANGED)
    assert (larger.dtype, larger.shape) == (np.uint16, (160, 200, 3))
    assert len(np.unique(larger)) > 5000


def test_rows_17_to_19_metadata_goes_along(place: Path, call: Call, make_photo: MakePhoto) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = Pil.Exif()
    exif[0x0112], exif[0x010F] = 6, "a maker"
    save("a.jpg", make_photo(12, 17), exif=exif.tobytes(), icc_profile=profile, dpi=(240, 240))
    assert call("a.jpg").code == 0
    larger = opened("a_x4.jpg")
    assert larger.size == (48, 68)
    assert larger.info["icc_profile"] == profile
    assert larger.info["dpi"] == (240, 240)
    assert larger.getexif()[0x010F] == "a maker"
    assert larger.getexif().get(0x0112, 1) == 1


def test_row_13_transparency_into_jpeg_is_put_on_white_with_a_warning(
    place: Path, call: Call, make_photo: MakePhoto
) -> None:
    save("a.png", np.dstack((make_photo(12, 17), np.zeros((12, 17), np.uint8))))
    result = call("a.png", "-o", "a.jpg", "--json")
    assert result.code == 0
    assert "white" in result.records[0]["warnings"][0]
    assert "warning: a.jpg: " in result.err
    assert np.asarray(opened("a.jpg")).min() >= 254


def test_16_bit_into_jpeg_is_rounded_with_a_warning(place: Path, call: Call, make_photo: MakePhoto) -> None:
    cv2.imwrite("a.png", make_photo(12, 17, dtype=np.uint16))
    result = call("a.png", "-o", "a.jpg", "--json")
    assert result.code == 0
    assert "8 bits" in result.records[0]["warnings"][0]
    assert opened("a.jpg").mode == "RGB"


def test_wish_20_a_folder_is_mirrored(place: Path, call: Call, make_photo: MakePhoto) -> None:
    for name in ("in/a.png", "in/x/b.jpg", "in/x/y/c.webp"):
        save(name, make_photo(5, 6))
    Path("in/x/notes.txt").write_text("not a picture")
    assert call("in").code == 0
    assert names(place / "in_x4") == ["a.png"]
    assert call("in", "--recursive", "--overwrite").code == 0
    assert names(place / "in_x4") == ["a.png", "x/b.jpg", "x/y/c.webp"]
    assert call("in", "-r", "-o", "out", "--scale", "2").code == 0
    assert names(place / "out") == ["a.png", "x/b.jpg", "x/y/c.webp"]


def test_patterns_and_names_with_brackets(place: Path, call: Call, make_photo: MakePhoto) -> None:
    for name in ("a[1].png", "b.png", "c.png"):
        save(name, make_photo(5, 6))
    assert call("a[1].png", "[bc].png").code == 0
    assert names(place) == ["a[1].png", "a[1]_x4.png", "b.png", "b_x4.png", "c.png", "c_x4.png"]


@pytest.mark.parametrize("name", ["图片.png", "ñandú é.png", "with two  spaces.png", "new\nline.png", "%s {0}.png"])
def test_row_20_any_name(place: Path, call: Call, make_photo: MakePhoto, name: str) -> None:
    save(name, make_photo(5, 6))
    assert call(name).code == 0
    assert opened(name.replace(".png", "_x4.png")).size == (24, 20)


@pytest.mark.skipif(sys.platform != "linux", reason="names that are no text exist on Linux only")
@pytest.mark.parametrize("option", ["-v", "--json", "--dry-run"])
def test_row_20_names_that_are_no_text(place: Path, models: Path, make_photo: MakePhoto, option: str) -> None:
    save("a.png", make_photo(5, 6)).rename(os.fsdecode(b"bad\xff.png"))
    done = subprocess.run(
        [sys.executable, "-m", "upscale", b"bad\xff.png", "--model", models / "tiny.safetensors", option],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    assert option == "--dry-run" or opened(os.fsdecode(b"bad\xff_x4.png")).size == (24, 20)


def test_names_with_a_leading_dash_after_two(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("-v.png", make_photo(5, 6))
    assert call("--", "-v.png").code == 0
    assert names(place) == ["-v.png", "-v_x4.png"]


def test_an_existing_output_is_not_touched_without_overwrite(place: Path, call: Call, make_photo: MakePhoto) -> None:
    for name in ("a.png", "b.png"):
        save(name, make_photo(5, 6))
    Path("a_x4.png").write_bytes(b"mine")
    result = call("a.png", "b.png")
    assert result.code == 1
    assert Path("a_x4.png").read_bytes() == b"mine"
    assert "a_x4.png: exists already; --overwrite replaces it" in result.err
    assert opened("b_x4.png").size == (24, 20)
    assert call("a.png", "--overwrite").code == 0
    assert opened("a_x4.png").size == (24, 20)


def test_wish_20_results_of_one_name_get_distinct_names(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("x/a.png", make_photo(5, 6))
    save("y/a.png", make_photo(7, 8))
    result = call("x/a.png", "y/a.png", "-o", "out", "--overwrite")
    assert result.code == 0
    assert opened("out/a_x4.png").size == (24, 20)
    assert opened("out/a_png_x4.png").size == (32, 28)


def test_row_34_one_broken_file_does_not_stop_the_batch(place: Path, call: Call, make_photo: MakePhoto) -> None:
    photo = make_photo(12, 17)
    save("good1.png", photo)
    save("zgood2.png", photo)
    picture, many = Pil.fromarray(photo), {"save_all": True, "append_images": [Pil.fromarray(photo[::-1].copy())]}
    picture.save("pages.tif", **many)
    Path("shot.cr2").write_bytes(b"II*\0\x10\0\0\0CR\2\0")
    picture.convert("F").save("float.tif")
    Path("text.png").write_text("hello")
    Path("empty.png").touch()
    data = Path("good1.png").read_bytes()
    Path("cut.png").write_bytes(data[: len(data) // 2])
    Path("folder.png").mkdir()
    Path("link.png").symlink_to("nowhere.png")
    bad = ["pages.tif", "shot.cr2", "float.tif", "text.png", "empty.png"]
    bad += ["cut.png", "folder.png", "link.png", "missing.png"]
    result = call("good1.png", *bad, "zgood2.png", "--json")
    assert result.code == 1
    assert [record["status"] for record in result.records] == ["done"] + ["failed"] * len(bad) + ["done"]
    for name, record in zip(bad, result.records[1:], strict=False):
        assert record["error"].startswith(f"{name}: ")
        assert result.err.count(f"upscale: failed: {record['error']}\n") == 1, "one line, and it is all there is"
        assert f"  {record['error']}\n" in result.err, "the list at the end"
    assert f"{len(bad)} of {len(bad) + 2} inputs failed" in result.err
    for name in ("good1_x4.png", "zgood2_x4.png"):
        assert opened(name).size == (68, 48)
    assert [name for name in names(place) if "_x4" in name] == ["good1_x4.png", "zgood2_x4.png"]


def test_a_broken_16_bit_file_is_told_in_one_line(place: Path, models: Path, make_photo: MakePhoto) -> None:
    cv2.imwrite("a.png", make_photo(40, 50, dtype=np.uint16))
    data = Path("a.png").read_bytes()
    Path("a.png").write_bytes(data[: len(data) // 2])
    done = started("a.png", "--model", models / "tiny.safetensors", "-q")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1, "OpenCV has nothing to add"


def test_an_output_folder_that_cannot_be_written_is_told(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(5, 6))
    Path("file").touch()
    plain, below = call("a.png", "-o", "file"), call("a.png", "-o", "file/deeper")
    assert (plain.code, below.code) == (2, 1)
    assert "file is neither a folder nor called like a picture" in plain.err
    assert "file/deeper/a_x4.png: cannot be written" in below.err
    assert names(place) == ["a.png", "file"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read and write everything")
def test_rights_that_are_missing_are_told(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("secret.png", make_photo(5, 6)).chmod(0)
    save("good.png", make_photo(5, 6))
    Path("locked").mkdir(mode=0o500)
    result = call("secret.png", "good.png")
    assert result.code == 1
    assert "secret.png: cannot be read" in result.err
    assert Path("good_x4.png").exists()
    assert "cannot be written" in call("good.png", "-o", "locked").err


def test_a_failed_encode_leaves_no_file(
    place: Path, call: Call, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    save("a.png", make_photo(5, 6))

    def fails(file: Any, *_: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("upscale.media.writing.encode.write_png", fails)
    result = call("a.png")
    assert result.code == 1
    assert "a_x4.png: cannot be written (No space left on device)" in result.err
    assert names(place) == ["a.png"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.png", "--scale", "0.4"),
        ("a.png", "--scale", "17"),
        ("a.png", "--scale", "nan"),
        ("a.png", "--scale", "big"),
        ("a.png", "--denoise", "nan"),
        ("a.png", "--denoise", "2"),
        ("a.png", "--tile", "3"),
        ("a.png", "--tile", "some"),
        ("a.png", "--engine", "abacus"),
        ("a.png", "--precision", "int8"),
        ("a.png", "--nonsense"),
        ("a.png", "b.png", "-o", "one.png"),
    ],
)
def test_wrong_usage_exits_with_2_and_does_nothing(
    place: Path, call: Call, make_photo: MakePhoto, arguments: tuple[str, ...]
) -> None:
    for name in ("a.png", "b.png"):
        save(name, make_photo(5, 6))
    result = call(*arguments)
    assert (result.code, result.out) == (2, "")
    assert "Error: " in result.err
    assert "Traceback" not in result.err
    assert names(place) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "nope"), "upscale-models list"),
        (("--model", "missing.safetensors"), "missing.safetensors"),
        (("--model", "a.png"), "a.png"),
        (("--device", "abacus"), "cuda"),
        (("--precision", "fp16"), "bf16 or fp32"),
        (("--denoise", "0.5"), "general-x4v3"),
    ],
)
def test_row_23_what_this_machine_or_model_cannot_do_is_one_line(
    place: Path, call: Call, make_photo: MakePhoto, options: tuple[str, ...], words: str
) -> None:
    save("a.png", make_photo(5, 6))
    result = call("a.png", *options)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("upscale: error: ")
    assert result.err.count("\n") == 1
    assert words in result.err
    assert names(place) == ["a.png"]


@pytest.mark.parametrize("option", [(), ("--json",), ("-q",), ("--dry-run",), ("--json", "--dry-run")])
def test_nothing_to_do_is_a_failure(place: Path, call: Call, option: tuple[str, ...]) -> None:
    Path("empty").mkdir()
    result = call("missing.png", "empty", *option)
    assert result.code == 1
    assert "missing.png: no such file" in result.err
    assert "empty: no pictures in this folder" in result.err
    assert len(result.records) == (2 if "--json" in option else 0)


def test_wish_27_json_is_one_record_per_input_and_nothing_else(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(12, 17))
    Path("b.png").write_text("no picture")
    save("c.png", make_photo(5, 6))
    Path("c_x2.5.png").touch()
    result = call("a.png", "b.png", "c.png", "missing.png", "--json", "--scale", "2.5", "-v")
    assert result.code == 1
    records = result.records
    assert [record["input"] for record in records] == ["a.png", "b.png", "c.png", "missing.png"]
    assert [record["status"] for record in records] == ["done", "failed", "failed", "failed"]
    wanted = {"input", "output", "status", "model", "scale", "input_size", "output_size", "seconds", "device", "engine"}
    wanted |= {"precision", "bands", "warnings", "error", "frames", "color_shift", "color_shift_largest", "video"}
    assert wanted == {field.name for field in fields(Record)}
    assert all(record.keys() == wanted for record in records)
    first = records[0]
    assert (first["output"], first["model"], first["scale"]) == ("a_x2.5.png", "tiny", 2.5)
    assert (first["input_size"], first["output_size"]) == ([17, 12], [42, 30])
    assert (first["device"], first["warnings"], first["error"]) == ("cpu", [], None)
    assert first["engine"] in ("amx", "openvino", "torch")
    assert first["precision"] in ("fp32", "bf16")
    assert first["seconds"] > 0
    assert first["bands"] >= 1
    assert records[2]["output"] == "c_x2.5.png"
    assert records[3]["output"] is None


def test_wish_27_dry_run_writes_nothing_and_says_what_would_be(place: Path, call: Call, make_photo: MakePhoto) -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6
    for suffix in (".png", ".jpg", ".tif"):
        save(f"in/a{suffix}", make_photo(40, 50), exif=exif.tobytes())
    save("b.png", make_photo(5, 6))
    before = names(place)
    result = call("in", "b.png", "missing.png", "--dry-run", "--scale", "2")
    assert result.code == 1
    lines = result.out.splitlines()
    assert len(lines) == 4
    for suffix in (".png", ".jpg", ".tif"):
        assert any(f"in/a{suffix} → in_x2/a{suffix}: 40×50 → 80×100, bands of " in line for line in lines)
    assert all(line.endswith(" MB") for line in lines)
    assert names(place) == before
    planned = call("in", "b.png", "--dry-run", "--json", "--scale", "2")
    assert planned.code == 0
    assert [record["status"] for record in planned.records] == ["planned"] * 4
    assert call("in", "b.png", "--scale", "2").code == 0
    for record in planned.records:
        assert list(opened(record["output"]).size) == record["output_size"]
        assert record["bands"]
        assert record["bytes_needed"] > 0


def test_dry_run_below_scale_1_says_that_no_network_runs(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(40, 50))
    assert "no network" in call("a.png", "--dry-run", "--scale", "0.5").out


def test_dry_run_fails_where_the_run_would(place: Path, call: Call, make_photo: MakePhoto) -> None:
    picture = Pil.fromarray(make_photo(12, 17))
    picture.convert("F").save("float.tif")
    picture.save("pages.tif", save_all=True, append_images=[picture.rotate(90)])
    save("taken.png", make_photo(5, 6))
    Path("taken_x4.png").touch()
    inputs = ("float.tif", "pages.tif", "taken.png")
    dry, real = call(*inputs, "--dry-run"), call(*inputs)
    assert dry.code == real.code == 1
    assert dry.out == ""
    assert [line for line in dry.err.splitlines() if "failed: " in line] == [
        line for line in real.err.splitlines() if "failed: " in line
    ]


def test_quiet_says_nothing_but_failures(place: Path, call: Call, make_photo: MakePhoto) -> None:
    save("a.png", np.dstack((make_photo(5, 6), make_photo(5, 6)[..., 0])))
    assert call("a.png", "-q", "-o", "a.jpg") == Result(0, "", "")
    result = call("a.png", "missing.png", "-q")
    assert result.code == 1
    assert all("missing.png" in line or "1 of 2 inputs failed" in line for line in result.err.splitlines())


def test_verbose_shows_the_traceback_of_a_failure(place: Path, call: Call) -> None:
    Path("a.png").write_text("no picture")
    assert "Traceback" not in call("a.png", "missing.png").err
    Path("b.png").write_text("no picture")
    assert "PictureError" in call("a.png", "b.png", "-v").err


@pytest.mark.parametrize("options", [(), ("--tile", "16"), ("--wrap", "xy"), ("--scale", "2.5")])
def test_row_35_options_hold_in_a_batch_as_for_one(
    place: Path, call: Call, make_photo: MakePhoto, options: tuple[str, ...]
) -> None:
    for index in range(3):
        save(f"in/{index}.png", make_photo(30 + index, 24, index))
    assert call("in", *options, "-o", "batch").code == 0
    assert call("in/1.png", *options, "-o", "alone.png").code == 0
    assert Path("batch/1.png").read_bytes() == Path("alone.png").read_bytes()
    assert call("in/1.png", "-o", "plain.png").code == 0
    same = Path("alone.png").read_bytes() == Path("plain.png").read_bytes()
    assert same == (options in [(), ("--tile", "16")]), "the option was heard"


def test_ctrl_c_while_one_outcome_is_shown_loses_none_of_the_others() -> None:
    shown: list[Any] = []

    def found() -> Generator[Any]:
        try:
            yield "first"
        except KeyboardInterrupt:
            yield "finished meanwhile"
            yield "this too"
            raise

    def show(outcome: Any) -> None:
        if outcome == "first":
            raise KeyboardInterrupt
        shown.append(outcome)

    with pytest.raises(KeyboardInterrupt):
        cli._show_all(found(), show)
    assert shown == ["finished meanwhile", "this too"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX systems")
def test_interrupt_keeps_finished_files_and_leaves_no_half_one(
    place: Path, models: Path, make_photo: MakePhoto
) -> None:
    count = 40
    for index in range(count):
        save(f"in/{index:02}.png", make_photo(160, 160, index))
    child = subprocess.Popen(
        [sys.executable, "-m", "upscale", "in", "--json", "--device", "cpu", "--model", models / "slow.safetensors"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not ignored, as in `pytest &`
    )
    out = Path("in_x4")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not list(out.glob("0[1-9].png")):
        time.sleep(0.01)
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    told, said = child.communicate(timeout=60)
    took = time.monotonic() - sent
    assert child.returncode == 130
    assert took < 5, "2 s on an idle machine"
    finished = names(out)
    assert 2 <= len(finished) < count
    assert finished == [f"{index:02}.png" for index in range(len(finished))], "and nothing else, hidden or half"
    for name in finished:
        assert opened(out / name).size == (640, 640)
    assert [Path(json.loads(line)["output"]).name for line in told.splitlines()] == finished
    assert "interrupted" in said
    assert "Traceback" not in said


def test_an_interrupt_anywhere_is_130(
    place: Path, call: Call, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    save("a.png", make_photo(5, 6))
    monkeypatch.setattr(workshop.Workshop, "_work", interrupted)
    result = call("a.png")
    assert result.code == 130
    assert result.err.strip() == "upscale: interrupted; finished files are kept"


def cpu_seconds(*arguments: str) -> float:
    """User and system time of a Python process: what does not depend on who else is using the machine."""
    import resource

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *arguments], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.skipif(sys.platform == "win32", reason="no resource usage of children")
def test_help_takes_less_than_0_3_seconds() -> None:
    helped = median(cpu_seconds("-m", "upscale", "--help") for _ in range(3))
    bare = median(cpu_seconds("-c", "import click") for _ in range(3))
    assert helped < max(0.3, 3 * bare)


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "numpy", "cv2", "openvino", "PIL", "tqdm", "safetensors")
    code = f"""
import sys
from upscale.cli import main
sys.argv = ["upscale", "--help"]
try:
    main()
finally:
    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    for option in ("--scale", "--model", "--device", "--engine", "--precision", "--tile", "--recursive", "--overwrite"):
        assert option in done.stdout
    for option in ("--json", "--dry-run", "--verbose", "--quiet", "--version", "--out", "Exit codes"):
        assert option in done.stdout


JOB = """
import socket, sys
def refuse(*_, **__):
    raise AssertionError("the internet was reached for")
socket.socket = socket.create_connection = socket.getaddrinfo = refuse
from upscale.cli import main
try:
    main()
finally:
    print("torch" in sys.modules, file=sys.stderr)
"""


@pytest.mark.skipif(not has_openvino(), reason="openvino is what makes torch unnecessary")
def test_a_whole_job_on_the_cpu_needs_neither_torch_nor_the_internet(
    place: Path, models: Path, make_photo: MakePhoto
) -> None:
    save("a.png", make_photo(12, 17))
    done = subprocess.run(
        [sys.executable, "-c", JOB, "a.png", "--device", "cpu", "--model", models / "tiny.safetensors"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "False"
    assert opened("a_x4.png").size == (68, 48)


def test_nothing_reaches_for_the_internet(
    place: Path, call: Call, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("the internet was reached for")

    for name in ("connect", "connect_ex", "sendto"):  # not the class itself: libraries derive from it
        monkeypatch.setattr(socket.socket, name, refuse, raising=False)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    save("a.png", make_photo(12, 17))
    for engine in ("auto", "torch"):
        assert call("a.png", "--engine", engine, "--overwrite").code == 0
    assert call("a.png", "--model", "nope").code == 1


@pytest.mark.parametrize("closed", ["stdout", "stderr"])
@pytest.mark.skipif(sys.platform == "win32", reason="a POSIX shell")
def test_a_closed_stream_does_not_matter(place: Path, models: Path, make_photo: MakePhoto, closed: str) -> None:
    save("a.png", make_photo(5, 6))
    number = 1 if closed == "stdout" else 2
    command = f'"$@" {number}>&-'
    arguments = [sys.executable, "-m", "upscale", "a.png", "--json", "--model", str(models / "tiny.safetensors")]
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(["sh", "-c", command, "sh", *arguments], env=env, capture_output=True)
    assert done.returncode == 0
    assert opened("a_x4.png").size == (24, 20)
