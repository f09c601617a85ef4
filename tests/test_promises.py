"""The whole command on whole files: what users of other tools complain of, tried from outside."""

import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import tifffile
from PIL import Image as Pil
from PIL import ImageCms, ImageSequence

from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.media import tags
from upscale.media.reading.decode import open_file
from upscale.spec import ModelSpec

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")
MakePhoto = Callable[..., npt.NDArray[Any]]
Done = subprocess.CompletedProcess[bytes]


@pytest.fixture(scope="session")
def model(random_checkpoint: Callable[[ModelSpec, int], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_safetensors(random_checkpoint(TINY, 0), path)
    return path


def command(model: Path | str, *arguments: str | Path) -> list[str]:
    options = ["--model", str(model), "--device", "cpu", "--no-color-fix"]
    return [sys.executable, "-m", "upscale", *options, *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY)}


def run(model: Path | str, *arguments: str | Path, given: bytes | None = None, **options: Any) -> Done:
    return subprocess.run(command(model, *arguments), env=environment(), input=given, capture_output=True, **options)


def by_default(*arguments: str | Path) -> Done:
    """Nothing chosen but a small model: with the color fix."""
    options = ["--model", "animevideov3", "--device", "cpu"]
    program = [sys.executable, "-m", "upscale", *options, *map(str, arguments)]
    return subprocess.run(program, env=environment(), capture_output=True)


def lines(said: bytes) -> list[str]:
    return [line for line in said.decode().splitlines() if "failed" in line or "error" in line or "warning" in line]


def save(path: str | Path, pixels: npt.NDArray[Any], **options: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Pil.fromarray(pixels).save(path, **options)
    return path


def opened(path: str | Path) -> Pil.Image:
    with Pil.open(path) as picture:
        picture.load()
        return picture


# Streams


def test_stdin_to_stdout(model: Path, place: Path, make_photo: MakePhoto) -> None:
    buffer = io.BytesIO()
    Pil.fromarray(make_photo(12, 17)).save(buffer, "WEBP", lossless=True)
    done = run(model, "-", "--json", given=buffer.getvalue())
    assert done.returncode == 0, done.stderr
    with Pil.open(io.BytesIO(done.stdout)) as picture:
        assert (picture.format, picture.size) == ("WEBP", (68, 48))
    record = next(json.loads(line) for line in done.stderr.splitlines() if line.startswith(b"{"))
    assert (record["input"], record["output"], record["status"]) == ("-", "-", "done")
    assert list(place.iterdir()) == []


def test_a_file_to_stdout_in_another_format(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(12, 17))
    done = run(model, "a.png", "-o", "-", "--format", "tif")
    with Pil.open(io.BytesIO(done.stdout)) as picture:
        assert (picture.format, picture.size) == ("TIFF", (68, 48))


@pytest.mark.parametrize("given", [b"", b"no picture", b"\x89PNG\r\n\x1a\n and then nothing"])
def test_garbage_on_stdin_writes_nothing_to_stdout(model: Path, place: Path, given: bytes) -> None:
    done = run(model, "-", given=given)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"Traceback" not in done.stderr
    assert len(lines(done.stderr)) == 1


# Sizes and names


@pytest.mark.parametrize(
    ("options", "name", "size"),
    [
        (["--size", "100x30"], "a_100x30.png", (100, 30)),
        (["--width", "50"], "a_w50.png", (50, 35)),
        (["--height", "60"], "a_h60.png", (85, 60)),
        (["--fit", "40"], "a_fit40.png", (40, 28)),
        (["--fit", "8"], "a_fit8.png", (8, 6)),
        (["--scale", "2.5"], "a_x2.5.png", (42, 30)),
        (["--name", "{index}-{stem}@{scale}-{model}", "--scale", "2"], "1-a@2-tiny.png", (34, 24)),
        (["--format", "jpg"], "a_x4.jpg", (68, 48)),
    ],
)
def test_sizes_and_names(
    model: Path, place: Path, make_photo: MakePhoto, options: list[str], name: str, size: tuple[int, int]
) -> None:
    save("a.png", make_photo(12, 17))
    done = run(model, "a.png", *options)
    assert done.returncode == 0, done.stderr
    assert opened(name).size == size
    assert sorted(path.name for path in place.iterdir()) == sorted(["a.png", name])


@pytest.mark.parametrize(
    "wrong",
    [
        ["--size", "100"],
        ["--size", "0x5"],
        ["--size", "5x5", "--width", "5"],
        ["--scale", "2", "--fit", "9"],
        ["--fit", "0"],
        ["--strength", "1.5"],
        ["--strength", "nan"],
        ["--name", "{stem.__class__}"],
        ["--name", "{0}"],
        ["--name", "a/b"],
        ["--background", "no color"],
        ["--quality", "101"],
        ["--format", "docx"],
    ],
)
def test_wrong_options_are_a_usage_error_in_one_line(
    model: Path, place: Path, make_photo: MakePhoto, wrong: list[str]
) -> None:
    save("a.png", make_photo(5, 6))
    done = run(model, "a.png", *wrong)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr
    assert sum(line.startswith(b"Error") for line in done.stderr.splitlines()) == 1
    assert [path.name for path in place.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["-dash.png", "a[1].png", "日本語 ü.png", "a\nb.png", "x" * 240 + ".png", " .png"])
def test_row_20_odd_names(model: Path, place: Path, make_photo: MakePhoto, name: str) -> None:
    save(place / name, make_photo(5, 6))
    done = run(model, "--", name)
    assert done.returncode == 0, done.stderr
    (made,) = [path for path in place.iterdir() if path.name != name]
    assert opened(made).size == (24, 20)
    assert made.name.endswith("_x4.png")


# What a format cannot hold


def test_row_13_alpha_into_jpeg_is_put_on_the_background(model: Path, place: Path) -> None:
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8] = (200, 40, 40, 255)
    save("a.png", pixels)
    done = run(model, "a.png", "--format", "jpg", "--background", "#204080", "--strength", "0")
    assert done.returncode == 0
    assert "--background" in "".join(lines(done.stderr))
    right = np.asarray(opened("a_x4.jpg"))[:, 50:].reshape(-1, 3)
    assert np.abs(right.astype(int) - (0x20, 0x40, 0x80)).max() <= 3


@pytest.mark.parametrize("suffix", ["png", "tif", "jp2", "ppm"])
def test_16_bits_stay_16_bits(model: Path, place: Path, make_photo: MakePhoto, suffix: str) -> None:
    import cv2

    cv2.imwrite("a.png", make_photo(24, 32, dtype=np.uint16))
    done = run(model, "a.png", "--format", suffix)
    assert done.returncode == 0, done.stderr
    result = cv2.imread(f"a_x4.{suffix}", cv2.IMREAD_UNCHANGED)
    assert (result.dtype, result.shape) == (np.uint16, (96, 128, 3))
    assert len(np.unique(result & 255)) == 256, "not 8 bits spread over 16"
    assert lines(done.stderr) == []


def test_16_bits_into_8_are_said(model: Path, place: Path, make_photo: MakePhoto) -> None:
    import cv2

    cv2.imwrite("a.png", make_photo(24, 32, dtype=np.uint16))
    done = run(model, "a.png", "--format", "webp")
    assert done.returncode == 0
    assert len(lines(done.stderr)) == 1


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif", "avif"])
def test_row_19_exif_xmp_profile_and_density_go_along(
    model: Path, place: Path, make_photo: MakePhoto, suffix: str
) -> None:
    """Byte for byte, also what is no ASCII; sizes corrected, orientation applied."""
    artist, comment = "José © 山田".encode(), b"UNICODE\0" + "grüße".encode("utf-16-le")
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exif = tags.exif_bytes(
        tags.Directory(
            {0x0112: tags.shorts(6), 0x013B: tags.octets(artist + b"\0", tags.ASCII)},
            {tags.EXIF: tags.Directory({0x9286: tags.octets(comment), 0xA002: tags.longs(40), 0xA003: tags.longs(30)})},
        )
    )
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><dc:title>yes</dc:title></rdf:RDF></x:xmpmeta>'
    save("a.jpg", make_photo(30, 40), exif=exif, icc_profile=profile, xmp=xmp, dpi=(240, 240))
    done = run(model, "a.jpg", "--format", suffix)
    assert done.returncode == 0, done.stderr
    assert lines(done.stderr) == []
    with open_file(Path(f"a_x4.{suffix}")) as made:
        header = made.header
    assert (header.width, header.height) == (120, 160), "turned upright"
    assert header.color.icc == profile
    assert header.metadata.xmp is not None
    assert b"<dc:title>yes</dc:title>" in header.metadata.xmp
    assert header.metadata.dpi == pytest.approx((240, 240), rel=1e-3)
    found = tags.parse_exif(header.metadata.exif or b"")
    assert found.tags[0x013B].data == artist + b"\0"
    assert found.parts[tags.EXIF].tags[0x9286].data == comment
    assert (tags.number_in(found.parts[tags.EXIF], 0xA002), tags.number_in(found.parts[tags.EXIF], 0xA003)) == (
        120,
        160,
    )
    with Pil.open(f"a_x4.{suffix}") as opened_:
        assert opened_.getexif().get(0x0112, 1) == 1
    check_as_others_read_it(Path(f"a_x4.{suffix}"), artist, comment, profile)


def check_as_others_read_it(path: Path, artist: bytes, comment: bytes, profile: bytes) -> None:
    """Our own reader would understand our own mistakes. Pillow gives text that is no ASCII as Latin-1."""
    with Pil.open(path) as picture:
        picture.load()
        exif, icc, dpi = picture.getexif(), picture.info.get("icc_profile"), picture.info.get("dpi")
        xmp = picture.info.get("xmp") or exif.get(0x02BC)
        part = exif.get_ifd(tags.EXIF)
        assert picture.size == (120, 160)
    assert icc == profile
    assert str(exif[0x013B]).encode("latin-1").rstrip(b"\0") == artist
    assert part[0x9286] == comment
    assert (part[0xA002], part[0xA003]) == (120, 160)
    assert b"<dc:title>yes</dc:title>" in bytes(xmp or b"")
    if path.suffix not in (".webp", ".avif"):
        assert dpi == pytest.approx((240, 240), rel=1e-3)
    if path.suffix == ".tif":
        with tifffile.TiffFile(path) as file:
            found = file.pages[0].tags  # type: ignore[union-attr]
            assert found[34675].value == profile
            assert str(found[0x013B].value).encode() == artist
            assert found[tags.EXIF].value["UserComment"] == "grüße"


def canon_like_exif(order: str) -> tuple[bytes, bytes]:
    """EXIF whose MakerNote points into itself, as Canon's does: offsets count from the TIFF header. And what it points to."""
    import struct

    text = b"Firmware Version 1.0.2\0\0"
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8)
    note_at = 8 + 2 + 2 * 12 + 4 + 2 + 3 * 12 + 4
    note = struct.pack(order + "HHHII", 1, 7, 2, len(text), note_at + 18) + bytes(4) + text
    first = (
        struct.pack(order + "HHHIHH", 2, 0x0112, 3, 1, 6, 0) + struct.pack(order + "HHII", 0x8769, 4, 1, 38) + bytes(4)
    )
    camera = struct.pack(order + "H", 3)
    camera += struct.pack(order + "HHII", 0x927C, 7, len(note), note_at)
    camera += struct.pack(order + "HHII", 0xA002, 4, 1, 40) + struct.pack(order + "HHII", 0xA003, 4, 1, 30) + bytes(4)
    return b"Exif\0\0" + head + first + camera + note, text


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_row_19_a_cameras_own_notes_can_still_be_read(
    model: Path, place: Path, make_photo: MakePhoto, order: str, suffix: str
) -> None:
    import struct

    exif, text = canon_like_exif(order)
    save("a.jpg", make_photo(30, 40), exif=exif)
    done = run(model, "a.jpg", "--format", suffix)
    assert done.returncode == 0, done.stderr
    with Pil.open(f"a_x4.{suffix}") as made:
        body = made.info["exif"].removeprefix(b"Exif\0\0")
    note = Pil.Exif()
    note.load(body)
    data = note.get_ifd(0x8769)[0x927C]
    (at,) = struct.unpack_from(order + "I", data, 10)
    assert body[at : at + len(text)] == text
    assert (note[0x0112], note.get_ifd(0x8769)[0xA002], note.get_ifd(0x8769)[0xA003]) == (1, 120, 160)


def test_hostile_xmp_does_not_hold_up_the_batch(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("a.webp", make_photo(8, 9), xmp=b"<xmpNote:HasExtendedXMP>" * 40_000)
    start = time.monotonic()
    assert run(model, "a.webp").returncode == 0
    assert time.monotonic() - start < 20


def test_a_large_profile_goes_into_a_png(model: Path, place: Path, make_photo: MakePhoto) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    profile = (len(profile) + (2 << 20)).to_bytes(4, "big") + profile[4:] + bytes(2 << 20)
    save("a.tif", make_photo(8, 9), icc_profile=profile)
    done = run(model, "a.tif", "--format", "png")
    assert done.returncode == 0, done.stderr
    with open_file(Path("a_x4.png")) as made:
        assert made.header.color.icc == profile


# Animations


def sprite_frames() -> list[Pil.Image]:
    frames: list[Pil.Image] = []
    for index in range(4):
        pixels = np.zeros((20, 24, 4), np.uint8)
        pixels[4:14, 3 + 4 * index : 11 + 4 * index] = (230, 60 + 30 * index, 20, 255)
        frames.append(Pil.fromarray(pixels))
    return frames


@pytest.mark.parametrize("suffix", ["gif", "png", "webp"])
def test_wish_17_an_animation_stays_one(model: Path, place: Path, suffix: str) -> None:
    first, *rest = sprite_frames()
    delays = [100, 250, 40, 1000]
    first.save(f"a.{suffix}", save_all=True, append_images=rest, duration=delays, loop=3, disposal=2)
    done = run(model, f"a.{suffix}", "--strength", "0", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == 4
    with Pil.open(f"a_x4.{suffix}") as got:
        assert got.size == (96, 80)
        assert got.n_frames == 4  # type: ignore[attr-defined]
        with Pil.open(f"a.{suffix}") as given:
            assert got.info.get("loop") == given.info.get("loop")
        found: list[float] = []
        for index, frame in enumerate(ImageSequence.Iterator(got)):
            pixels = np.asarray(frame.convert("RGBA"))
            found.append(frame.info["duration"])  # known when the frame is decoded
            inside = pixels[24:48, 4 * (3 + 4 * index) + 4 : 4 * (11 + 4 * index) - 4]
            assert (inside[..., 3] == 255).all()
            assert np.abs(inside[..., :3].astype(int) - (230, 60 + 30 * index, 20)).max() <= 16
            outside = pixels[:, : 4 * (3 + 4 * index) - 8]
            assert (outside[..., 3] == 0).all(), "nothing of the frame before is left"
    assert found == delays


def test_wish_17_an_animation_as_everybody_runs_it(place: Path) -> None:
    """With the real network and its color fix, which goes through each frame by itself."""
    first, *rest = sprite_frames()
    first.save("a.gif", save_all=True, append_images=rest, duration=[100, 250, 40, 1000], loop=3, disposal=2)
    done = by_default("a.gif", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["model"], record["frames"], record["status"]) == ("animevideov3", 4, "done")
    assert 0 < record["color_shift"] <= record["color_shift_largest"]
    with Pil.open("a_x4.gif") as got:
        assert (got.size, got.n_frames) == ((96, 80), 4)  # type: ignore[attr-defined]
        for index, frame in enumerate(ImageSequence.Iterator(got)):
            pixels = np.asarray(frame.convert("RGBA"))
            left, right = 4 * (3 + 4 * index), 4 * (11 + 4 * index)
            inside = pixels[24:48, left + 8 : right - 8]
            assert (inside[..., 3] == 255).all()
            mean = inside[..., :3].mean((0, 1))
            assert np.abs(mean - (230, 60 + 30 * index, 20)).max() <= 3, "the frame's own color"
            assert (pixels[:, : left - 8, 3] == 0).all(), "nothing of the frame before is left"


def test_wish_17_an_animation_into_a_still_format_is_its_first_frame_and_that_is_said(model: Path, place: Path) -> None:
    first, *rest = sprite_frames()
    first.save("a.gif", save_all=True, append_images=rest, duration=100, disposal=2)
    done = run(model, "a.gif", "--format", "jpg", "--strength", "0")
    assert done.returncode == 0
    assert "first" in "".join(lines(done.stderr))
    assert np.asarray(opened("a_x4.jpg"))[40, 30, 0] > 200


# Batches


def tree(folder: Path) -> dict[str, str]:
    """Everything in a folder, hidden files too."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def batch(place: Path, make_photo: MakePhoto) -> Path:
    for index in range(6):
        save(f"in/{index}.png", make_photo(60 + index, 70, index))
    save("in/sub/a.jpg", make_photo(40, 50))
    (place / "in" / "broken.png").write_bytes(b"no picture")
    return place / "in"


def test_wish_9_resume_does_only_what_is_missing_damaged_or_made_otherwise(model: Path, batch: Path) -> None:
    def states(*options: str) -> dict[str, str]:
        done = run(model, batch, "-r", "-o", "out", "--resume", "--json", *options)
        assert b"Traceback" not in done.stderr
        return {Path(r["input"]).name: r["status"] for r in map(json.loads, done.stdout.splitlines())}

    names = ["0.png", "1.png", "2.png", "3.png", "4.png", "5.png", "a.jpg"]
    assert states() == dict.fromkeys(names, "done") | {"broken.png": "failed"}
    whole = tree(Path("out"))
    assert states() == dict.fromkeys(names, "skipped") | {"broken.png": "failed"}
    assert tree(Path("out")) == whole
    data = bytearray(Path("out/2.png").read_bytes())
    data[len(data) // 2] ^= 1
    Path("out/2.png").write_bytes(data)  # as large, as new: only its hash tells
    Path("out/3.png").unlink()
    assert states() == dict.fromkeys(names, "skipped") | {"2.png": "done", "3.png": "done", "broken.png": "failed"}
    assert tree(Path("out")) == whole
    assert set(states("--scale", "2").values()) == {"done", "failed"}, "other settings"
    assert opened("out/2.png").size == (140, 124)


def test_wish_9_resume_as_everybody_runs_it(place: Path, make_photo: MakePhoto) -> None:
    """With the real network and its color fix: what is done is skipped, what is missing becomes the same bytes, and
    without color fix it is another result."""
    for index in range(2):
        save(f"in/{index}.png", make_photo(20, 24, index))

    def states(*options: str) -> dict[str, tuple[str, bool]]:
        done = by_default("in", "-o", "out", "--resume", "--json", *options)
        assert done.returncode == 0, done.stderr
        records = map(json.loads, done.stdout.splitlines())
        return {Path(r["input"]).name: (r["status"], r["color_shift"] is not None) for r in records}

    assert states() == {"0.png": ("done", True), "1.png": ("done", True)}
    whole = tree(Path("out"))
    Path("out/1.png").unlink()
    assert states() == {"0.png": ("skipped", False), "1.png": ("done", True)}
    assert tree(Path("out")) == whole
    assert states("--no-color-fix") == {"0.png": ("done", False), "1.png": ("done", False)}
    assert not set(tree(Path("out")).values()) & set(whole.values()), "the color fix is on by default"


def test_wish_9_resume_never_replaces_what_it_did_not_make(model: Path, batch: Path) -> None:
    Path("out").mkdir()
    Path("out/1.png").write_bytes(b"my own")
    done = run(model, batch, "-o", "out", "--resume")
    assert done.returncode == 1
    assert Path("out/1.png").read_bytes() == b"my own"
    assert "out/1.png: exists already" in done.stderr.decode()
    assert run(model, batch, "-o", "out", "--resume", "--overwrite").returncode == 1, "broken.png"
    assert opened("out/1.png").size == (280, 244)


def killed(model: Path, batch: Path, after: float) -> bool:
    """Starts the batch and kills it that many seconds later; whether it was still running then."""
    child = subprocess.Popen(
        command(model, batch, "-r", "-o", "out", "--resume"),
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        child.wait(after)
        return False
    except subprocess.TimeoutExpired:
        child.send_signal(signal.SIGKILL)
        child.wait()
        return True


def check_kills(model: Path, batch: Path, kills: int) -> None:
    """Kills the batch at random moments until it was hit often enough, then lets it finish."""
    start = time.monotonic()
    run(model, batch, "-r", "-o", "undisturbed", "--resume")
    took = time.monotonic() - start
    moments, hits = random.Random(5), 0
    for _ in range(10 * kills):
        hits += killed(model, batch, moments.uniform(0.2, 1) * took)
        if hits == kills:
            break
        if moments.random() < 0.5:  # else later runs would find nothing to do
            for path in list(Path("out").glob("[0-3].png"))[:3]:
                path.unlink()
    assert hits == kills, "every run ended before it was killed"
    run(model, batch, "-r", "-o", "out", "--resume")
    assert tree(Path("out")) == tree(Path("undisturbed"))


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_wish_9_killed_at_random_moments_the_rerun_ends_with_the_files_of_an_undisturbed_run(
    model: Path, batch: Path
) -> None:
    check_kills(model, batch, 5)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_wish_9_killed_at_thirty_random_moments(model: Path, batch: Path) -> None:
    check_kills(model, batch, 30)


def test_wish_9_a_thousand_finished_files_are_checked_in_seconds(
    model: Path, place: Path, make_photo: MakePhoto
) -> None:
    photo = make_photo(16, 16)
    for index in range(1000):
        save(f"in/{index:04}.png", np.roll(photo, index, 1))
    assert run(model, "in", "--scale", "1", "--strength", "0").returncode == 0
    start = time.monotonic()
    done = run(model, "in", "--scale", "1", "--strength", "0", "--resume")
    took = time.monotonic() - start
    assert b"1000 of 1000 were finished already" in done.stderr
    assert took < 15, "3 s on an idle machine"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs")
@pytest.mark.parametrize("suffix", ["png", "tif", "jpg", "webp", "gif"])
def test_row_7_a_full_disk_is_told_and_leaves_no_half_file(
    model: Path, place: Path, small_disk: Path, suffix: str
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8)
    save("a/large.png", noise)
    save("a/small.png", noise[:8, :8])
    done = run(model, "a", "-o", small_disk, "--format", suffix)
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert f"large.{suffix}: cannot be written (No space left on device" in done.stderr.decode()
    left = sorted(path.name for path in small_disk.iterdir())
    assert f"small.{suffix}" in left, "the neighbor is done all the same"
    assert opened(small_disk / f"small.{suffix}").size == (32, 32)
    assert [name for name in left if name not in (f"small.{suffix}", ".upscale.jsonl")] == []


def test_a_limit_on_file_sizes_is_told_too(model: Path, place: Path) -> None:
    """As quotas do; works without rights."""
    pytest.importorskip("resource")
    import resource

    save("a.png", np.random.default_rng(0).integers(0, 256, (160, 160, 3), np.uint8))

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))

    environment_ = {**environment(), "UPSCALE_CACHE": str(place / "cache")}
    done = subprocess.run(command(model, "a.png"), env=environment_, capture_output=True, preexec_fn=limited)
    assert done.returncode == 1
    assert "a_x4.png: cannot be written (File too large)" in done.stderr.decode()
    assert not Path("a_x4.png").exists()
    assert [path.name for path in place.iterdir() if path.name.startswith(".")] == []


def test_one_folder_under_two_names(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(8, 9))
    save("b.png", make_photo(8, 9))
    done = run(model, "a.png", place / "b.png")
    assert done.returncode == 0, done.stderr
    assert opened("b_x4.png").size == (36, 32)


@pytest.mark.skipif(sys.platform == "win32", reason="no locks there")
def test_runs_beside_one_another_do_not_need_the_list(model: Path, place: Path, make_photo: MakePhoto) -> None:
    """As xargs -P starts them; only --resume wants the list for itself."""
    for name in "abcd":
        save(f"in/{name}.png", make_photo(60, 70))
    runs = [
        subprocess.Popen(command(model, f"in/{one}.png", f"in/{two}.png", "-o", "out"), env=environment())
        for one, two in ("ab", "cd")
    ]
    assert [child.wait() for child in runs] == [0, 0]
    assert sorted(path.name for path in Path("out").glob("*.png")) == [f"{name}_x4.png" for name in "abcd"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals and shells as on POSIX systems")
@pytest.mark.parametrize("closed", ["upscale - -o x.png <&-", "upscale a.png -o - >&-", "upscale a.png -o - | true"])
def test_closed_streams_are_one_line(model: Path, place: Path, make_photo: MakePhoto, closed: str) -> None:
    save("a.png", make_photo(100, 100))
    program = " ".join(command(model))
    done = subprocess.run(closed.replace("upscale", program), env=environment(), shell=True, capture_output=True)
    assert b"Traceback" not in done.stderr
    assert len(lines(done.stderr)) == 1, done.stderr
    assert [path.name for path in place.iterdir()] == ["a.png"]


def test_records_stay_out_of_a_picture_on_stdout_whatever_fails(model: Path, place: Path) -> None:
    done = run(model, "missing.png", "-o", "-", "--json")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b'"status": "failed"' in done.stderr


def test_what_must_be_whole_and_does_not_fit_is_refused_before_the_work(model: Path, place: Path) -> None:
    save("a.png", np.zeros((12000, 15000), np.uint8))
    done = run(model, "a.png", "--scale", "16", "--dry-run", "--tta")
    assert done.returncode == 1
    assert "GB of memory" in done.stderr.decode()
    assert len(lines(done.stderr)) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX systems")
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing_half(model: Path, place: Path, make_photo: MakePhoto, sent: int) -> None:
    save("a.png", make_photo(900, 1200))
    child = subprocess.Popen(
        command(model, "a.png", "--tta"),
        env=environment(),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    time.sleep(2.5)
    child.send_signal(sent)
    start = time.monotonic()
    said = child.communicate(timeout=30)[1]
    assert time.monotonic() - start < 10
    assert child.returncode == 130
    assert b"Traceback" not in said
    assert [path.name for path in place.iterdir()] == ["a.png"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux's full device")
def test_full_streams_stop_nothing(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("a.png", make_photo(8, 9))
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command(model, "a.png"), env=environment(), stderr=full)
        assert done.returncode == 0
        assert opened("a_x4.png").size == (36, 32)
        told = subprocess.run(
            command(model, "a.png", "--json", "--overwrite"), env=environment(), stdout=full, stderr=subprocess.PIPE
        )
    assert told.returncode == 1
    assert b"Traceback" not in told.stderr


def test_names_give_no_orders_to_the_terminal(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("e\x1b[31mvil\nupscale: failed: x.png", make_photo(8, 9))
    said = run(model, "e\x1b[31mvil\nupscale: failed: x.png").stderr
    assert b"\x1b" not in said
    assert not any(line.startswith(b"upscale: failed") for line in said.splitlines())


@pytest.mark.parametrize("out", ["result.jepg", "x.xyz", "file"])
def test_a_mistyped_output_makes_no_folder(model: Path, place: Path, make_photo: MakePhoto, out: str) -> None:
    save("a.png", make_photo(8, 9))
    Path("file").touch()
    done = run(model, "a.png", "-o", out)
    assert done.returncode == 2
    assert sorted(path.name for path in place.iterdir()) == ["a.png", "file"]


def test_an_output_folder_that_is_a_file(model: Path, batch: Path) -> None:
    Path("out").write_text("a file")
    done = run(model, batch, "-o", "out")
    assert done.returncode == 1
    assert b"Traceback" not in done.stderr
    assert "out" in "".join(lines(done.stderr))


def test_inputs_that_vanish_are_told_one_by_one(model: Path, place: Path, make_photo: MakePhoto) -> None:
    save("in/a.png", make_photo(200, 200))
    for name in ("b", "c"):
        save(f"in/{name}.png", make_photo(20, 20))
    Path("in/d.png").symlink_to("nowhere.png")
    Path("in/e.png").mkdir()
    done = run(model, "in")
    assert done.returncode == 1
    assert sorted(path.name for path in Path("in_x4").glob("*.png")) == ["a.png", "b.png", "c.png"]
    assert lines(done.stderr)[0].count("in/d.png") == 1


def test_bombs_are_refused_by_what_they_announce_unless_allowed(model: Path, place: Path) -> None:
    import struct
    import zlib

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    data = zlib.compress(bytes(7501) * 60_000, 9)
    Path("bomb.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    start = time.monotonic()
    done = run(model, "bomb.png")
    assert done.returncode == 1
    assert "--allow-huge" in done.stderr.decode()
    assert time.monotonic() - start < 15
    planned = run(model, "bomb.png", "--dry-run", "--allow-huge", "--scale", "0.5")
    assert planned.returncode == 0, planned.stderr
    assert b"30000" in planned.stdout


def test_verbose_gives_the_traceback_and_else_there_is_one_line(model: Path, place: Path) -> None:
    Path("a.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    quiet, loud = run(model, "a.png"), run(model, "a.png", "-v")
    assert b"Traceback" not in quiet.stderr
    assert len(lines(quiet.stderr)) == 1
    assert b"Traceback" in loud.stderr
