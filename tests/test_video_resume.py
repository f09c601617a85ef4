"""Videos that were interrupted: killed, stopped, out of room; the same command goes on, and nobody can tell from the result.

Wish 1 and row 33. Only what needs a process of its own has one; the rest breaks off where a test wants it, with short segments.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from clips import Clip, Sound, clicks, draw, make, numbers, times
from test_video_promises import Result, decoded, noisy, planes, seen_in

from upscale import cli, filmplan
from upscale.enlarge import Enlarger
from upscale.errors import EngineError
from upscale.media.isolated.decoder import Decoder
from upscale.media.video.codecs import CODECS
from upscale.media.video.colors import Light, Tags
from upscale.media.video.encoder import Encoder, Encoding
from upscale.segments import SegmentedJob, folder_of

REPOSITORY = Path(__file__).resolve().parents[1]
SEGMENT = 12
"""Frames of a segment here; 250 where the real command runs."""
Call = Callable[..., Result]
SMALL = Clip(frames=40, width=64, height=48)
PLAIN = ["--device", "cpu", "--no-color-fix", "--strength", "0", "--scale", "2"]


@pytest.fixture
def call(place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Call:
    """The command in this process without network, with short segments; `breaks`: at that frame the engine fails."""
    monkeypatch.setattr(filmplan, "segment_frames", _segment)
    monkeypatch.setattr(Decoder, "start", _nothing)

    def run(*arguments: str | Path, breaks: int | None = None) -> Result:
        monkeypatch.setattr(sys, "argv", ["upscale", *PLAIN, "--json", *map(str, arguments)])
        capfd.readouterr()
        with monkeypatch.context() as patched:
            if breaks is not None:
                _break_at(patched, breaks)
            with pytest.raises(SystemExit) as left:
                cli.main()
        assert isinstance(left.value.code, int)
        said = capfd.readouterr()
        return Result(left.value.code, str(said.out), str(said.err))

    return run


def _segment(*_: Any) -> int:
    return SEGMENT


def _nothing(*_: Any) -> None:
    pass


def _break_at(patched: pytest.MonkeyPatch, frame: int) -> None:
    count, whole = 0, Enlarger.bands

    def failing(*arguments: Any) -> Any:
        nonlocal count
        if count == frame:
            raise EngineError("the test stops here")
        count += 1
        return whole(*arguments)

    patched.setattr(Enlarger, "bands", failing)


def segments(target: Path | str) -> list[str]:
    return sorted(path.name for path in folder_of(Path(target)).glob("*.packets"))


def check_equal(one: Path, two: Path) -> None:
    """Frame by frame, bit by bit, and shown at the same times."""
    assert times(one) == times(two)
    frames = 0
    for first, second in zip(decoded(one), decoded(two), strict=True):
        assert first.format.name == second.format.name
        for plane, other in zip(planes(first), planes(second), strict=True):
            assert np.array_equal(plane, other), f"frame {frames} differs"
        frames += 1
    assert frames == len(times(one)) > 0


# Broken off and gone on with


@pytest.mark.parametrize(
    ("codec", "suffix", "options"),
    [
        ("h264", "mp4", []),
        ("hevc", "mkv", ["--preset", "veryfast"]),
        ("av1", "webm", ["--preset", "10"]),
        ("vp9", "webm", ["--preset", "8"]),
        ("prores", "mov", []),
        ("ffv1", "mkv", []),
        ("ffv1", "mkv", ["--dedupe", "3"]),
        ("ffv1", "mkv", ["--steady", "0.6"]),
        ("h264", "mp4", ["--steady", "0.6", "--dedupe", "3"]),
        ("h264", "mp4", ["--start", "0.4", "--end", "1.9"]),
    ],
)
def test_row_33_a_resumed_video_equals_an_undisturbed_one(
    call: Call, place: Path, codec: str, suffix: str, options: list[str]
) -> None:
    """Wish 1, with each codec, and with what frames after a border know of those before."""
    source, sound = ("libvpx-vp9", "libopus") if suffix == "webm" else ("libx264", "aac")
    make(Path(f"a.{suffix}"), replace(SMALL, frames=48, codec=source, sound=(Sound(codec=sound, clicks=(20,)),)))
    arguments = [f"a.{suffix}", "--codec", codec, *options, "-o"]
    whole = call(*arguments, f"whole.{suffix}").made
    broken = call(*arguments, f"b.{suffix}", breaks=2 * SEGMENT + 5)
    assert broken.code == 1
    assert "frames are kept; the same command goes on from there" in broken.err
    assert seen_in(place) == sorted([f"a.{suffix}", whole.name])
    done = call(*arguments, f"b.{suffix}")
    assert done.record["video"]["kept"] >= 2 * SEGMENT
    assert f"goes on after frame {done.record['video']['kept']}" in done.err
    check_equal(done.made, whole)
    assert clicks(done.made) == clicks(whole)
    assert not folder_of(done.made).exists(), "nothing is left of the job"


def test_row_33_frames_that_repeat_across_a_border(call: Call) -> None:
    make(Path("a.mkv"), replace(SMALL, scene="still", codec="ffv1"))
    whole = call("a.mkv", "--steady", "0.6", "-o", "whole.mkv").made
    make(Path("b.mkv"), replace(SMALL, codec="ffv1"))
    for name, breaks in (("a.mkv", 0), ("b.mkv", 30)):
        assert call(name, "--steady", "0.6", "-o", f"made-{name}", breaks=breaks).code == 1
    done = call("a.mkv", "--steady", "0.6", "-o", "made-a.mkv")
    check_equal(done.made, whole)
    assert done.record["video"]["same"] == 39


OTHERWISE = {
    "crf was null, now 30": ["--crf", "30"],
    "steady was 0.0, now 0.5": ["--steady", "0.5"],
    "strength was 0.0, now 1": ["--strength", "1"],
    "codec was libx264, now libx265": ["--codec", "hevc"],
    "start was null, now 1/2": ["--start", "0.5"],
    "size was [128, 96], now [192, 144]": ["--scale", "3"],
    "preset was null, now fast": ["--preset", "fast"],
    "encoder-option was": ["--encoder-option", "tune=film"],
    "model was": ["--model", "x4plus-anime"],
}


def test_wish_1_other_settings_are_refused_by_name(call: Call) -> None:
    make(Path("a.mp4"), SMALL)
    assert call("a.mp4", "-o", "b.mp4", breaks=30).code == 1
    for name, options in OTHERWISE.items():
        refused = call("a.mp4", "-o", "b.mp4", *options)
        assert refused.code == 1
        assert name in refused.record["error"]
        assert "--overwrite" in refused.record["error"]
        assert "\n" not in refused.record["error"]
    assert len(segments("b.mp4")) == 2, "what is there stays there"
    assert call("a.mp4", "-o", "b.mp4").record["video"]["kept"] == 2 * SEGMENT


def test_wish_1_overwrite_begins_anew(call: Call) -> None:
    make(Path("a.mp4"), SMALL)
    assert call("a.mp4", "-o", "b.mp4", breaks=30).code == 1
    anew = call("a.mp4", "-o", "b.mp4", "--crf", "30", "--overwrite")
    assert anew.record["video"]["kept"] == 0
    check_equal(anew.made, call("a.mp4", "-o", "c.mp4", "--crf", "30").made)


def test_wish_1_another_source_is_noticed(call: Call) -> None:
    make(Path("a.mp4"), SMALL)
    assert call("a.mp4", breaks=30).code == 1
    make(Path("a.mp4"), replace(SMALL, seed=1))
    assert "source was" in call("a.mp4").record["error"]


def test_wish_1_the_job_goes_on_where_there_are_other_processors(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the run that began it: the number of threads decides which bits come out."""
    make(Path("a.mp4"), SMALL)
    whole = call("a.mp4", "-o", "whole.mp4").made
    assert call("a.mp4", breaks=30).code == 1
    monkeypatch.setattr(filmplan, "threads", lambda: 7)
    done = call("a.mp4")
    assert done.record["video"]["kept"] == 2 * SEGMENT
    check_equal(done.made, whole)


def test_wish_1_a_job_without_segments_binds_nobody(call: Call) -> None:
    """A mistyped option must not make --overwrite necessary."""
    make(Path("a.mp4"), replace(SMALL, frames=12))
    assert call("a.mp4", "--start", "10").code == 1
    assert call("a.mp4", "--start", "0.1").code == 0


def damage_second(job: Path) -> None:
    path = job / "000001.packets"
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)


def lose_second(job: Path) -> None:
    (job / "000001.packets").unlink()


def lose_first(job: Path) -> None:
    (job / "000000.packets").unlink()


def cut_list(job: Path) -> None:
    lines = (job / "job.jsonl").read_bytes().splitlines(keepends=True)
    (job / "job.jsonl").write_bytes(b"".join(lines[:2]) + lines[2][:-20])


def lose_state(job: Path) -> None:
    for path in job.glob("*.state"):
        path.unlink()


@pytest.mark.parametrize(
    ("harm", "kept"),
    [
        (damage_second, 1),
        (lose_second, 1),
        (lose_first, 0),
        (cut_list, 1),
        (lose_state, 0),
    ],
    ids=["damaged", "missing", "first missing", "torn list", "no state"],
)
def test_row_33_segments_that_are_not_whole_are_made_again(call: Call, harm: Callable[[Path], None], kept: int) -> None:
    """A power cut may leave anything. The state that --dedupe keeps is of the last segment only."""
    make(Path("a.mp4"), SMALL)
    arguments = ["a.mp4", "--dedupe", "3", "-o"]
    whole = call(*arguments, "whole.mp4").made
    assert call(*arguments, "b.mp4", breaks=30).code == 1
    harm(folder_of(Path("b.mp4")))
    done = call(*arguments, "b.mp4")
    assert done.record["video"]["kept"] <= kept * SEGMENT
    check_equal(done.made, whole)


def test_wish_1_two_runs_at_one_result(call: Call) -> None:
    make(Path("a.mp4"), replace(SMALL, frames=12))
    held = SegmentedJob.open(Path("a_x2.mp4"), {}, anew=False)
    done = call("a.mp4")
    held.close()
    assert done.code == 1
    assert "another run is making it" in done.record["error"]


# No room


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs")
@pytest.mark.parametrize(
    ("frames", "kept", "options"),
    [
        (60, range(SEGMENT, 60), ["--crf", "8"]),
        (28, range(28, 29), ["--crf", "8"]),
        (28, range(28, 29), ["--crf", "8", "--format", "mp4"]),
    ],
    ids=["in the middle", "while joining", "while joining mp4"],
)
def test_row_33_a_full_disk_is_one_line_and_the_job_goes_on(
    call: Call, place: Path, small_disk: Path, frames: int, kept: range, options: list[str]
) -> None:
    noisy(Path("a.mkv"), frames, 30)
    arguments = ["a.mkv", "--codec", "h264", *options, "-o"]
    whole = call(*arguments, place / "whole").made
    if len(kept) == 1:
        assert 100_000 < whole.stat().st_size < 190_000, "the segments fit, and the result beside them does not"
    full = call(*arguments, small_disk)
    assert full.code == 1
    assert "No space left on device" in full.record["error"]
    if len(kept) > 1:  # else test_row_33_a_disk_that_is_full_at_the_end_is_told
        assert "make room" in full.record["error"]
    assert "Traceback" not in full.err
    assert seen_in(small_disk) == [], "nothing half has a name"
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    done = call(*arguments, small_disk)
    assert done.record["video"]["kept"] in kept
    check_equal(done.made, whole)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="tmpfs")
def test_row_33_a_disk_that_is_full_at_the_end_is_told_as_such(call: Call, small_disk: Path) -> None:
    noisy(Path("a.mkv"), 28, 30)
    full = call("a.mkv", "--codec", "h264", "--crf", "8", "-o", small_disk)
    assert "make room" in full.record["error"]
    assert "upscale-part" not in full.record["error"], "nobody knows that name"


def test_row_33_the_encoder_gives_the_same_bits_every_time() -> None:
    """What resuming stands on, at a size where x264 by itself fails to: each encoder meets other memory."""
    size, base, rng = (176, 160), Fraction(1, 12288), np.random.default_rng(0)
    clip = Clip(frames=40)
    encoding = Encoding(
        *(CODECS["h264"], "libx264", *size, "yuv420p", Tags(6, 6, 6, 1, "left"), Light()),
        *(Fraction(1), base, Fraction(24), 2),
    )
    drawn: list[Any] = [
        cv2.resize(draw(clip, index)[..., :3], size, interpolation=cv2.INTER_CUBIC) for index in range(12)
    ]
    frames = [planes(av.VideoFrame.from_ndarray(one, format="rgb24").reformat(format="yuv420p")) for one in drawn]
    made: set[bytes] = set()
    for _ in range(14):
        del [rng.bytes(size) for size in (3000, 50_000, 200_000) * 20][:]
        encoder = Encoder(encoding)
        coded = [one for index, frame in enumerate(frames) for one in encoder.encode(tuple(frame), 512 * index, 512)]
        made.add(b"".join(one.data for one in [*coded, *encoder.finish()]))
    assert len(made) == 1


# The real command


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,500 frames, so that there are six segments."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    clip = Clip(frames=1500, width=64, height=48, options={"preset": "ultrafast"}, sound=(Sound(clicks=(700, 1400)),))
    make(path, clip)
    return path


def started(*arguments: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "upscale", *PLAIN, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # not ignored, as in `pytest &`
    )


def wait_for_segments(child: "subprocess.Popen[str]", target: Path, count: int) -> None:
    deadline = time.monotonic() + 60
    while len(segments(target)) < count:
        assert child.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.skipif(sys.platform == "win32", reason="no kill -9")
def test_row_33_killed_at_three_random_moments_the_same_command_ends_with_the_undisturbed_result(
    film: Path, place: Path
) -> None:
    moments, target = random.Random(), Path("b.mp4")
    for count in (1, 2, 3):
        child = started(film, "-o", target)
        wait_for_segments(child, target, count)
        time.sleep(moments.uniform(0, 0.3))
        child.kill()
        child.communicate()
        assert child.returncode == -signal.SIGKILL
        assert seen_in(place) == []
    last, whole = started(film, "-o", target, "--json"), started(film, "-o", "whole.mp4")
    told, said = last.communicate(timeout=120)
    assert (last.returncode, whole.wait(120)) == (0, 0), said
    whole.communicate()
    kept = json.loads(told)["video"]["kept"]
    assert kept >= 500, "the third kill may come before the list is written"
    assert kept % 250 == 0
    assert numbers(target) == list(range(1500))
    check_equal(target, Path("whole.mp4"))
    assert clicks(target) == pytest.approx([700 / 24, 1400 / 24], abs=0.001)
    assert seen_in(place) == ["b.mp4", "whole.mp4"]
    assert not folder_of(target).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="signals as on POSIX systems")
@pytest.mark.parametrize("sent", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_row_33_an_interrupt_ends_in_two_seconds_and_says_how_to_go_on(film: Path, place: Path, sent: int) -> None:
    target = Path("b.mp4")
    child = started(film, "-o", target)
    wait_for_segments(child, target, 2)  # the first is surely in the list
    begun = time.monotonic()
    child.send_signal(sent)
    said = child.communicate(timeout=60)[1]
    assert time.monotonic() - begun < 5, "2 s on an idle machine"
    assert child.returncode == 130
    assert "frames are kept; the same command goes on from there" in said
    assert "interrupted" in said
    assert "Traceback" not in said
    assert seen_in(place) == []
    left = {path.suffix for path in folder_of(target).iterdir()}
    assert left <= {".jsonl", ".packets"}, "half a segment is of no use"
