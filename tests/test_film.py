"""One video through three threads: always the same result, no error that vanishes, no thread that stays, no memory that grows."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest
from clips import Clip, make, numbers, times

from upscale import filming, filmplan
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.errors import EngineError, OutputError, UpscaleError, VideoError
from upscale.film import run_film
from upscale.filming import Progressed, _alike
from upscale.frame import Frame, Layout
from upscale.handover import Channel
from upscale.image import Color
from upscale.media.folder import Task
from upscale.media.isolated.decoder import Decoder
from upscale.media.video.encoder import Encoder
from upscale.media.video.source import VideoFile
from upscale.segments import folder_of
from upscale.sizes import Size
from upscale.spec import ModelSpec
from upscale.wishes import VideoWishes
from upscale.work import Outcome, Work

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
Run = Callable[..., Outcome]
TINY = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")


@pytest.fixture(scope="module")
def enlargers(random_checkpoint: MakeCheckpoint) -> dict[float, Enlarger]:
    """By strength: 0 interpolates, 1 is a small network with random weights."""
    wish = Wish("torch", "cpu", "fp32")
    return {
        strength: Enlarger(random_checkpoint(TINY, 0), wish, Settings(strength=strength)) for strength in (0.0, 1.0)
    }


@pytest.fixture
def film(enlargers: dict[float, Enlarger]) -> Iterator[Run]:
    """film(source, target, wishes…): makes it, twice as large."""

    with Decoder(None) as decoder:

        def run(
            source: Path, target: Path, strength: float = 0.0, progress: Any = None, said: Any = print, **wishes: Any
        ) -> Outcome:
            work = Work(enlargers[strength], decoder, Size(scale=2), report=said, video=VideoWishes(**wishes))
            return run_film(Task(source, target), work, progress)

        yield run


@pytest.fixture
def source(tmp_path: Path) -> Path:
    make(tmp_path / "source.mkv", Clip(frames=30, width=64, height=48))
    return tmp_path / "source.mkv"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> int:
    """Segments of 8 frames."""
    monkeypatch.setattr(filmplan, "segment_frames", lambda *_: 8)  # pyright: ignore[reportUnknownLambdaType]
    return 8


def packets(path: Path) -> list[tuple[Any, ...]]:
    with av.open(str(path)) as container:
        return [
            (packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
            for packet in container.demux(video=0)
            if packet.size
        ]


def lumas(path: Path) -> npt.NDArray[np.uint8]:
    with av.open(str(path)) as container:
        return np.stack([frame.reformat(format="gray").to_ndarray() for frame in container.decode(video=0)])


# ---------------------------------------------------------------- the same every time


@pytest.mark.parametrize(
    ("wishes", "suffix"),
    [
        ({"codec": "h264", "preset": "veryfast"}, ".mp4"),
        ({"codec": "hevc", "preset": "ultrafast"}, ".mkv"),
        ({"codec": "av1", "preset": "12"}, ".mkv"),
        ({"codec": "vp9", "preset": "8"}, ".webm"),
        ({"codec": "ffv1"}, ".mkv"),
        ({"codec": "prores"}, ".mov"),
        ({"codec": "ffv1", "steady": 0.6, "dedupe": 2.0}, ".mkv"),
    ],
    ids=str,
)
def test_two_runs_give_identical_packets(
    wishes: dict[str, Any], suffix: str, film: Run, source: Path, tmp_path: Path, short: int
) -> None:
    found: list[Any] = []
    for name in ("one", "two"):
        target = tmp_path / f"{name}{suffix}"
        outcome = film(source, target, 1.0, **wishes)
        assert outcome.error is None, outcome.record.error
        found.append(packets(target))
        assert sum(key for _, _, key, _ in found[-1]) >= -(-30 // short), "each segment starts by itself"
    assert found[0] == found[1]
    assert len(found[0]) == 30


def test_segments_do_not_show(film: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lossless result is the same, whatever its segments."""
    found: list[Any] = []
    for frames in (1, 7, 30, 1000):
        monkeypatch.setattr(filmplan, "segment_frames", lambda *_, frames=frames: frames)
        target = tmp_path / f"{frames}.mkv"
        assert film(source, target, 1.0, codec="ffv1", steady=0.6).error is None
        found.append(lumas(target))
        assert times(target) == times(source)
    assert all((one == found[0]).all() for one in found)


def test_progress_is_told_frame_by_frame(film: Run, source: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    film(source, tmp_path / "out.mkv", progress=lambda done: told.append((done.frames, done.total)))
    assert [frames for frames, _ in told] == list(range(1, 31))
    assert {total for _, total in told} == {30}


# ---------------------------------------------------------------- frames that repeat


def frame_of(*planes: npt.NDArray[Any], depth: int = 8) -> Frame:
    return Frame(planes, Layout("gray", depth, 0, 0), Color(), 0)


def test_frames_are_alike_by_their_largest_difference() -> None:
    one = np.full((4, 6), 100, np.uint8)
    for step, most, same in ((0, 0.0, True), (1, 0.0, False), (1, 1.0, True), (3, 2.0, False), (-3, 3.0, True)):
        other = one.copy()
        other[2, 3] = 100 + step
        assert _alike(frame_of(other), (one,), most) is same, (step, most)
        assert _alike(frame_of(one), (other,), most) is same
    black, white = np.zeros((2, 2), np.uint8), np.full((2, 2), 255, np.uint8)
    assert not _alike(frame_of(black), (white,), 254.0)
    assert _alike(frame_of(black), (white,), 255.0)


def test_levels_are_those_of_8_bits_at_any_depth() -> None:
    one = np.full((4, 6), 60000, np.uint16)
    assert _alike(frame_of(one + np.uint16(512), depth=16), (one,), 2.0)
    assert not _alike(frame_of(one + np.uint16(513), depth=16), (one,), 2.0)
    ten = np.full((4, 6), 1000, np.uint16)
    assert _alike(frame_of(ten - np.uint16(4), depth=10), (ten,), 1.0)
    assert not _alike(frame_of(ten - np.uint16(5), depth=10), (ten,), 1.0)


def test_every_plane_counts_and_sizes_too() -> None:
    luma, chroma = np.zeros((4, 4), np.uint8), np.zeros((2, 2), np.uint8)
    changed = chroma.copy()
    changed[1, 1] = 9
    assert _alike(frame_of(luma, chroma), (luma, chroma), 0.0)
    assert not _alike(frame_of(luma, changed), (luma, chroma), 0.0)
    assert not _alike(frame_of(luma, changed), (luma, chroma), 8.0)
    assert not _alike(frame_of(luma), (luma, chroma), 255.0)
    assert not _alike(frame_of(luma[:2]), (luma,), 255.0)


def repeating(path: Path, repeats: dict[int, int]) -> None:
    """24 lossless frames of a moving texture; a frame that repeats shows another one's picture."""
    rng = np.random.default_rng(0)
    wide, pictures = np.kron(rng.integers(60, 200, (12, 40)), np.ones((4, 4))), list[Any]()
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream("ffv1", rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        for number in range(24):
            shown = repeats.get(number, number)
            picture = wide[:, shown : shown + 64] + rng.integers(-6, 7, (48, 64)) * (number == shown)
            picture = pictures[shown] if number != shown else picture
            pictures.append(picture)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.astype(np.uint8)), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def failing_at(monkeypatch: pytest.MonkeyPatch, frame: int, error: BaseException) -> None:
    """The network fails with the frame of that number among those that reach it."""
    whole, count = Enlarger.bands, 0

    def bands(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == frame + 1:
            raise error
        return whole(*arguments)

    monkeypatch.setattr(Enlarger, "bands", bands)


_REPEATS = ({7: 6}, {8: 7}, {6: 5, 7: 5, 8: 5, 9: 5})
_WISHES = ({}, {"steady": 0.6}, {"steady": 0.6, "dedupe": 1.0})


@pytest.mark.parametrize(
    ("repeats", "wishes"),
    [(repeats, wishes) for repeats, wishes in product(_REPEATS, _WISHES)],
    ids=str,
)
def test_a_repeated_frame_at_a_border_does_not_show_after_going_on(
    wishes: dict[str, float],
    repeats: dict[int, int],
    film: Run,
    tmp_path: Path,
    short: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = tmp_path / "repeating.mkv"
    repeating(source, repeats)
    whole, resumed = tmp_path / "whole.mkv", tmp_path / "resumed.mkv"
    assert film(source, whole, 0.0, codec="ffv1", **wishes).error is None
    with monkeypatch.context() as patched:
        failing_at(patched, 12 - len(repeats), EngineError("stop"))
        assert film(source, resumed, 0.0, codec="ffv1", **wishes).error is not None
    outcome = film(source, resumed, 0.0, codec="ffv1", **wishes)
    assert outcome.error is None
    assert outcome.record.video is not None
    assert outcome.record.video["kept"] == short
    apart = np.abs(lumas(whole).astype(int) - lumas(resumed)).max(axis=(1, 2))
    assert not apart.any(), f"frames {np.flatnonzero(apart).tolist()} differ by up to {apart.max()}"


# ---------------------------------------------------------------- failures


class BrokenError(Exception):
    """Something that nobody expects."""


def in_decoder(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    whole = VideoFile.frames

    def frames(self: VideoFile, *window: Any) -> Iterator[Frame]:
        for frame in whole(self, *window):
            if frame.number == 11:
                raise error
            yield frame

    monkeypatch.setattr(VideoFile, "frames", frames)


def in_network(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    failing_at(monkeypatch, 11, error)


def in_encoder(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    whole, count = Encoder.encode, 0

    def encode(self: Encoder, *arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count == 12:
            raise error
        return whole(self, *arguments)

    monkeypatch.setattr(Encoder, "encode", encode)


def in_last_packets(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    whole, count = Encoder.finish, 0

    def finish(self: Encoder) -> Any:
        nonlocal count
        count += 1
        if count == 3:  # the first is the plan's
            raise error
        return whole(self)

    monkeypatch.setattr(Encoder, "finish", finish)


STAGES = {"decoder": in_decoder, "network": in_network, "encoder": in_encoder, "last packets": in_last_packets}


def settled(before: set[threading.Thread]) -> set[str]:
    """Names of the threads that are still there after a moment."""
    for _ in range(50):
        left = {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("film")}
        if not left:
            break
        time.sleep(0.02)
    return left


@pytest.mark.parametrize(
    ("error", "limit"),
    [
        pytest.param(VideoError("it broke"), 1, id="ours, full queues"),
        pytest.param(BrokenError("it broke"), 1, id="unknown, full queues"),
        pytest.param(MemoryError("it broke"), 256 << 20, id="memory, empty queues"),
    ],
)
@pytest.mark.parametrize("stage", STAGES)
def test_a_failure_ends_the_run_with_that_error(
    stage: str,
    error: Exception,
    limit: int,
    film: Run,
    source: Path,
    tmp_path: Path,
    short: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No thread stays, no file seems whole, and what was finished before is kept for the next run."""
    monkeypatch.setattr(filming, "Channel", lambda *_: Channel(limit))  # pyright: ignore[reportUnknownLambdaType]
    target, before = tmp_path / "out.mkv", set(threading.enumerate())
    with monkeypatch.context() as patched:
        STAGES[stage](patched, error)
        started = time.perf_counter()
        outcome = film(source, target)
        assert time.perf_counter() - started < 10
    assert outcome.record.status == "failed"
    assert outcome.record.error is not None
    assert "it broke" in outcome.record.error
    assert outcome.error is error or (outcome.error is not None and outcome.error.__cause__ is error)
    assert settled(before) == set()
    assert not target.exists()
    assert [path.name for path in folder_of(target).iterdir() if path.name.startswith(".")] == []
    again = film(source, target)
    assert again.error is None
    assert again.record.video is not None
    assert again.record.video["kept"] in (0, 8)
    assert numbers(target) == list(range(30))
    assert not folder_of(target).exists()


@pytest.mark.parametrize("where", ["network", "progress"])
def test_an_interrupt_leaves_no_thread(
    where: str, film: Run, source: Path, tmp_path: Path, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, before = tmp_path / "out.mkv", set(threading.enumerate())
    said: list[str] = []

    def stop(done: Progressed) -> None:
        if done.frames == 12:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        if where == "network":
            in_network(patched, KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            film(source, target, progress=stop if where == "progress" else None, said=said.append)
    assert settled(before) == set()
    assert not target.exists()
    assert any("8 frames are kept" in line for line in said)


def test_a_full_disk_says_what_to_do(
    film: Run, source: Path, tmp_path: Path, short: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        in_encoder(patched, OSError(28, "No space left on device"))
        outcome = film(source, tmp_path / "out.mkv")
    assert isinstance(outcome.error, OutputError)
    assert "No space left on device" in str(outcome.error)
    assert "make room" in str(outcome.error)


def test_frames_that_an_encoder_keeps_are_an_error(
    film: Run, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Encoder, "finish", lambda _: iter(()))  # pyright: ignore[reportUnknownLambdaType]
    outcome = film(source, tmp_path / "out.mp4", codec="h264")
    assert isinstance(outcome.error, UpscaleError)
    assert "of 30 frames" in str(outcome.error)
    assert not (tmp_path / "out.mp4").exists()


# ---------------------------------------------------------------- memory


@pytest.mark.parametrize("scene", ["numbers", "still"])
def test_no_stage_runs_far_ahead(scene: Any, film: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the encoder is stuck, the decoder stops when the queues are full: also for frames that repeat, whose planes are held
    too."""
    make(tmp_path / "source.mkv", Clip(frames=90, width=64, height=48, scene=scene, codec="ffv1"))
    limit = 8 * 64 * 48 * 12  # of eight pictures in floats, or of some hundred frames' planes and two results
    monkeypatch.setattr(filming, "Channel", lambda *_: Channel(limit // 12))  # pyright: ignore[reportUnknownLambdaType]
    whole_frames, whole_encode = VideoFile.frames, Encoder.encode
    decoded, most = 0, 0

    def frames(self: VideoFile, *window: Any) -> Iterator[Frame]:
        nonlocal decoded
        for frame in whole_frames(self, *window):
            decoded += 1
            yield frame

    def encode(self: Encoder, planes: Any, pts: int, duration: int) -> Any:
        nonlocal most
        if pts == 0:
            before = -1
            while before != decoded:
                before = decoded
                time.sleep(0.3)
            most = decoded
        return whole_encode(self, planes, pts, duration)

    monkeypatch.setattr(VideoFile, "frames", frames)
    monkeypatch.setattr(Encoder, "encode", encode)
    assert film(tmp_path / "source.mkv", tmp_path / "out.mkv").error is None
    assert decoded == 90
    assert 0 < most < 40, f"{most} frames were held"


PEAK = """
import resource, sys
from upscale import filming
from upscale.cli import command
command.main(sys.argv[1:], standalone_mode=False)
print("peak", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def long_clip(path: Path, frames: int, codec: str) -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(16, 235, (80, 160), dtype=np.uint8)
    with av.open(str(path), "w") as out:
        stream: Any = out.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(frames):
            frame = av.VideoFrame(64, 48, "yuv420p")
            for plane in frame.planes:
                memory = np.frombuffer(plane, np.uint8).reshape(plane.height, -1)
                memory[:, : plane.width] = noise[number % 30 : number % 30 + plane.height, number % 90 :][
                    :, : plane.width
                ]
            frame.pts, frame.time_base = number, Fraction(1, 24)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="resource is not there")
@pytest.mark.parametrize("codec", ["ffv1", "libx264"])
def test_memory_does_not_grow_with_length(codec: str, tmp_path: Path) -> None:
    """Ten times the frames take no more than 5 % more memory, in a process of its own."""
    peaks: list[int] = []
    for frames in (30, 300, 3000):  # the first fills the cache of probes, which takes memory of its own
        source = tmp_path / f"{frames}.mkv"
        long_clip(source, frames, codec)
        options = [
            "--device",
            "cpu",
            "--strength",
            "0",
            "--scale",
            "2",
            "--preset",
            "ultrafast",
            "--codec",
            "h264",
            "-q",
        ]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, source, "-o", tmp_path / f"{frames}-out.mkv", *options],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        peaks.append(int(done.stdout.split("peak")[1]))
        found = times(tmp_path / f"{frames}-out.mkv")
        assert len(found) == frames
        assert all(one < two for one, two in pairwise(found))
    print([f"{peak >> 10} MB" for peak in peaks])
    assert peaks[2] < 1.05 * peaks[1], peaks
