"""The clips say what is in them, and the reader reads it: everything that tests of video stand on."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import combinations
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.error import FFmpegError
from av.stream import Disposition
from clips import (
    NO_TIMES,
    Clip,
    Sound,
    all_variants,
    broken_files,
    clicks,
    draw,
    make,
    numbers,
    patches_clip,
    read_number,
    read_patches,
    times,
    tone,
)

opencv: Any = cv2
VARIANTS = all_variants()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the files that no test changes lie."""
    return tmp_path_factory.mktemp("clips")


def written(folder: Path, name: str) -> Path:
    """One of the ready clips as a file."""
    path = folder / name
    if not path.exists():
        make(path, VARIANTS[name])
    return path


def first_frame(path: Path) -> Any:
    with av.open(str(path)) as container:
        return next(container.decode(video=0))


def luma(clip: Clip, index: int) -> Any:
    return opencv.cvtColor(draw(clip, index)[..., :3], opencv.COLOR_RGB2GRAY)


# What is written is what is read


@pytest.mark.parametrize("name", [name for name, clip in VARIANTS.items() if clip.codec])
def test_numbers_and_times_are_read_back(folder: Path, name: str) -> None:
    clip, path = VARIANTS[name], folder / name
    expected = make(path, clip)
    shown = list(range(clip.frames))[clip.frames - len(expected) :]  # an edit list cuts the first ones
    assert numbers(path) == ([None] * len(shown) if clip.scene == "still" else shown)
    if path.suffix not in NO_TIMES:
        assert times(path) == expected


@pytest.mark.parametrize("name", [name for name, clip in VARIANTS.items() if clip.sound])
def test_clicks_are_at_their_frames_and_tones_right(folder: Path, name: str) -> None:
    clip, path = VARIANTS[name], written(folder, name)
    for track, sound in enumerate(clip.sound):
        assert tone(path, track) == pytest.approx(sound.hz, abs=1.5)
        seen = dict(zip(numbers(path), times(path), strict=True)) if sound.clicks else {}
        assert clicks(path, track) == pytest.approx([float(seen[index]) for index in sound.clicks], abs=0.001)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_clicks_of_any_rate(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "clicks.mkv"
    every = tuple(range(0, 24, 2))
    make(path, Clip(codec=None, sound=(Sound(codec="flac", rate=rate, hz=330.0, clicks=every),)))
    assert clicks(path) == pytest.approx([index / 24 for index in every], abs=0.0006)  # times in mkv are milliseconds
    assert tone(path) == pytest.approx(330.0, abs=1.5)


def test_a_silent_stretch_is_kept(tmp_path: Path) -> None:
    """A track with a hole: what comes after it is heard when it should be, not earlier."""
    source, holed = tmp_path / "whole.mkv", tmp_path / "holed.mkv"
    make(source, Clip(sound=(Sound(codec="flac", clicks=(3, 20)),)))
    files: Any = av.open(str(source)), av.open(str(holed), "w")
    with files[0] as old, files[1] as new:
        stream = new.add_stream_from_template(old.streams.audio[0])
        for packet in old.demux(audio=0):
            if packet.dts is not None and not 0.3 < packet.pts * packet.time_base < 0.7:
                packet.stream = stream
                new.mux(packet)
    assert clicks(holed) == pytest.approx([3 / 24, 20 / 24], abs=0.001)


# The number in a frame


@pytest.mark.parametrize("size", [(64, 48), (96, 64), (101, 67), (320, 180)])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_numbers_of_enlarged_frames(size: tuple[int, int], scale: int) -> None:
    clip = Clip(width=size[0], height=size[1])
    for index in (0, 1, 2, 511, 1024, 2047):
        large = opencv.resize(luma(clip, index), None, fx=scale, fy=scale, interpolation=opencv.INTER_CUBIC)
        assert read_number(large) == index


def test_numbers_at_the_compression_of_bad_copies(tmp_path: Path) -> None:
    path = tmp_path / "bad.mp4"
    make(path, Clip(frames=60, width=64, height=48, options={"crf": "32"}))
    assert numbers(path) == list(range(60))


def test_every_number_has_its_own_picture() -> None:
    clip = Clip(width=64, height=48)
    assert [read_number(luma(clip, index)) for index in range(2048)] == list(range(2048))


def test_one_to_three_wrong_cells_are_no_number() -> None:
    gray = luma(Clip(width=64, height=48), 1234)
    for count in (1, 2, 3):
        for wrong in combinations(range(16), count):
            damaged = gray.copy()
            for place in wrong:
                top, left = 12 * (place // 8), 8 * (place % 8)
                damaged[top : top + 12, left : left + 8] = 255 - damaged[top : top + 12, left : left + 8]
            assert read_number(damaged) is None


@pytest.mark.parametrize("level", [0, 16, 128, 235, 255])
def test_flat_frames_have_no_number(level: int) -> None:
    assert read_number(np.full((64, 96), level, np.uint8)) is None


def test_mixed_turned_and_shifted_frames_have_no_number() -> None:
    one, two = luma(Clip(), 5), luma(Clip(), 6)
    mixed = opencv.addWeighted(one, 0.5, two, 0.5, 0)
    assert read_number(mixed) is None
    assert read_number(np.roll(one, 6, axis=1)) is None
    assert all(read_number(np.ascontiguousarray(np.rot90(luma(Clip(), index)))) is None for index in range(24))


# Patches


@pytest.mark.parametrize(
    ("pix_fmt", "bits", "count"),
    [
        ("yuv420p", 8, 3), ("yuv422p", 8, 3), ("yuv444p", 8, 3), ("yuva420p", 8, 4), ("gray", 8, 1),
        ("yuv420p10le", 10, 3), ("yuv422p10le", 10, 3), ("yuv444p10le", 10, 3), ("yuv444p16le", 16, 3), ("gbrp10le", 10, 3),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [(96, 64), (101, 67)])
def test_patches_are_exact(tmp_path: Path, pix_fmt: str, bits: int, count: int, size: tuple[int, int]) -> None:
    codes = np.random.default_rng(bits).integers(0, 2**bits, (7, count))
    path = tmp_path / "patches.mkv"
    make(path, patches_clip([tuple(map(int, row)) for row in codes], pix_fmt, width=size[0], height=size[1]))
    frame = first_frame(path)
    assert (frame.width, frame.height, len(frame.format.components)) == (*size, count)
    np.testing.assert_array_equal(read_patches(path, 7, frame=1), codes)


def test_patches_are_found_in_frames_of_other_sizes(tmp_path: Path) -> None:
    colors = [(60, 90, 200), (120, 128, 128), (235, 16, 240), (16, 240, 16)]
    for scale in (1, 2, 4):
        path = tmp_path / f"{scale}.mp4"
        make(path, patches_clip(colors, codec="libx264", width=96 * scale, height=64 * scale, options={"crf": "1"}))
        np.testing.assert_allclose(read_patches(path, 4), colors, atol=1)


# What clips carry besides


def test_color_and_shape_are_what_they_say(folder: Path) -> None:
    frame = first_frame(written(folder, "hdr10.mkv"))
    assert (frame.format.name, frame.colorspace, frame.color_primaries, frame.color_trc) == ("yuv420p10le", 9, 9, 16)
    assert first_frame(written(folder, "full-range.mp4")).color_range == 2
    assert first_frame(written(folder, "bt709.mp4")).color_range == 1
    assert (
        first_frame(written(folder, "rotated.mp4")).rotation,
        first_frame(written(folder, "rotated.mov")).rotation,
    ) == (90, -90)
    with av.open(str(written(folder, "wide-pixels.mkv"))) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
def test_fields_are_of_two_moments(folder: Path, name: str) -> None:
    def center(rows: Any) -> float:
        """Mean column of the black square."""
        return float(np.nonzero(rows < 45)[1].mean())

    with av.open(str(written(folder, name))) as container:
        frames = list(container.decode(video=0))
        assert container.streams.video[0].codec_context.field_order == 2  # AV_FIELD_TT
    step = (96 - 16) / len(frames)
    for index in (3, 12, 20):
        assert frames[index].interlaced_frame
        rows = frames[index].to_ndarray(format="gray")[42:54]
        assert center(rows[0::2]) == pytest.approx(index * step + 7.5, abs=0.5)
        assert center(rows[1::2]) == pytest.approx((index + 0.5) * step + 7.5, abs=0.5)


@pytest.mark.parametrize("name", ["alpha.mov", "alpha.mkv"])
def test_alpha_is_full_above_and_fades_below(folder: Path, name: str) -> None:
    frame = first_frame(written(folder, name))
    assert frame.format.name.startswith("yuva")
    alpha = frame.to_ndarray(format="rgba")[..., 3]
    assert alpha[:30].min() > 250
    assert alpha[-4, 2] < 20
    assert 100 < alpha[-4, 32] < 156


def test_streams_of_everything(folder: Path) -> None:
    with av.open(str(written(folder, "everything.mkv"))) as container:
        assert [stream.type for stream in container.streams] == [
            "video",
            "audio",
            "audio",
            "subtitle",
            "subtitle",
            "attachment",
        ]
        assert [stream.language for stream in container.streams.audio] == ["eng", "deu"]
        assert [chapter["metadata"]["title"] for chapter in container.chapters()] == ["first part", "second part"]
        assert container.metadata["title"] == "a clip"
        lines = [(packet.pts, packet.duration, bytes(packet)) for packet in container.demux(subtitles=0) if packet.size]
    assert lines == [(100, 300, b"first line"), (500, 400, b"second line")]
    with av.open(str(written(folder, "everything.mp4"))) as container:
        assert [stream.name for stream in container.streams.video] == ["h264", "mjpeg"]
        assert container.streams.video[1].disposition == Disposition.attached_pic


def test_scenes(folder: Path) -> None:
    still = [draw(Clip(scene="still"), index) for index in range(3)]
    assert all(np.array_equal(still[0], frame) for frame in still)
    cut = Clip(scene="cut", frames=4)
    lower = [luma(cut, index)[34:].astype(int) for index in range(4)]
    steps = [float(np.abs(lower[i + 1] - lower[i]).mean()) for i in range(3)]
    assert steps[1] > 2 * max(steps[0], steps[2])


def test_key_frames_come_every_gop(folder: Path) -> None:
    def keys(name: str) -> list[int]:
        with av.open(str(written(folder, name))) as container:
            return [index for index, packet in enumerate(container.demux(video=0)) if packet.is_keyframe]

    assert keys("constant-24.mp4") == [0, 12]
    assert keys("open-gop.mp4") == [0, 10, 22]  # two B-frames follow each, and are shown before it


# Damaged files


def test_broken_files_are_broken_as_they_say(tmp_path: Path) -> None:
    files = broken_files(tmp_path)
    for name in ("cut mp4", "no moov", "empty", "noise"):
        with pytest.raises(FFmpegError):
            av.open(str(files[name]))
    assert numbers(files["cut mkv"])[:8] == list(range(8))
    assert len(numbers(files["cut mkv"])) < 24
    assert len(numbers(files["cut ts"])) < 24
    assert files["cut ts"].stat().st_size == round(0.6 * (tmp_path / "whole.ts").stat().st_size)


def test_two_sizes_in_one_stream(tmp_path: Path) -> None:
    path = broken_files(tmp_path)["two sizes"]
    assert list(sizes(path)) == [(96, 64)] * 12 + [(64, 48)] * 12
    with pytest.raises(ValueError, match="without pts"):
        times(path)


def sizes(path: Path) -> Iterator[tuple[int, int]]:
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            yield frame.width, frame.height
