"""The colors of a video through the whole command: a network that changes nothing changes no code, and every tag stays."""

import struct
from collections.abc import Callable, Mapping
from fractions import Fraction
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner
from clips import Clip, all_variants, make, patches_clip, read_patches

from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.cli import command
from upscale.errors import VideoError
from upscale.keys import parameter_shapes
from upscale.media.metadata import upright
from upscale.media.video.colors import MATRIX_NAMES, Light, Tags, color_of, completed, light_of, orientation_of
from upscale.media.video.source import VideoFile
from upscale.spec import ModelSpec
from upscale.yuv import MATRICES

WEIGHTS = {"bt601": (6, 0.299, 0.114), "bt709": (1, 0.2126, 0.0722), "bt2020": (9, 0.2627, 0.0593)}
"""Matrix → its number in H.273, and the shares of red and of blue in luma."""
LARGEST = {8: 1, 10: 2}
"""Depth → by how many codes the middle of a patch may be off: a rounding there and one back."""
PATCHES = 12

Run = Callable[..., Path]
Clips = Callable[[Clip], Path]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("colors")


@pytest.fixture(scope="module")
def nearest(folder: Path) -> Path:
    """A network whose weights are all zero: it doubles every pixel."""
    spec = ModelSpec("nearest", "compact", 2, features=8, blocks=2, activation="prelu")
    arrays = {key: np.zeros(shape, np.float32) for key, shape in parameter_shapes(spec).items()}
    write_safetensors(Checkpoint(spec, arrays), folder / "nearest.safetensors")
    return folder / "nearest.safetensors"


@pytest.fixture
def doubled(nearest: Path, tmp_path: Path) -> Run:
    """doubled(clip, *more options): the clip at twice the size, lossless."""

    def run(clip: Clip | Path, *more: str, model: str | None = None) -> Path:
        source, target = tmp_path / "source.mkv", tmp_path / "result.mkv"
        if isinstance(clip, Path):
            source = clip
        else:
            make(source, clip)
        engine = ("--engine", "torch", "--precision", "fp32") if model is None else ()
        fixed = ("--scale", "2", "--codec", "ffv1", "--format", "mkv", "--device", "cpu", "--overwrite", "-q")
        given = [source, "-o", target, "--model", model or nearest, *fixed, *engine, *more]
        result = CliRunner().invoke(command, [str(word) for word in given], standalone_mode=False)
        assert result.return_value == 0, result.output
        return target

    return run


@cache
def codes(matrix: str, depth: int, full: bool) -> tuple[tuple[int, ...], ...]:
    """Y, Cb, Cr of random colors inside of RGB, and of the grays at its ends, by the formulas of H.273 (8.3)."""
    rng = np.random.default_rng(7)
    rgb = np.vstack([rng.uniform(0.02, 0.98, (PATCHES - 2, 3)), [[0, 0, 0], [1, 1, 1]]])
    _, red, blue = WEIGHTS[matrix]
    luma = rgb @ [red, 1 - red - blue, blue]
    chroma = (rgb[:, 2] - luma) / (2 * (1 - blue)), (rgb[:, 0] - luma) / (2 * (1 - red))
    top, unit, middle = 2**depth - 1, 2 ** (depth - 8), 2 ** (depth - 1)
    if full:
        found = np.stack([luma * top, *(part * top + middle for part in chroma)], 1)
    else:
        found = np.stack([(219 * luma + 16) * unit, *(part * 224 * unit + middle for part in chroma)], 1)
    return tuple(tuple(int(code) for code in row) for row in np.rint(found))


def tags(path: Path) -> dict[str, Any]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    with VideoFile(path) as file:
        place = file.info.tags.location
    return {
        "matrix": int(frame.colorspace),
        "range": int(frame.color_range),
        "primaries": int(frame.color_primaries),
        "transfer": int(frame.color_trc),
        "location": place,
        "format": frame.format.name,
    }


FORMATS = ("yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p10le")


@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", WEIGHTS)
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_codes_and_tags_stay(doubled: Run, tmp_path: Path, pix_fmt: str, matrix: str, full: bool) -> None:
    number, depth = WEIGHTS[matrix][0], 10 if "10" in pix_fmt else 8
    wanted = codes(matrix, depth, full)
    transfer = 14 if number == 9 else number
    clip = patches_clip(wanted, pix_fmt, matrix=number, primaries=number, transfer=transfer, full_range=full)
    result = doubled(clip)
    off = np.abs(read_patches(result, PATCHES, 1) - np.array(wanted))
    assert off.max() <= LARGEST[depth], f"patch {off.max(axis=1).argmax()}: {off.max(axis=0)}"
    assert tags(result) == tags(tmp_path / "source.mkv")
    found = tags(result)
    assert (found["matrix"], found["primaries"], found["transfer"]) == (number, number, transfer)
    assert found["range"] == 1 + full
    assert found["format"] == pix_fmt


@pytest.mark.parametrize("transfer", [16, 18], ids=["PQ", "HLG"])
@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv444p10le"])
def test_hdr_is_enlarged_in_its_own_curve(doubled: Run, pix_fmt: str, transfer: int) -> None:
    wanted = codes("bt2020", 10, False)
    result = doubled(patches_clip(wanted, pix_fmt, matrix=9, primaries=9, transfer=transfer, full_range=False))
    assert np.abs(read_patches(result, PATCHES) - np.array(wanted)).max() <= LARGEST[10]
    found = tags(result)
    assert [found[name] for name in ("matrix", "primaries", "transfer", "range")] == [9, 9, transfer, 1]


@pytest.mark.parametrize("place", ["left", "center", "topleft"])
def test_chroma_stays_at_its_place(doubled: Run, place: str) -> None:
    wanted = codes("bt709", 8, False)
    clip = patches_clip(wanted, matrix=1, primaries=1, transfer=1, full_range=False, chroma_location=place)
    result = doubled(clip)
    assert tags(result)["location"] == place
    assert np.abs(read_patches(result, PATCHES) - np.array(wanted)).max() <= 1


@pytest.mark.parametrize("depth", [8, 10])
def test_what_is_outside_of_black_and_white_is_cut_off(doubled: Run, depth: int) -> None:
    unit = 2 ** (depth - 8)
    luma = [1, 10, 16, 128, 235, 245, 254]
    pix_fmt = "yuv420p" if depth == 8 else "yuv420p10le"
    patches = [(y * unit, 128 * unit, 128 * unit) for y in luma]
    result = doubled(patches_clip(patches, pix_fmt, matrix=1, primaries=1, transfer=1, full_range=False))
    found = read_patches(result, len(luma))
    assert found[:, 0].tolist() == [y * unit for y in (16, 16, 16, 128, 235, 235, 235)]
    assert (found[:, 1:] == 128 * unit).all()


def test_a_silent_video_says_what_was_taken_for_meant(doubled: Run) -> None:
    """Small and untagged means BT.601, limited; a result that would mean BT.709 by its size says so itself."""
    wanted = codes("bt601", 8, False)
    result = doubled(patches_clip(wanted))
    assert np.abs(read_patches(result, PATCHES) - np.array(wanted)).max() <= 1
    found = tags(result)
    assert [found[name] for name in ("matrix", "primaries", "transfer", "range")] == [6, 6, 6, 1]


@pytest.mark.parametrize(
    ("pix_fmt", "count"),
    [
        ("gbrp10le", 3),
        ("gbrap10le", 4),
        ("gbrp16le", 3),
        ("gray", 1),
        ("gray10le", 1),
        ("gray16le", 1),
        ("yuva420p", 4),
    ],
)
def test_other_kinds_of_pixels_stay(doubled: Run, pix_fmt: str, count: int) -> None:
    depth = int("".join(filter(str.isdigit, pix_fmt.split("p")[-1].replace("gray", "")))) if "le" in pix_fmt else 8
    patches = np.random.default_rng(2).uniform(0.45, 0.6, (4, count))
    if count == 4:
        patches[:, 3] = (1, 1, 0.5, 0.1)  # flat alpha far from 0
    patches = np.rint(patches * (2**depth - 1)).astype(int)
    result = doubled(patches_clip([tuple(int(code) for code in row) for row in patches], pix_fmt), "--alpha", "keep")
    assert np.abs(read_patches(result, 4) - patches).max() <= LARGEST.get(depth, 2)
    assert tags(result)["format"] == pix_fmt


# ---------------------------------------------------------------- with a real network


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv444p10le"])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
def test_a_real_network_keeps_the_mean_color(doubled: Run, pix_fmt: str, full: bool) -> None:
    """After the color fix: of all patches' middles, within 1 code; no patch is further off than its own texture."""
    depth = 10 if "10" in pix_fmt else 8
    wanted = codes("bt709", depth, full)
    clip = patches_clip(wanted, pix_fmt, matrix=1, primaries=1, transfer=1, full_range=full, width=160, height=120)
    found = read_patches(doubled(clip, model="animevideov3"), PATCHES)
    off = found - np.array(wanted)
    unit = 2 ** (depth - 8)
    assert np.abs(off.mean(axis=0)).max() <= 1, off.mean(axis=0)
    assert np.abs(off).max() <= 2.5 * unit, off.round(2)


def ramp(path: Path, depth: int) -> None:
    """Two gray frames of 512 × 16 whose luma rises from black to white, a step of some codes at each pixel."""
    pix_fmt, unit = ("yuv420p10le", 4) if depth == 10 else ("yuv420p", 1)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 512, 16, pix_fmt
        context = stream.codec_context
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = 1, 1, 1, 1
        for number in range(2):
            frame = av.VideoFrame(512, 16, pix_fmt)
            line = np.rint(np.linspace(16 * unit, 235 * unit, 512) + number)  # no frame repeats the one before
            for plane, values in zip(frame.planes, (line, 128 * unit, 128 * unit), strict=True):
                array(plane, depth)[:] = values
            frame.pts, frame.time_base = number, Fraction(1, 24)
            frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range = 1, 1, 1, 1
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def array(plane: Any, depth: int) -> npt.NDArray[Any]:
    stored = np.frombuffer(plane, np.uint8 if depth == 8 else np.uint16).reshape(plane.height, -1)
    return stored[:, : plane.width]


def luma_codes(path: Path) -> npt.NDArray[Any]:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "yuv420p10le"
    return np.unique(array(frame.planes[0], 10))


def test_ten_bits_are_ten_bits_all_the_way(doubled: Run, folder: Path) -> None:
    """A ramp of 512 codes keeps them; no step of 8 bits lies in between."""
    ramp(folder / "ramp.mkv", 10)
    wanted = np.unique(np.rint(np.linspace(64, 940, 512)))
    assert luma_codes(doubled(folder / "ramp.mkv")).tolist() == wanted.tolist()
    assert len(wanted) == 512


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_ten_bits_through_a_real_network(doubled: Run, folder: Path, precision: str) -> None:
    """8 bits would leave 220 codes, bf16 128 above the middle; without the color fix, which would hide such steps."""
    ramp(folder / "ramp.mkv", 10)
    more = ("--no-color-fix", "--precision", precision)
    found = luma_codes(doubled(folder / "ramp.mkv", *more, model="animevideov3"))
    assert len(found) > 800
    assert (found > 502).sum() > 400


def test_eight_bits_become_ten_where_they_are_asked_for(doubled: Run, folder: Path) -> None:
    """--pix-fmt alone makes the network's result as exact as the file can hold."""
    ramp(folder / "ramp8.mkv", 8)
    result = doubled(folder / "ramp8.mkv", "--pix-fmt", "yuv420p10le", "--no-color-fix", model="animevideov3")
    assert len(luma_codes(result)) > 300


def test_a_mixed_up_matrix_would_be_seen() -> None:
    """The patches' codes differ from matrix to matrix by more than may be off."""
    for depth, full in product((8, 10), (False, True)):
        found = {matrix: np.array(codes(matrix, depth, full)) for matrix in WEIGHTS}
        for one, two in (("bt601", "bt709"), ("bt709", "bt2020"), ("bt601", "bt2020")):
            assert np.abs(found[one] - found[two]).max() > 6


# ---------------------------------------------------------------- what tags mean


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((320, 240), (6, 6, 6, 1, "left")),
        ((720, 480), (6, 6, 6, 1, "left")),
        ((720, 576), (5, 5, 6, 1, "left")),
        ((352, 288), (5, 5, 6, 1, "left")),
        ((1024, 576), (5, 5, 6, 1, "left")),
        ((1025, 576), (1, 1, 1, 1, "left")),
        ((720, 577), (1, 1, 1, 1, "left")),
        ((1920, 1080), (1, 1, 1, 1, "left")),
    ],
)
def test_what_silent_videos_mean(size: tuple[int, int], wanted: tuple[Any, ...]) -> None:
    found, assumed = completed(Tags(), *size, False, "h264")
    assert (found.matrix, found.primaries, found.transfer, found.range, found.location) == wanted
    assert len(assumed) == 2
    assert "matrix" in assumed[0]
    assert "range" in assumed[1]


def test_what_is_said_is_never_changed() -> None:
    said = Tags(4, 11, 8, 2, "bottom")
    assert completed(said, 320, 240, False, "h264") == (said, [])
    for tags_ in (Tags(matrix=1), Tags(primaries=9), Tags(transfer=16), Tags(range=2), Tags(location="top")):
        found, _ = completed(tags_, 320, 240, False, "h264")
        for name in ("matrix", "primaries", "transfer", "range", "location"):
            value = getattr(tags_, name)
            if value not in (2, 0, "unspecified") or (name == "range" and value == 2):
                assert getattr(found, name) == value


def test_one_tag_leads_to_the_others() -> None:
    assert completed(Tags(primaries=9), 720, 480, False, "h264")[0].matrix == 9
    assert completed(Tags(matrix=9), 720, 480, False, "h264")[0].primaries == 9
    assert completed(Tags(matrix=5), 720, 480, False, "h264")[0].transfer == 6
    assert completed(Tags(), 64, 48, False, "mjpeg")[0].location == "center"
    rgb, assumed = completed(Tags(), 64, 48, True, "qtrle")
    assert (rgb.matrix, rgb.range, rgb.primaries, assumed) == (0, 2, 1, [])


def test_matrices_have_a_formula_or_a_refusal() -> None:
    assert set(MATRIX_NAMES.values()) <= set(MATRICES)
    for number in (10, 11, 12, 13, 14, 15, 3, 200):
        with pytest.raises(VideoError, match=r"film\.mkv.*not supported.*convert"):
            color_of(Tags(matrix=number), 8, False, "film.mkv")
    color = color_of(Tags(9, 9, 16, 2, "topleft"), 10, False, "")
    assert (color.matrix, color.primaries, color.transfer) == ("bt2020", "bt2020", "pq")
    assert (color.full_range, color.chroma_location, color.depth) == (True, "topleft", 10)


# ---------------------------------------------------------------- light, and which way is up


class Blob:
    """A piece of side data."""

    def __init__(self, data: bytes) -> None:
        self._data, self.buffer_size = data, len(data)

    def __bytes__(self) -> bytes:
        return self._data


HDR = Light(((0.708, 0.292), (0.17, 0.797), (0.131, 0.046)), (0.3127, 0.329), (0.005, 1000.0), (1000, 400))


def test_light_is_read_from_a_real_file(folder: Path) -> None:
    make(folder / "hdr10.mkv", all_variants()["hdr10.mkv"])
    with VideoFile(folder / "hdr10.mkv") as file:
        found = file.info.light
    assert found == HDR


def test_light_of_hostile_or_partial_side_data() -> None:
    rationals = [part for value in range(10) for part in (value + 1, 50)]
    parts = {
        (1, 1): (True, True),
        (0, 1): (False, True),
        (1, 0): (True, False),
    }
    for flags, (primaries, luminance) in parts.items():
        light = light_of({"MASTERING_DISPLAY_METADATA": Blob(struct.pack("=22i", *rationals, *flags))})
        assert (light.primaries is not None, light.luminance is not None) == (primaries, luminance)
        assert (light.white is not None) == primaries
        if light.luminance:
            assert light.luminance == (9 / 50, 10 / 50)
    assert not light_of({})
    assert not light_of({"MASTERING_DISPLAY_METADATA": Blob(b"short"), "CONTENT_LIGHT_LEVEL": Blob(b"")})
    zeros = light_of({"MASTERING_DISPLAY_METADATA": Blob(struct.pack("=22i", *[0] * 20, 1, 1))})
    assert zeros.luminance == (0, 0), "a denominator of 0 is no crash"
    assert light_of({"CONTENT_LIGHT_LEVEL": Blob(struct.pack("=2I", 1000, 400))}).content == (1000, 400)


MATRICES_OF_DISPLAY: Mapping[int, tuple[int, int, int, int]] = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}


@pytest.fixture(scope="module")
def upright_mp4(folder: Path) -> bytes:
    make(folder / "upright.mp4", Clip(frames=1, width=96, height=64, codec="mpeg4", b_frames=False))
    return (folder / "upright.mp4").read_bytes()


def turned(upright: bytes, path: Path, matrix: tuple[float, ...]) -> Path:
    """With another matrix in its track's header (ISO 14496-12, 8.3.2): a, b, c, d."""
    a, b, c, d = (round(value * 65536) for value in matrix)
    place = upright.index(b"tkhd") + 4 + 40
    changed = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(upright[:place] + changed + upright[place + 36 :])
    return path


@pytest.mark.parametrize("matrix", MATRICES_OF_DISPLAY.values(), ids=str)
def test_the_way_up_is_the_matrix_of_the_file(upright_mp4: bytes, tmp_path: Path, matrix: tuple[int, ...]) -> None:
    """Each pixel moves to (a·x + c·y, b·x + d·y); turns are as FFmpeg tells them (degrees, against the clock)."""
    path = turned(upright_mp4, tmp_path / "turned.mp4", matrix)
    with VideoFile(path) as file:
        orientation = file.info.orientation
    a, b, c, d = matrix
    picture = np.arange(12).reshape(3, 4)
    y, x = np.mgrid[0:3, 0:4]
    to_x, to_y = a * x + c * y, b * x + d * y
    wanted = np.empty((4, 3) if b else (3, 4), int)
    wanted[to_y - to_y.min(), to_x - to_x.min()] = picture
    np.testing.assert_array_equal(upright(picture[..., None], orientation)[..., 0], wanted)
    if a * d - b * c == 1:
        with av.open(str(path)) as container:
            degrees = next(container.decode(video=0)).rotation
        np.testing.assert_array_equal(np.rot90(picture, degrees // 90), wanted)


def test_odd_angles_are_told_and_left(upright_mp4: bytes, tmp_path: Path) -> None:
    half = 0.5**0.5
    with VideoFile(turned(upright_mp4, tmp_path / "odd.mp4", (half, half, -half, half))) as file:
        assert file.info.orientation == 1
        assert any("angle" in warning for warning in file.info.warnings)
    assert orientation_of({}) == 1
    assert orientation_of({"DISPLAYMATRIX": Blob(b"short")}) == 1
