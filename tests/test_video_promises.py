"""The whole command on whole videos: every row of complaints about video tools, tried from outside.

Names tell the wish or the row. What survives a kill, an interrupt and a full disk is in test_video_resume.py. Enlarged is by
interpolation, or by a network of zeros, which is exactly nearest neighbor.
"""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.logging
import cv2
import numpy as np
import numpy.typing as npt
import pytest
from av.filter import Graph
from av.stream import Disposition
from clips import (
    NO_TIMES,
    Clip,
    Sound,
    Sub,
    all_variants,
    broken_files,
    clicks,
    make,
    numbers,
    patches_clip,
    read_number,
    read_patches,
    times,
)

from upscale import cli
from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.enlarge import Enlarger
from upscale.errors import EngineError
from upscale.keys import parameter_shapes
from upscale.media.isolated.decoder import Decoder
from upscale.media.video.encoder import Encoder
from upscale.media.video.source import VideoFile
from upscale.spec import ModelSpec
from upscale.work import Record

# PyAV leaves some parameters untyped:
# pyright: reportUnknownMemberType=false, reportUnknownArgumentType=false, reportUnknownVariableType=false

opencv: Any = cv2
VARIANTS = all_variants()
STRANGE_TIMES = {"backwards.mkv", "twice.mkv"}
WHOLE = [name for name, clip in VARIANTS.items() if clip.codec and clip.frames and name not in STRANGE_TIMES]
Planes = list[npt.NDArray[Any]]

# Faults that were found and are not mended yet


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> dict[str, Any]:
        (record,) = self.records
        return record

    @property
    def made(self) -> Path:
        assert self.code == 0, self.err
        return Path(self.record["output"])


Call = Callable[..., Result]


@pytest.fixture(scope="session")
def nearest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that doubles pixels and does nothing else: its weights are zero, and what remains is the input enlarged."""
    path = tmp_path_factory.mktemp("models") / "nearest.safetensors"
    spec = ModelSpec("nearest", "compact", 2, features=8, blocks=2, activation="prelu")
    zeros = {key: np.zeros(shape, np.float32) for key, shape in parameter_shapes(spec).items()}
    write_safetensors(Checkpoint(spec, zeros), path)
    return path


@pytest.fixture
def call(nearest: Path, place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command in this process, with --json; without the network where no --strength asks for it."""

    def run(*arguments: str | Path) -> Result:
        options = ["--model", str(nearest), "--device", "cpu", "--no-color-fix", "--strength", "0", "--json"]
        monkeypatch.setattr(sys, "argv", ["upscale", *options, *map(str, arguments)])
        monkeypatch.setattr(Decoder, "start", _nothing)  # ahead of time; pictures start it when they come
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert isinstance(left.value.code, int)
        said = capfd.readouterr()
        return Result(left.value.code, str(said.out), str(said.err))

    return run


def _nothing(*_: Any) -> None:
    pass


# Reading


def seen_in(folder: Path) -> list[str]:
    """What somebody sees there who does not look for hidden folders."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def decoded(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as container:
        yield from container.decode(video=0)


def first(path: Path) -> av.VideoFrame:
    return next(decoded(path))


def gray(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    pixels: Any = frame.reformat(format="gray").to_ndarray()
    return pixels


def planes(frame: av.VideoFrame) -> Planes:
    """Of a planar format, without padding; for frames of PyAV that share no memory with us."""
    found: Planes = []
    for part in frame.format.components:
        plane = frame.planes[part.plane]
        codes = np.frombuffer(memoryview(plane), np.uint8 if part.bits <= 8 else "<u2").reshape(plane.height, -1)
        found.append(codes[:, : part.width].copy())
    return found


def tags(path: Path) -> tuple[str, ...]:
    """What the first frame says of its color: format's depth, matrix, primaries, transfer, range and chroma's place."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frame = next(container.decode(stream))
        graph = Graph()
        source = graph.add_buffer(template=stream, time_base=stream.time_base)
        graph.link_nodes(source, graph.add("showinfo"), graph.add("buffersink")).configure()
        level = av.logging.get_level()
        av.logging.set_level(av.logging.INFO)
        try:
            with av.logging.Capture(local=True) as lines:
                graph.vpush(frame)
                graph.vpull()
        finally:
            av.logging.set_level(level)
    place = re.search(r" cl:(\w+)", "".join(text for _, _, text in lines))
    depth = frame.format.components[0].bits
    colors = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    return (*map(str, (depth, *map(int, colors))), place[1] if place else "")


def light(path: Path) -> dict[str, npt.NDArray[np.int32]]:
    """HDR's metadata of the first frame, as numbers."""
    names = ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL")
    side: Any = first(path).side_data
    return {name: np.frombuffer(bytes(side.get(name))[:88], "<i4") for name in names if side.get(name)}


def frame_of(name: str, frames: int) -> Iterator[int]:
    """The numbers that a variant's frames show."""
    clip = VARIANTS[name]
    yield from range(clip.frames - frames, clip.frames)  # an edit list cuts off the first ones


def turned(name: str) -> int:
    """Quarters by which a variant's result lies turned against its frames as drawn."""
    return VARIANTS[name].rotation // 90


# Frames and sound


def check_times(found: list[Fraction], wanted: list[Fraction], path: Path, name: str = "") -> None:
    exact = path.suffix in (".mp4", ".mov") and Path(name).suffix not in NO_TIMES
    slack = Fraction(0) if exact else Fraction(1, 2000)
    assert len(found) == len(wanted)
    assert max(abs(one - two) for one, two in zip(found, wanted, strict=True)) <= slack


def check_sync(source: Path, made: Path, clip: Clip) -> None:
    """Every click sounds when it did, with the frame that carried it. WebM's sound is encoded again as Opus, whose beginning
    and packets its clock rounds to milliseconds."""
    shown, slack = dict(zip(numbers(made), times(made), strict=True)), 0.0015 if made.suffix == ".webm" else 0.001
    for track, sound in enumerate(clip.sound):
        assert clicks(made, track) == pytest.approx([float(shown[index]) for index in sound.clicks], abs=slack)
        assert clicks(made, track) == pytest.approx(clicks(source, track), abs=slack)


@pytest.mark.parametrize("name", WHOLE)
def test_row_25_every_frame_once_in_order_at_its_own_time(call: Call, name: str) -> None:
    """Rows 26 and 27 too: variable rates stay, and files that tell no number of frames are no problem."""
    clip, wanted = VARIANTS[name], make(Path(name), VARIANTS[name])
    done = call(name)
    shown = [read_number(np.rot90(gray(frame), -turned(name))) for frame in decoded(done.made)]
    expected = [None] * len(wanted) if clip.scene == "still" else list(frame_of(name, len(wanted)))
    assert shown == expected
    assert done.record["frames"] == done.record["video"]["frames"] == len(wanted)
    if name == "b-frames.avi":
        return  # test_row_26_a_file_without_times_gets_those_of_its_rate
    check_times(times(done.made), wanted, done.made, name)
    if clip.sound:
        check_sync(Path(name), done.made, clip)
    assert done.made.suffix == (Path(name).suffix if Path(name).suffix in (".mp4", ".mov", ".webm") else ".mkv")


SYNCED = ("variable.mkv", "late-start.mp4", "late-sound.mkv", "cut-start.mp4", "negative-start.mkv")


@pytest.mark.parametrize(
    ("name", "format_"), [(name, format_) for name in SYNCED for format_ in ("mp4", "mkv", "webm")]
)
def test_wish_5_sound_and_picture_stay_together_in_every_container(call: Call, name: str, format_: str) -> None:
    """Wish 2 too. WebM cannot hold AAC: there the sound is encoded again, and still in its place."""
    wanted, speed = make(Path(name), VARIANTS[name]), (["--preset", "8"] if format_ == "webm" else [])
    done = call(name, "--format", format_, *speed)
    assert done.made.suffix == f".{format_}"
    base = first(Path(name)).time_base
    assert base is not None
    check_times(times(done.made), wanted, done.made)
    check_sync(Path(name), done.made, VARIANTS[name])


@pytest.mark.parametrize("name", sorted(STRANGE_TIMES))
def test_row_26_times_that_go_backwards_are_mended_and_said(call: Call, name: str) -> None:
    make(Path(name), VARIANTS[name])
    done = call(name)
    assert numbers(done.made) == list(range(8))
    found = times(done.made)
    assert sorted(set(found)) == found
    assert done.record["video"]["retimed"] == 2
    assert any("2 frames had no time" in warning for warning in done.record["warnings"])


def test_row_26_a_file_without_times_gets_those_of_its_rate(call: Call) -> None:
    wanted = make(Path("a.avi"), VARIANTS["b-frames.avi"])
    done = call("a.avi")
    check_times(times(done.made), wanted, done.made)


def test_row_28_a_stage_that_fails_stops_the_job_and_names_the_frame(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing waits for ever, no frame is left out, no file seems whole."""
    make(Path("a.mp4"), Clip())
    count, whole = 0, Enlarger.bands

    def failing(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 8:
            raise EngineError("the engine broke")
        return whole(*arguments)

    monkeypatch.setattr(Enlarger, "bands", failing)
    done = call("a.mp4")
    assert done.code == 1
    assert "frame 7 at 0.292 s could not be enlarged: the engine broke" in done.err
    assert seen_in(place) == ["a.mp4"]
    assert call("a.mp4").code == 0, "and the same command goes on"
    assert numbers(Path("a_x2.mp4")) == list(range(24))


@pytest.mark.parametrize("stage", ["decode", "encode"])
def test_row_28_no_error_of_a_thread_vanishes(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    def failing(*_: Any) -> Any:
        raise RuntimeError("a fault of the stage")
        yield

    make(Path("a.mp4"), Clip())
    where = {"decode": (VideoFile, "frames"), "encode": (Encoder, "encode")}
    monkeypatch.setattr(*where[stage], failing)
    done = call("a.mp4")
    assert (done.code, done.record["status"]) == (1, "failed")
    assert "a fault of the stage" in done.record["error"]
    assert seen_in(place) == ["a.mp4"]


def test_wish_5_a_result_that_lacks_a_frame_never_gets_its_name(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is read again before it counts."""
    from upscale.media.video import join

    make(Path("a.mp4"), Clip())
    all_of: Callable[..., Iterator[Any]] = join.coded_in
    with monkeypatch.context() as patched:
        patched.setattr(join, "coded_in", lambda path: list(all_of(path))[:-1])  # pyright: ignore[reportUnknownLambdaType]
        patched.setattr(join, "zip", lambda one, two, strict: zip(one, list(two)[:-1], strict=True), raising=False)  # pyright: ignore[reportUnknownLambdaType]
        done = call("a.mp4")
    assert done.code == 1
    assert "23 frames were written instead of 24" in done.record["error"]
    assert seen_in(place) == ["a.mp4"]


# Everything else in the file


def streams(path: Path) -> list[tuple[str, str | None, str | None, int]]:
    """(kind, language, title, roles) of each, in order."""
    with av.open(str(path)) as opened:
        return [
            (one.type, one.metadata.get("language"), one.metadata.get("title"), int(one.disposition))
            for one in opened.streams
        ]


def chapters(path: Path) -> list[tuple[float, float, str]]:
    with av.open(str(path)) as opened:
        found: list[Any] = [*opened.chapters()]
    return [
        (float(one["start"] * one["time_base"]), float(one["end"] * one["time_base"]), one["metadata"]["title"])
        for one in found
    ]


def texts(path: Path, track: int = 0) -> list[tuple[float, float, str]]:
    """(start, end, text) of each line, in seconds."""
    found: list[tuple[float, float, str]] = []
    with av.open(str(path)) as opened:
        packets: list[Any] = [one for one in opened.demux(opened.streams.subtitles[track]) if one.pts is not None]
        for one in packets:
            start, end = (float(time * one.time_base) for time in (one.pts, one.pts + one.duration))
            lines = [line.ass.split(b",", 8)[-1].decode() for line in one.decode()]
            found += [(start, end, line) for line in lines if line]
    return found


def covers(path: Path) -> list[bytes]:
    with av.open(str(path)) as opened:
        wanted = [one for one in opened.streams.video if Disposition.attached_pic in one.disposition]
        return [bytes(one) for one in opened.demux(wanted) if one.size] if wanted else []


def fonts(path: Path) -> list[tuple[str, bytes]]:
    with av.open(str(path)) as opened:
        return [(one.name or "", one.data or b"") for one in opened.streams.attachments]


@pytest.mark.parametrize("name", ["everything.mkv", "everything.mp4"])
def test_row_29_nothing_is_lost(call: Call, name: str) -> None:
    """Wish 4: both languages, subtitles, chapters, fonts, cover, roles, titles."""
    source = Path(name)
    make(source, VARIANTS[name])
    done = call(name)
    assert streams(done.made) == streams(source)
    assert chapters(done.made) == chapters(source) == [(0, 0.5, "first part"), (0.5, 1, "second part")]
    assert covers(done.made) == covers(source)
    assert len(covers(source)) == (source.suffix == ".mp4")
    assert fonts(done.made) == fonts(source)
    for track in range(len(VARIANTS[name].subtitles)):
        assert texts(done.made, track) == texts(source, track)
        assert [text for _, _, text in texts(source, track)] == ["first line", "second line"]
    with av.open(str(done.made)) as opened:
        assert opened.metadata["title"] == "a clip"
    assert done.record["warnings"] == []


def test_row_29_matroska_into_mp4_converts_or_names_what_is_left_out(call: Call) -> None:
    make(Path("a.mkv"), VARIANTS["everything.mkv"])
    done = call("a.mkv", "--format", "mp4")
    told = done.record["warnings"]
    assert any("subtitle track 1 (eng, subrip): converted" in line for line in told)
    assert any("subtitle track 2 (deu, ass): converted" in line and "styles" in line for line in told)
    assert any("attachment font.ttf: left out" in line for line in told)
    assert all(f"warning: a_x2.mp4: {line}" in done.err for line in told), "people who do not read records see it too"
    assert [text for _, _, text in texts(done.made, 1)] == ["first line", "second line"]
    assert [(round(one, 3), round(two, 3)) for one, two, _ in texts(done.made)] == [(0.1, 0.4), (0.5, 0.9)]
    assert [one[1] for one in streams(done.made) if one[0] in ("audio", "subtitle")] == ["eng", "deu"] * 2
    assert chapters(done.made) == chapters(Path("a.mkv"))
    check_sync(Path("a.mkv"), done.made, VARIANTS["everything.mkv"])


def test_row_29_mp4_into_matroska_and_webm(call: Call) -> None:
    make(Path("a.mp4"), VARIANTS["everything.mp4"])
    done = call("a.mp4", "--format", "mkv")
    assert any("subtitle track 1 (eng, mov_text): converted to SubRip" in line for line in done.record["warnings"])
    assert texts(done.made) == texts(Path("a.mp4"))
    assert covers(done.made) == covers(Path("a.mp4"))
    web = call("a.mp4", "--format", "webm", "--preset", "8")
    assert any("cover picture 1" in line and "left out" in line for line in web.record["warnings"])
    assert sum("converted to Opus" in line for line in web.record["warnings"]) == 2
    assert texts(web.made) == texts(Path("a.mp4"))
    check_sync(Path("a.mp4"), web.made, VARIANTS["everything.mp4"])


# Codecs


@pytest.mark.parametrize(
    ("codec", "format_", "decoder"),
    [
        ("h264", "mp4", "h264"),
        ("hevc", "mov", "hevc"),
        ("av1", "webm", "libdav1d"),
        ("vp9", "mp4", "vp9"),
        ("prores", "mov", "prores"),
        ("ffv1", "mkv", "ffv1"),
    ],
)
def test_each_codec_in_a_container_that_takes_it(call: Call, codec: str, format_: str, decoder: str) -> None:
    make(Path("a.mkv"), Clip(frames=12))
    done = call("a.mkv", "--codec", codec, "--format", format_)
    with av.open(str(done.made)) as opened:
        name = opened.streams.video[0].codec_context.name
    assert {name} <= {decoder, codec, "av1"}
    assert numbers(done.made) == list(range(12))


def test_a_codec_that_the_container_cannot_take_goes_into_matroska(call: Call) -> None:
    make(Path("a.mp4"), Clip(frames=6))
    assert call("a.mp4", "--codec", "prores").made == Path("a_x2.mkv")
    refused = call("a.mp4", "--codec", "prores", "--format", "mp4")
    assert refused.code == 1
    assert "MP4 cannot carry prores; use --format mkv" in refused.record["error"]


def test_options_of_the_encoder_are_heard_or_refused(call: Call) -> None:
    make(Path("a.mp4"), Clip(frames=6))
    small = call("a.mp4", "--crf", "45", "--preset", "veryfast", "--encoder-option", "tune=grain", "-o", "small.mp4")
    large = call("a.mp4", "--crf", "5", "-o", "large.mp4")
    assert 3 * small.made.stat().st_size < large.made.stat().st_size
    assert call("a.mp4", "--pix-fmt", "yuv444p", "-o", "c.mp4").code == 0
    assert first(Path("c.mp4")).format.name == "yuv444p"
    for wrong in (["--encoder-option", "nonsense=1"], ["--preset", "warp"], ["--pix-fmt", "pal8"]):
        refused = call("a.mp4", "-o", "d.mp4", *wrong)
        assert refused.code == 1, wrong
        assert refused.err.count("failed: ") == 1
        assert "Traceback" not in refused.err
        assert not Path("d.mp4").exists()


# Color


@pytest.mark.parametrize("codec", ["h264", "hevc", "av1"])
@pytest.mark.parametrize("name", ["bt709.mp4", "bt601.mkv", "full-range.mp4", "hdr10.mkv", "hlg.mkv"])
def test_row_30_color_tags_are_the_sources(call: Call, name: str, codec: str) -> None:
    """Row 31 and wish 3 too: HDR keeps its ten bits and what it says of its mastering."""
    make(Path(name), replace(VARIANTS[name], frames=3))
    done = call(name, "--codec", codec, "--preset", "10" if codec == "av1" else "veryfast")
    depth, *colors, location = tags(done.made)
    before = tags(Path(name))
    assert [depth, *colors] == list(before[:-1])
    if codec != "av1" or location != "unspecified":  # AV1 knows left and topleft only
        assert location == (before[-1] if before[-1] != "unspecified" else "left")
    source, result = light(Path(name)), light(done.made)
    assert source.keys() == result.keys()
    assert len(source) == 2 * (name == "hdr10.mkv")
    for key, values in source.items():
        if key == "CONTENT_LIGHT_LEVEL":
            assert values[:2].tolist() == result[key][:2].tolist() == [1000, 400]
        else:
            pairs = [(value[:20:2] / value[1:20:2]) for value in (values, result[key])]
            assert pairs[0] == pytest.approx(pairs[1], rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("depth", [8, 10])
@pytest.mark.parametrize(("matrix", "transfer", "full"), [(6, 6, False), (1, 1, False), (1, 1, True), (9, 16, False)])
def test_wish_3_codes_come_back(call: Call, matrix: int, transfer: int, full: bool, depth: int) -> None:
    """In-gamut patches through the whole way, network included: within one code of 8 bits, two of 10."""
    step = 1 << (depth - 8)
    rows = [(60, 128, 128), (126, 128, 128), (200, 128, 128), (110, 110, 150), (140, 140, 112), (90, 135, 135)]
    colors = [tuple(code * step for code in row) for row in rows]
    clip = patches_clip(
        colors,
        "yuv444p" if depth == 8 else "yuv444p10le",
        matrix=matrix,
        primaries=matrix,
        transfer=transfer,
        full_range=full,
    )
    make(Path("a.mkv"), clip)
    done = call("a.mkv", "--strength", "1")
    found = read_patches(done.made, len(colors))
    assert np.abs(found - read_patches(Path("a.mkv"), len(colors))).max() <= (1 if depth == 8 else 2)
    assert tags(done.made)[:5] == tags(Path("a.mkv"))[:5]


def test_row_30_what_an_untagged_file_means_is_said_and_written(call: Call) -> None:
    make(Path("a.mp4"), Clip(frames=3))
    done = call("a.mp4")
    assert "BT.601" in done.err
    assert tags(done.made)[1:5] != tags(Path("a.mp4"))[1:5]
    assert tags(done.made)[1] in ("5", "6"), "enlarged, other programs would take it for BT.709"


@pytest.mark.parametrize("codec", ["hevc", "h264", "av1"])
def test_row_31_ten_bits_stay_ten_bits(call: Call, codec: str) -> None:
    make(Path("a.mp4"), replace(VARIANTS["ten-bits.mp4"], frames=3))
    done = call("a.mp4", "--codec", codec, "--preset", "10" if codec == "av1" else "veryfast")
    frame = first(done.made)
    assert frame.format.name == "yuv420p10le"
    low = np.bincount(planes(frame)[0].ravel() & 3, minlength=4)
    assert low.min() > 0.1 * low.sum(), "not 8 bits spread over 10"


# Shape


@pytest.mark.parametrize("name", ["rotated.mp4", "rotated.mov"])
def test_a_rotated_video_comes_out_upright(call: Call, name: str) -> None:
    make(Path(name), VARIANTS[name])
    done = call(name, "--strength", "1")
    source, frame = first(Path(name)), first(done.made)
    assert (source.width, source.height, frame.width, frame.height) == (96, 64, 128, 192)
    wanted = np.rot90(gray(source), VARIANTS[name].rotation // 90).repeat(2, 0).repeat(2, 1)
    assert np.abs(wanted.astype(int) - gray(frame)).mean() < 3
    assert frame.rotation == 0
    assert done.record["input_size"] == [64, 96]


@pytest.mark.parametrize("name", ["wide-pixels.mp4", "wide-pixels.mkv"])
def test_row_32_the_shape_of_pixels_is_kept_or_squared(call: Call, name: str) -> None:
    make(Path(name), VARIANTS[name])
    kept, squared = call(name), call(name, "--square-pixels", "-o", f"square{Path(name).suffix}")
    for path, size, aspect in ((kept.made, (192, 128), Fraction(64, 45)), (squared.made, (274, 128), Fraction(1))):
        with av.open(str(path)) as opened:
            stream = opened.streams.video[0]
            assert (stream.width, stream.height) == size
            assert (stream.sample_aspect_ratio or Fraction(1)) == aspect
    assert numbers(squared.made) == list(range(24))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("odd-size.mkv", []),
        ("odd-size-420.mkv", ["--codec", "vp9"]),
        ("odd-size-420.mkv", []),
    ],
)
def test_odd_sizes_stay_odd_where_the_codec_can(call: Call, name: str, options: list[str]) -> None:
    make(Path(name), VARIANTS[name])
    done = call(name, "--scale", "1", *options)
    frame = first(done.made)
    assert [frame.width, frame.height] == done.record["output_size"] == [101, 67]
    assert numbers(done.made) == list(range(24))


def test_odd_sizes_become_even_where_they_must_and_that_is_said(call: Call) -> None:
    make(Path("a.mkv"), VARIANTS["odd-size-420.mkv"])
    done = call("a.mkv", "--scale", "1", "--codec", "h264")
    frame = first(done.made)
    assert (frame.width, frame.height) == (102, 68)
    assert any("101×67 becomes 102×68" in line for line in done.record["warnings"])
    assert numbers(done.made) == list(range(24))


def combs(path: Path) -> float:
    """How much rows differ from the rows above and below, beyond what those differ from one another; of moving parts."""
    energy = 0.0
    for frame in decoded(path):
        rows = gray(frame).astype(float)
        energy += float(
            np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2).mean() - np.abs(rows[:-2] - rows[2:]).mean() / 2
        )
    return energy


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
def test_interlaced_video_is_said_and_made_whole(call: Call, name: str) -> None:
    make(Path(name), VARIANTS[name])
    whole = call(name, "--scale", "1", "-o", "whole.mkv")
    left = call(name, "--scale", "1", "-o", "left.mkv", "--deinterlace", "off")
    assert "interlaced" in whole.err
    assert "interlaced" in left.err
    assert numbers(whole.made) == numbers(left.made) == list(range(24))
    assert times(whole.made) == times(left.made)
    before, after = combs(left.made), combs(whole.made)
    assert before > 0
    assert after < 0.5 * before
    make(Path("film.mp4"), Clip())
    assert "interlaced" not in call("film.mp4").err


@pytest.mark.parametrize("name", ["alpha.mov", "alpha.mkv"])
def test_transparency_is_kept_where_it_can_be(call: Call, name: str) -> None:
    make(Path(name), VARIANTS[name])
    done = call(name, "--strength", "1")
    source, frame = first(Path(name)), first(done.made)
    assert done.made.suffix == Path(name).suffix
    assert len(frame.format.components) == 4
    shares = [planes(one)[3] / ((1 << one.format.components[3].bits) - 1) for one in (source, frame)]
    assert np.abs(shares[0].repeat(2, 0).repeat(2, 1) - shares[1]).max() < 0.1
    assert shares[1].min() < 0.05
    assert shares[1].max() == 1


def test_transparency_that_a_codec_cannot_hold_is_refused_or_put_on_a_background(call: Call, place: Path) -> None:
    make(Path("a.mkv"), VARIANTS["alpha.mkv"])
    refused = call("a.mkv", "--codec", "h264")
    assert refused.code == 1
    assert "h264 holds no transparency; use --format mov" in refused.record["error"]
    assert "--background" in refused.record["error"]
    assert "\n" not in refused.record["error"]
    assert [path.name for path in place.iterdir()] == ["a.mkv"]
    done = call("a.mkv", "--codec", "h264", "--background", "#20c040", "--crf", "5")
    corner = first(done.made).to_ndarray(format="rgb24")[-24:, :3].reshape(-1, 3)
    assert np.abs(corner.astype(int) - (0x20, 0xC0, 0x40)).max() < 40, "almost nothing of the picture is left there"


# Parts, repetitions, flicker


@pytest.mark.parametrize("format_", ["mp4", "mkv", "webm"])
def test_start_and_end_cut_a_piece_out(call: Call, format_: str) -> None:
    clip = Clip(frames=48, sound=(Sound(clicks=(6, 20, 30)),), subtitles=(Sub(lines=((1.0, 1.2, "in the piece"),)),))
    make(Path("a.mkv"), clip)
    speed = ["--preset", "8"] if format_ == "webm" else []
    done = call("a.mkv", "--start", "0.5", "--end", "0:01.5", "--format", format_, *speed)
    assert numbers(done.made) == list(range(12, 36))
    found = times(done.made)
    assert 0 <= found[0] < Fraction(1, 1000)
    check_times(found, [Fraction(index, 24) for index in range(24)], done.made.with_suffix(".mkv"))  # source in ms
    assert clicks(done.made) == pytest.approx([float(found[8]), float(found[18])], abs=0.001)
    assert [(round(one, 2), text) for one, _, text in texts(done.made)] == [(0.5, "in the piece")]


def test_start_beyond_the_end_is_one_line(call: Call, place: Path) -> None:
    make(Path("a.mp4"), Clip(frames=6))
    done = call("a.mp4", "--start", "10")
    assert done.code == 1
    assert "no frame lies between --start and --end" in done.record["error"]
    assert seen_in(place) == ["a.mp4"]
    assert call("a.mp4", "--start", "2", "--end", "1").code == 2


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A list that grows with every frame that is enlarged."""
    calls: list[int] = []
    whole = Enlarger.bands

    def counting(*arguments: Any) -> Any:
        calls.append(1)
        return whole(*arguments)

    monkeypatch.setattr(Enlarger, "bands", counting)
    return calls


def test_wish_6_identical_frames_are_not_computed_again(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = counted(monkeypatch)
    make(Path("a.mkv"), Clip(scene="still", codec="ffv1"))
    done = call("a.mkv")
    assert (done.record["video"]["same"], done.record["frames"], len(calls)) == (23, 24, 1)
    frames = [planes(frame)[0] for frame in decoded(done.made)]
    assert len(frames) == 24
    assert all(np.array_equal(frame, frames[0]) for frame in frames)
    make(Path("b.mkv"), Clip(codec="ffv1"))
    assert call("b.mkv").record["video"]["same"] == 0


def noisy(path: Path, frames: int, most: int, seed: int = 0) -> list[npt.NDArray[np.uint8]]:
    """A still picture under noise of at most so many codes, without loss; the lumas."""
    rng = np.random.default_rng(seed)
    base = opencv.GaussianBlur(rng.integers(0, 256, (48, 64), np.uint8), (0, 0), 3)
    base = opencv.normalize(base, None, 30 + most, 220 - most, opencv.NORM_MINMAX)
    lumas = [(base + rng.integers(-most, most + 1, base.shape)).astype(np.uint8) for _ in range(frames)]
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", 24, width=64, height=48, pix_fmt="yuv444p")
        for number, luma in enumerate(lumas):
            frame = av.VideoFrame.from_ndarray(np.stack([luma, luma * 0 + 128, luma * 0 + 128]), format="yuv444p")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return lumas


def test_wish_6_dedupe_takes_small_differences_for_none(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    noisy(Path("a.mkv"), 12, 1)
    calls = counted(monkeypatch)
    assert call("a.mkv", "--dedupe", "2", "-o", "b.mkv").record["video"]["same"] == 11
    assert len(calls) == 1
    assert call("a.mkv", "--dedupe", "0.5", "-o", "c.mkv").record["video"]["same"] == 0


def test_row_41_steady_takes_flicker_away(call: Call) -> None:
    """Wish 7, on the simplest of scenes; others are in test_steady.py."""
    noisy(Path("a.mkv"), 12, 8)
    flicker: dict[str, float] = {}
    for steady in ("0", "0.6"):
        made = call("a.mkv", "--steady", steady, "-o", f"{steady}.mkv").made
        lumas = np.array([planes(frame)[0] for frame in decoded(made)], float)
        flicker[steady] = float(np.abs(np.diff(lumas[4:], axis=0)).mean())
    assert flicker["0.6"] < 0.6 * flicker["0"]


# Speed and machines


def test_row_24_one_processor_is_enough(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    make(Path("a.mp4"), Clip(frames=6))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0}, raising=False)  # pyright: ignore[reportUnknownLambdaType]
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    assert numbers(call("a.mp4").made) == list(range(6))


def test_row_36_decoding_network_and_encoding_overlap(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stage is made 20 ms slow: one after another 24 frames would take 1.44 s; and it is told how fast it went."""
    make(Path("a.mp4"), Clip())
    assert call("a.mp4", "-o", "warm.mp4").code == 0
    read, bands, encode = VideoFile.frames, Enlarger.bands, Encoder.encode

    def slow_frames(*arguments: Any) -> Any:
        for frame in read(*arguments):
            time.sleep(0.02)
            yield frame

    def slow_bands(*arguments: Any) -> Any:
        time.sleep(0.02)
        return bands(*arguments)

    def slow_encode(*arguments: Any) -> Any:
        time.sleep(0.02)
        return encode(*arguments)

    monkeypatch.setattr(VideoFile, "frames", slow_frames)
    monkeypatch.setattr(Enlarger, "bands", slow_bands)
    monkeypatch.setattr(Encoder, "encode", slow_encode)
    video = call("a.mp4").record["video"]
    assert 24 / video["fps"] < 1.1
    assert all(video["busy"][stage] >= 24 * 0.02 for stage in ("decode", "network", "encode"))


# What is said, and what is done again


def test_wish_27_the_record_of_a_video(call: Call) -> None:
    make(Path("a.mp4"), VARIANTS["everything.mp4"])
    record = call("a.mp4").record
    assert record.keys() == {field.name for field in fields(Record)}
    assert (record["input"], record["output"], record["status"], record["error"]) == ("a.mp4", "a_x2.mp4", "done", None)
    assert (record["input_size"], record["output_size"], record["frames"]) == ([96, 64], [192, 128], 24)
    assert (record["model"], record["scale"], record["device"]) == ("nearest", 2, "cpu")
    video = record["video"]
    assert video.keys() >= {"frames", "kept", "same", "corrupt", "lost", "retimed", "fps", "busy"}
    assert {video[name] for name in ("kept", "same", "corrupt", "lost", "retimed")} == {0}
    assert video["fps"] > 0
    assert set(video["busy"]) == {"decode", "network", "encode"}


def test_wish_27_dry_run_computes_nothing_and_writes_nothing(
    call: Call, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Path("a.mkv"), VARIANTS["everything.mkv"])
    calls = counted(monkeypatch)
    done = call("a.mkv", "--dry-run", "--format", "mp4", "--scale", "1.5")
    assert done.code == 0
    assert (done.record["status"], done.record["output"]) == ("planned", "a_x1.5.mp4")
    assert (done.record["output_size"], done.record["codec"]) == ([144, 96], "h264")
    assert any("font.ttf" in warning for warning in done.record["warnings"])
    assert calls == []
    assert [path.name for path in place.iterdir()] == ["a.mkv"]
    make(Path("b.mkv"), VARIANTS["alpha.mkv"])
    assert call("b.mkv", "--dry-run", "--codec", "h264").code == 1, "it fails where the run would"


@pytest.fixture
def mixed(place: Path, make_photo: Callable[..., Any]) -> Path:
    """Two videos, a picture, and a video that is none."""
    folder = place / "in"
    folder.mkdir()
    for name in ("a.mp4", "c.mkv"):
        make(folder / name, Clip(frames=6))
    (folder / "b.mp4").write_bytes(b"nothing that plays" * 99)
    opencv.imwrite(str(folder / "d.png"), make_photo(12, 17))
    return folder


def test_wish_9_one_broken_video_does_not_stop_a_mixed_folder(call: Call, mixed: Path) -> None:
    done = call("in")
    assert done.code == 1
    assert {record["input"]: record["status"] for record in done.records} == {
        "in/a.mp4": "done",
        "in/b.mp4": "failed",
        "in/c.mkv": "done",
        "in/d.png": "done",
    }
    assert "1 of 4 inputs failed" in done.err
    assert done.err.count("in/b.mp4") == 2, "once when it happens, once at the end"
    assert sorted(path.name for path in Path("in_x2").iterdir() if path.suffix != ".jsonl") == [
        "a.mp4",
        "c.mkv",
        "d.png",
    ]
    assert numbers(Path("in_x2/c.mkv")) == list(range(6))
    assert opencv.imread("in_x2/d.png").shape == (24, 34, 3)


def test_wish_9_resume_skips_finished_videos_and_redoes_damaged_ones(call: Call, mixed: Path) -> None:
    assert call("in").code == 1
    (mixed / "b.mp4").unlink()
    before = {path: path.stat().st_mtime_ns for path in Path("in_x2").glob("*.*")}
    again = call("in", "--resume")
    assert [record["status"] for record in again.records] == ["skipped"] * 3
    Path("in_x2/a.mp4").write_bytes(Path("in_x2/a.mp4").read_bytes()[:-9])
    mended = call("in", "--resume")
    assert {record["input"]: record["status"] for record in mended.records}["in/a.mp4"] == "done"
    assert Path("in_x2/c.mkv").stat().st_mtime_ns == before[Path("in_x2/c.mkv")]
    assert numbers(Path("in_x2/a.mp4")) == list(range(6))


def test_wish_1_a_finished_video_is_not_made_again_without_overwrite(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(Path("a.mp4"), Clip(frames=6))
    path = call("a.mp4").made
    content, calls = path.read_bytes(), counted(monkeypatch)
    refused = call("a.mp4")
    assert refused.code == 1
    assert "a_x2.mp4: exists already; --overwrite replaces it" in refused.record["error"]
    assert (path.read_bytes(), calls) == (content, [])
    assert call("a.mp4", "--overwrite", "--crf", "40").code == 0
    assert path.read_bytes() != content


# Broken files


@pytest.mark.parametrize("name", ["no moov", "two sizes", "empty", "noise"])
def test_row_28_what_cannot_be_read_is_one_line(call: Call, place: Path, name: str) -> None:
    path = broken_files(place)[name]
    before = sorted(place.iterdir())
    done = call(path.name)
    assert done.code == 1
    assert done.record["error"].startswith(path.name)
    assert "\n" not in done.record["error"]
    assert "Traceback" not in done.err
    assert sorted(one for one in place.iterdir() if not one.name.startswith(".")) == before


@pytest.mark.parametrize("name", ["no-frames.mp4", "no-frames.mkv", "only-sound.m4a"])
def test_row_28_a_video_without_pictures_is_one_line(call: Call, place: Path, name: str) -> None:
    make(Path(name), VARIANTS[name])
    done = call(name)
    assert done.code == 1
    assert done.record["error"].startswith(name)
    assert [path.name for path in place.iterdir()] == [name]


@pytest.mark.parametrize("name", ["cut mkv", "cut ts"])
def test_row_28_a_cut_off_file_gives_what_is_there(call: Call, place: Path, name: str) -> None:
    path = broken_files(place)[name]
    readable = [number for number in numbers(path) if number is not None]
    done = call(path.name)
    assert 0 < len(readable) < 24
    assert numbers(done.made)[: len(readable) - 1] == readable[:-1]


def test_row_28_a_cut_off_file_is_warned_of(call: Call, place: Path) -> None:
    """Its header tells a length of a second, and about half of that is there."""
    done = call(broken_files(place)["cut mkv"].name)
    assert done.code == 0
    assert any(re.search("damaged|missing|cut|ends", line) for line in done.record["warnings"])


def test_row_28_damaged_frames_are_counted_and_shown(call: Call) -> None:
    """Bytes of some frames overwritten: as many frames come out as a player shows, and it is told how many are hurt."""
    make(Path("a.mkv"), Clip(frames=36, width=192, height=128, options={"crf": "12"}))
    body = bytearray(Path("a.mkv").read_bytes())
    for at in range(len(body) // 2, len(body) // 2 + 6000, 300):
        body[at : at + 20] = bytes(20)
    Path("a.mkv").write_bytes(body)
    done = call("a.mkv")
    video = done.record["video"]
    assert video["corrupt"] + video["lost"] > 0
    assert done.record["warnings"] != []
    assert len(times(done.made)) == done.record["frames"] >= 30
