"""Videos as they are read: every frame once, in order, with its time; what is damaged is counted, what is hopeless refused."""

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips import Clip, Sound, all_variants, broken_files, make, read_number

from upscale.errors import VideoError
from upscale.frame import Frame
from upscale.media.video import source
from upscale.media.video.clip import Seen
from upscale.media.video.source import VideoFile

VARIANTS = all_variants()
UNTIMED = ("b-frames.avi", "backwards.mkv", "twice.mkv")
TIMING = [
    name
    for name in VARIANTS
    if name.startswith(("constant", "variable", "late", "cut-", "neg", "no-b", "open", "frag", "stream", "mpeg", "raw"))
    or name
    in ("gap.mkv", "motion-jpeg.avi", "one-frame.mp4", "interlaced.ts", "av1.mkv", "opus.webm", "everything.mp4")
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


@pytest.fixture(scope="module")
def broken(folder: Path) -> dict[str, Path]:
    return broken_files(folder)


def read(path: Path, *window: Fraction | None, **how: Any) -> tuple[list[Frame], VideoFile]:
    """The planes are not copied: only their first values may be looked at while the file is open."""
    with VideoFile(path, **how) as file:
        return list(file.frames(*window)), file


def number(frame: Frame) -> int | None:
    return read_number(np.asarray(frame.planes[0] >> (frame.layout.depth - 8), np.uint8))


# ---------------------------------------------------------------- times


@pytest.mark.parametrize("name", TIMING)
def test_frames_come_in_order_with_their_own_times(name: str, folder: Path) -> None:
    clip = VARIANTS[name]
    wanted = make(folder / name, clip)
    frames, file = read(folder / name)
    assert [frame.pts * frame.time_base for frame in frames] == wanted
    hidden = clip.frames - len(wanted)  # by an edit list
    assert [number(frame) for frame in frames] == list(range(hidden, clip.frames))
    assert [frame.number for frame in frames] == list(range(len(wanted)))
    made_up = clip.frames if name == "raw.h264" else 0
    assert replace(file.seen, end=0.0) == Seen(len(wanted), len(wanted), [], 0, made_up)


@pytest.mark.parametrize("name", UNTIMED)
def test_times_that_are_wrong_rise_and_lose_no_frame(name: str, folder: Path) -> None:
    make(folder / name, VARIANTS[name])
    frames, file = read(folder / name)
    assert [number(frame) for frame in frames] == list(range(VARIANTS[name].frames))
    assert all(one.pts < two.pts for one, two in pairwise(frames))
    assert file.seen.retimed > 0
    assert file.seen.lost == 0


@pytest.mark.parametrize(
    "stored", [(0, 1, 2, 5, 4, 3, 6, 7), (0, 1, 1, 1, 2, 3, 9, 10), (4, 1, 2, 3, 5, 6, 7, 8)], ids=str
)
def test_times_that_go_back_become_the_next_possible(stored: tuple[int, ...], tmp_path: Path) -> None:
    """One tick after the frame before, so that all return to their own as soon as they can."""
    make(tmp_path / "clip.mkv", Clip(frames=8, codec="ffv1", rate=Fraction(25), stored_pts=stored))
    frames, file = read(tmp_path / "clip.mkv")
    wanted, made_up = [40 * stored[0]], 0
    for value in stored[1:]:
        made_up += 40 * value <= wanted[-1]
        wanted.append(max(40 * value, wanted[-1] + 1))
    assert [frame.pts for frame in frames] == wanted
    assert file.seen.retimed == made_up > 0


def test_missing_times_follow_the_frame_before(tmp_path: Path) -> None:
    make(tmp_path / "raw.h264", Clip(rate=Fraction(25), frames=30))
    frames, file = read(tmp_path / "raw.h264")
    steps = {two.pts - one.pts for one, two in pairwise(frames)}
    assert len(steps) == 1
    assert next(iter(steps)) * file.info.time_base == Fraction(1, 25)
    assert frames[0].pts == 0
    assert file.seen.retimed == 30


def test_durations_are_in_the_time_base(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", replace(VARIANTS["variable.mp4"], b_frames=False, sound=()))
    frames, file = read(tmp_path / "clip.mp4")
    told = [frame.duration * file.info.time_base for frame in frames]
    pts = [frame.pts * file.info.time_base for frame in frames]
    assert told[:-1] == [two - one for one, two in pairwise(pts)]


def test_a_window_starts_with_its_start_and_ends_before_its_end(tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", Clip())
    start, end = Fraction(5, 24), Fraction(9, 24)
    assert [number(frame) for frame in read(tmp_path / "clip.mp4", start, end)[0]] == [5, 6, 7, 8]
    assert [number(frame) for frame in read(tmp_path / "clip.mp4", None, end)[0]] == list(range(9))
    late = read(tmp_path / "clip.mp4", start - Fraction(1, 1000), None)[0]
    assert [number(frame) for frame in late] == list(range(5, 24))
    assert [frame.number for frame in late] == list(range(19))
    assert read(tmp_path / "clip.mp4", Fraction(100), None)[0] == []


# ---------------------------------------------------------------- damage


def packets(path: Path) -> list[tuple[int, int]]:
    """(place, bytes) of the video's packets in the file, in its order."""
    with av.open(str(path)) as container:
        return [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size and packet.pos]


def damaged(folder: Path, name: str, which: list[int], share: float) -> Path:
    """A clip of 24 frames in which these packets hold zeros from `share` of their bytes on."""
    whole, path = folder / f"whole-{name}", folder / f"damaged-{name}"
    make(whole, Clip(frames=24, gop=8))
    data = bytearray(whole.read_bytes())
    for index in which:
        place, size = packets(whole)[index]
        start = place + int(size * share)
        data[start : place + size] = bytes(place + size - start)
    path.write_bytes(data)
    return path


def test_frames_with_invented_parts_are_given_and_counted(tmp_path: Path) -> None:
    frames, file = read(damaged(tmp_path, "clip.mp4", [8], 0.4))
    assert len(frames) == 24
    assert 0 < len(file.seen.corrupt) < 24
    assert [frame.number for frame in frames if frame.corrupt] == file.seen.corrupt
    assert file.seen.corrupt[0] == 8, "the key frame whose packet is damaged"
    assert file.seen.lost == 0


def test_packets_that_give_no_frame_are_counted(tmp_path: Path) -> None:
    frames, file = read(damaged(tmp_path, "clip.mp4", [3], 0.0))
    assert len(frames) == 23
    assert (file.seen.lost, file.seen.packets, file.seen.frames) == (1, 24, 23)


@pytest.mark.parametrize("threads", [1, 8])
def test_damage_costs_no_frame_that_can_be_decoded(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the number of processors: the frames of a decoder that works on one after the other."""
    path = damaged(tmp_path, "clip.mp4", [2, 21], 0.0)
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "NONE"
        alone = 0
        for packet in container.demux(video=0):
            try:
                alone += len(packet.decode())
            except av.error.InvalidDataError:
                continue
    found = source._main_stream

    def threaded(*arguments: Any) -> Any:
        stream = found(*arguments)
        stream.codec_context.thread_count = threads
        return stream

    monkeypatch.setattr(source, "_main_stream", threaded)
    frames, file = read(path)
    assert (len(frames), file.seen.lost) == (alone, 2)


def test_another_size_names_the_frame_and_the_remedy(broken: dict[str, Path]) -> None:
    seen: list[Frame] = []

    def take() -> None:
        with VideoFile(broken["two sizes"]) as file:
            seen.extend(file.frames())

    with pytest.raises(
        VideoError, match=r"two-sizes\.h264: frame 12 at 0\.5\d* s is 64×48.*96×64.*--end 0\.5\d*, and cut"
    ) as caught:
        take()
    assert len(seen) == 0 or len(seen) == 12
    assert "\n" not in str(caught.value)


def test_up_to_another_size_all_is_well(broken: dict[str, Path]) -> None:
    assert len(read(broken["two sizes"], None, Fraction(1, 2))[0]) == 12


@pytest.mark.parametrize("name", ["cut mp4", "no moov", "empty", "noise"])
def test_what_cannot_be_opened_is_one_error(name: str, broken: dict[str, Path]) -> None:
    with pytest.raises(VideoError, match="cannot be opened as a video") as caught:
        VideoFile(broken[name])
    assert str(broken[name]) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cut mkv", "cut ts"])
def test_what_is_there_of_a_cut_file_is_read(name: str, broken: dict[str, Path]) -> None:
    frames, _ = read(broken[name])
    found = [number(frame) for frame in frames]
    assert found[:9] == list(range(9))
    assert found == sorted({place for place in found if place is not None}), "in order, none twice"


@pytest.mark.parametrize(
    ("name", "words"),
    [("only-sound.m4a", "holds no video, only audio"), ("no-frames.mp4", "no frame"), ("no-frames.mkv", "no frame")],
)
def test_files_without_pictures(name: str, words: str, folder: Path) -> None:
    make(folder / name, VARIANTS[name])
    with pytest.raises(VideoError, match=words):
        VideoFile(folder / name)
    with pytest.raises(VideoError, match="cannot be opened"):
        VideoFile(folder / "there-is-none.mp4")
    with pytest.raises(VideoError, match="cannot be opened"):
        VideoFile(folder)


def mutations(path: Path, count: int) -> Iterator[bytes]:
    """The file with some bytes changed, in its head twice as often."""
    data = path.read_bytes()
    for seed in range(count):
        rng = np.random.default_rng(seed)
        changed = bytearray(data)
        end = len(data) if seed % 2 else min(len(data), 1200)
        for place in rng.integers(0, end, rng.integers(1, 24)):
            changed[place] = rng.integers(0, 256)
        yield bytes(changed)


HOSTILE = {
    ".mp4": Clip(frames=8, sound=(Sound(),)),
    ".mkv": Clip(frames=8, codec="ffv1"),
    ".webm": Clip(frames=8, codec="libvpx-vp9"),
    ".ts": Clip(frames=8),
    ".avi": Clip(frames=8, codec="mjpeg", pix_fmt="yuvj420p"),
    ".mov": Clip(frames=8, codec="qtrle", pix_fmt="rgb24"),
}


def outcomes(suffix: str, folder: Path) -> set[str]:
    """What reading each of 25 changed files ends with: nothing else than frames in order, or a VideoError."""
    make(folder / f"whole{suffix}", HOSTILE[suffix])
    found: set[str] = set()
    for data in mutations(folder / f"whole{suffix}", 25):
        path = folder / f"changed{suffix}"
        path.write_bytes(data)
        try:
            frames, _ = read(path)
        except VideoError as error:
            if "\n" in str(error) or str(path) not in str(error):
                found.add(f"said badly: {error}")
        except Exception as error:
            found.add(f"{type(error).__name__}: {error}")
        else:
            assert all(one.pts < two.pts for one, two in pairwise(frames))
    return found


@pytest.mark.parametrize("suffix", HOSTILE)
def test_hostile_files_raise_nothing_else(suffix: str, folder: Path) -> None:
    assert outcomes(suffix, folder) == set()


def test_a_codec_that_nobody_knows(tmp_path: Path) -> None:
    make(tmp_path / "clip.mkv", Clip(frames=2, codec="ffv1"))
    data = (tmp_path / "clip.mkv").read_bytes()
    (tmp_path / "unknown.mkv").write_bytes(data.replace(b"V_FFV1", b"V_FOO1"))
    with pytest.raises(VideoError, match=r"unknown\.mkv"):
        VideoFile(tmp_path / "unknown.mkv")


# ---------------------------------------------------------------- what it is


def test_a_cover_is_not_the_film(folder: Path) -> None:
    make(folder / "everything.mp4", VARIANTS["everything.mp4"])
    frames, file = read(folder / "everything.mp4")
    assert (file.info.width, file.info.height, len(frames)) == (96, 64, 24)


@pytest.mark.parametrize("place", ["left", "center", "topleft", "top", "bottomleft", "bottom"])
def test_the_place_of_chroma_is_read(place: str, tmp_path: Path) -> None:
    make(tmp_path / "clip.mp4", Clip(frames=2, chroma_location=place))
    frames, file = read(tmp_path / "clip.mp4")
    assert file.info.tags.location == place
    assert {frame.color.chroma_location for frame in frames} == {place}
    assert av.logging.get_level() is None, "left as it was"


def test_what_is_not_said_of_chroma(tmp_path: Path) -> None:
    make(tmp_path / "clip.mkv", Clip(frames=2, codec="ffv1"))
    make(tmp_path / "clip.avi", Clip(frames=2, codec="mjpeg", pix_fmt="yuvj420p"))
    assert read(tmp_path / "clip.mkv")[1].info.tags.location == "left"
    assert read(tmp_path / "clip.avi")[1].info.tags.location == "center"


def combs(frames: list[Frame]) -> float:
    """How much neighboring rows differ beyond what rows two apart do, mean of all frames: large with combs."""
    found = []
    for frame in frames:
        luma = frame.planes[0].astype(float)
        found.append(np.abs(luma[1:-1] - (luma[:-2] + luma[2:]) / 2).mean() - 0.5 * np.abs(luma[2:] - luma[:-2]).mean())
    return float(np.mean(found))


@pytest.mark.parametrize("name", ["interlaced.mp4", "interlaced.ts"])
def test_interlaced_videos_are_made_whole(name: str, folder: Path) -> None:
    clip = VARIANTS[name]
    wanted = make(folder / name, clip)
    found: dict[str, float] = {}
    for how in ("auto", "bwdif", "off"):
        frames, file = read(folder / name, deinterlace=how)
        assert file.info.interlaced
        assert any("interlaced" in note for note in file.info.notes)
        assert [frame.pts * frame.time_base for frame in frames] == wanted
        assert [number(frame) for frame in frames] == list(range(24))
        found[how] = combs(frames)
    assert found["auto"] == found["bwdif"] < found["off"] - 0.5


def test_whole_frames_are_left_alone_unless_asked(tmp_path: Path) -> None:
    make(tmp_path / "clip.mkv", Clip(frames=4, codec="ffv1"))
    how = ("auto", "bwdif", "off")
    taken = {name: read(tmp_path / "clip.mkv", deinterlace=name) for name in how}
    assert [taken[name][1].info.interlaced for name in how] == [False, True, False]
    planes = {name: np.stack([frame.planes[0] for frame in taken[name][0]]) for name in how}
    np.testing.assert_array_equal(planes["auto"], planes["off"])
    assert (planes["bwdif"] != planes["off"]).any()


def test_tags_that_change_in_the_middle_hold_from_there_on(tmp_path: Path) -> None:
    """Each frame has its own; what a frame does not say, the file says."""
    make(tmp_path / "first.h264", Clip(frames=4, matrix=1, primaries=1, transfer=1, full_range=False))
    make(tmp_path / "second.h264", Clip(frames=4, matrix=9, primaries=9, transfer=14, full_range=True))
    both = (tmp_path / "first.h264").read_bytes() + (tmp_path / "second.h264").read_bytes()
    (tmp_path / "both.h264").write_bytes(both)
    frames, _ = read(tmp_path / "both.h264")
    assert [frame.color.matrix for frame in frames] == ["bt709"] * 4 + ["bt2020"] * 4
    assert [frame.color.full_range for frame in frames] == [False] * 4 + [True] * 4


def test_transparency_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    """WebM keeps it beside the frames, where FFmpeg's own decoder does not look: the result would be opaque."""
    clip = Clip(frames=2, codec="libvpx-vp9")
    make(tmp_path / "clip.webm", clip)
    with av.open(str(tmp_path / "clip.webm")) as source, av.open(str(tmp_path / "alpha.webm"), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0], opaque=True)
        stream.metadata["alpha_mode"] = "1"
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    with pytest.raises(VideoError, match=r"alpha\.webm: holds transparency in vp9, .*ProRes 4444"):
        VideoFile(tmp_path / "alpha.webm")
