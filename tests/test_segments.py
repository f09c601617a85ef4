"""A job's folder: what is whole is kept, what is not is made again, and nobody else's work is mixed in."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscale.errors import OutputError
from upscale.files import replacing, sha256_of
from upscale.segments import LIST, SegmentedJob, begun_with, folder_of, segment_frames

SETTINGS: dict[str, Any] = {"model": "abc", "crf": 17, "size": [64, 48], "tile": None}
HEADER = b"\x01\x02extradata"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "film.mp4"


def open_job(target: Path, anew: bool = False, **changes: Any) -> SegmentedJob:
    return SegmentedJob.open(target, SETTINGS | changes, anew)


def add(job: SegmentedJob, frames: int = 10, state: dict[str, Any] | None = None, header: bytes = HEADER) -> Path:
    """A segment with some bytes of its own."""
    path = job.path(len(job.segments))
    with replacing(path) as temporary:
        temporary.write_bytes(f"segment {len(job.segments)}".encode() * frames)
    job.add(frames, sha256_of(path), header, state, {"same": 1})
    return path


def state_of(number: int) -> dict[str, Any]:
    return {"source0": np.full((3, 4), number, np.uint16), "steady_result": np.full(5, number / 3, np.float32)}


@pytest.fixture
def begun(target: Path) -> Path:
    """An interrupted run with three segments, of 10 + 10 + 10 frames, with states."""
    job = open_job(target)
    for number in range(3):
        add(job, state=state_of(number))
    job.close()
    return folder_of(target)


def kept(target: Path, **changes: Any) -> int:
    """Frames that the next run need not make; looked at twice, since opening also mends."""
    counts: list[int] = []
    for _ in range(2):
        job = open_job(target, **changes)
        counts.append(job.frames)
        assert [segment.frames for segment in job.segments] == [10] * (job.frames // 10)
        assert all(path.exists() for path in job.paths)
        job.close()
    assert counts[0] == counts[1]
    return counts[0]


# ---------------------------------------------------------------- going on


def test_a_new_job_is_empty(target: Path) -> None:
    assert begun_with(target) == {}
    job = open_job(target)
    assert (job.frames, job.segments, job.state(), job.paths) == (0, [], None, [])
    assert folder_of(target).name == ".film.mp4.upscale-job"
    assert begun_with(target)["crf"] == 17
    job.close()


def test_what_was_finished_is_found(begun: Path, target: Path) -> None:
    job = open_job(target)
    assert job.frames == 30
    assert [path.read_bytes()[:9] for path in job.paths] == [b"segment 0", b"segment 1", b"segment 2"]
    assert bytes.fromhex(job.segments[2].extradata) == HEADER
    assert job.segments[1].counts == {"same": 1}
    state = job.state()
    assert state is not None
    for name, value in state_of(2).items():
        np.testing.assert_array_equal(state[name], value)
        assert state[name].dtype == value.dtype
    job.close()


def test_segments_go_on_after_those_that_are_there(begun: Path, target: Path) -> None:
    job = open_job(target)
    assert add(job, 7, state_of(3)).name == "000003.packets"
    assert job.frames == 37
    job.close()
    job = open_job(target)
    assert job.frames == 37
    job.close()


def test_only_the_last_two_states_are_kept(begun: Path) -> None:
    assert sorted(path.name for path in begun.glob("*.state")) == ["000001.state", "000002.state"]


def test_a_finished_job_leaves_nothing(begun: Path, target: Path, tmp_path: Path) -> None:
    job = open_job(target)
    job.remove()
    job.close()
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------- what is not whole


def test_a_torn_last_line_counts_for_nothing(target: Path) -> None:
    """Killed while it was written: the state before is still there, since it goes only after the line is on the disk."""
    job = open_job(target)
    add(job, state=state_of(0))
    add(job, state=state_of(1))
    before = (job.folder / "000001.state").read_bytes()
    add(job, state=state_of(2))
    job.close()
    (job.folder / "000001.state").write_bytes(before)
    data = (job.folder / LIST).read_bytes()
    (job.folder / LIST).write_bytes(data[: data[:-1].rindex(b"\n") + 20])
    assert kept(target) == 20
    job = open_job(target)
    state = job.state()
    job.close()
    assert state is not None
    assert state["source0"][0, 0] == 1


@pytest.mark.parametrize("cut", [1, 20, 80, 150])
def test_torn_lines_without_states_cost_one_segment(cut: int, target: Path) -> None:
    job = open_job(target)
    for _ in range(3):
        add(job)
    job.close()
    path = folder_of(target) / LIST
    path.write_bytes(path.read_bytes()[:-cut])
    assert kept(target) == 20
    job = open_job(target)
    add(job)
    job.close()
    assert kept(target) == 30


def test_a_torn_first_line_is_a_new_job(begun: Path, target: Path) -> None:
    (begun / LIST).write_bytes((begun / LIST).read_bytes()[:30])
    assert kept(target, crf=30) == 0


Harm = Callable[[Path], object]
HARM: dict[str, tuple[Harm, int]] = {
    "a changed byte": (lambda folder: _flip(folder / "000001.packets"), 10),
    "a cut segment": (lambda folder: os.truncate(folder / "000001.packets", 5), 10),
    "an empty segment": (lambda folder: (folder / "000002.packets").write_bytes(b""), 20),
    "a lost segment": (lambda folder: (folder / "000000.packets").unlink(), 0),
    "a folder in its place": (lambda folder: _folder(folder / "000002.packets"), 20),
    "nonsense in the list": (lambda folder: _line(folder, 2, b"[1, 2"), 10),
    "another kind of line": (lambda folder: _line(folder, 3, b'{"frames": 3, "color": "red"}'), 20),
    "no object": (lambda folder: _line(folder, 3, b"17"), 20),
    "bytes that are no text": (lambda folder: _line(folder, 3, b"\xff\xfe\x00"), 20),
}


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[7] ^= 1
    path.write_bytes(data)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _line(folder: Path, number: int, text: bytes) -> None:
    lines = (folder / LIST).read_bytes().split(b"\n")
    lines[number] = text
    (folder / LIST).write_bytes(b"\n".join(lines))


@pytest.mark.parametrize("harm", HARM)
def test_damage_costs_what_comes_after_it(harm: str, target: Path) -> None:
    job = open_job(target)
    for _ in range(3):
        add(job)
    job.close()
    act, left = HARM[harm]
    act(folder_of(target))
    assert kept(target) == left


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"frames": "ten", "sha256": 5, "extradata": null}', id="types"),
        pytest.param(b'{"frames": -10, "sha256": "SHA", "extradata": "00"}', id="negative"),
        pytest.param(b'{"frames": 1e400, "sha256": "SHA", "extradata": "zz"}', id="infinite"),
        pytest.param(b"[" * 100_000, id="deep"),
    ],
)
def test_lines_of_a_hostile_hand_count_for_nothing(line: bytes, target: Path) -> None:
    """The right hash, but values that cannot be."""
    job = open_job(target)
    path = add(job)
    job.close()
    _line(folder_of(target), 1, line.replace(b"SHA", sha256_of(path).encode()))
    assert kept(target) == 0


@pytest.mark.parametrize("harm", [_flip, os.remove, lambda path: path.write_bytes(b"")], ids=["flip", "lose", "empty"])
def test_without_its_state_a_segment_is_made_again(harm: Harm, begun: Path, target: Path) -> None:
    harm(begun / "000002.state")
    assert kept(target) == 20
    harm(begun / "000001.state")
    assert kept(target) == 0, "the states before are gone for good"


def test_a_state_that_was_written_for_nothing_does_no_harm(begun: Path, target: Path) -> None:
    """Killed between a state and the line that tells of it."""
    (begun / "000003.state").write_bytes(b"half")
    (begun / "000003.packets").write_bytes(b"whole, but nobody says so")
    job = open_job(target)
    assert job.frames == 30
    add(job, 10, state_of(9))
    state = job.state()
    assert state is not None
    assert state["source0"][0, 0] == 9
    job.close()


def test_what_killed_writers_left_is_cleared(begun: Path, target: Path) -> None:
    stale = begun / ".000003.0123abcd.upscale-part.packets"
    stale.write_bytes(b"x")
    open_job(target).close()
    assert not stale.exists()


# ---------------------------------------------------------------- other settings


def test_other_settings_are_named(begun: Path, target: Path) -> None:
    with pytest.raises(OutputError) as caught:
        open_job(target, crf=20, size=[128, 96])
    text = str(caught.value)
    assert "crf was 17, now 20" in text
    assert "size was [64, 48], now [128, 96]" in text
    assert "model" not in text
    assert "--overwrite" in text
    assert "\n" not in text
    assert str(target) in text
    assert kept(target) == 30, "and nothing of it was lost"


def test_settings_that_are_new_or_gone_are_named(begun: Path, target: Path) -> None:
    with pytest.raises(OutputError, match="steady was null, now 1"):
        open_job(target, steady=1)
    fewer = {name: value for name, value in SETTINGS.items() if name != "crf"}
    with pytest.raises(OutputError, match="crf was 17, now null"):
        SegmentedJob.open(target, fewer, False)


def test_long_settings_are_shortened(begun: Path, target: Path) -> None:
    with pytest.raises(OutputError) as caught:
        open_job(target, model="x" * 5000)
    assert len(str(caught.value)) < 500


def test_equal_settings_are_equal_as_json(target: Path) -> None:
    job = open_job(target, pair=(1, 2), number=0.1)
    add(job)
    job.close()
    assert kept(target, pair=[1, 2], number=0.1) == 10


def test_anew_forgets_others_but_keeps_the_same(begun: Path, target: Path) -> None:
    assert kept(target, anew=True) == 30
    job = open_job(target, anew=True, crf=20)
    assert (job.frames, job.state()) == (0, None)
    job.close()
    assert [path.name for path in begun.iterdir()] == [LIST]
    assert kept(target, crf=20) == 0


def test_encoders_that_disagree_are_an_error(begun: Path, target: Path) -> None:
    job = open_job(target)
    with pytest.raises(OutputError, match="another header"):
        add(job, header=b"other")
    assert job.frames == 30
    job.close()


# ---------------------------------------------------------------- places


def test_two_runs_at_once(target: Path) -> None:
    job = open_job(target)
    add(job)
    for anew in (False, True):
        with pytest.raises(OutputError, match=r"film\.mp4: another run is making it"):
            open_job(target, anew=anew)
    assert job.path(0).exists()
    job.close()
    assert kept(target) == 10


@pytest.mark.parametrize("letter", ["a", "ü", "世"])
def test_long_names_get_a_folder(letter: str, tmp_path: Path) -> None:
    """As long as a name may be, in bytes."""
    count = (255 - 4) // len(letter.encode())
    target = tmp_path / f"{letter * count}.mp4"
    target.touch()
    job = open_job(target)
    add(job)
    job.close()
    assert kept(target) == 10
    assert len(os.fsencode(folder_of(target).name)) <= 255
    assert folder_of(target).name.endswith(".upscale-job")


def test_long_names_with_one_beginning_have_folders_of_their_own(tmp_path: Path) -> None:
    names = [f"{'long' * 61}{number}.mp4" for number in (1, 2)]
    assert all(len(name) <= 255 for name in names)
    assert len({folder_of(tmp_path / name) for name in names}) == 2


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be written") as caught:
        open_job(tmp_path / "file" / "film.mp4")
    assert "\n" not in str(caught.value)


def test_links_are_not_followed(target: Path, tmp_path: Path) -> None:
    """Nobody can make us write into another file."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine\n")
    folder_of(target).mkdir()
    (folder_of(target) / LIST).symlink_to(victim)
    with pytest.raises(OutputError):
        open_job(target)
    assert victim.read_bytes() == b"mine\n"


def test_a_full_disk_leaves_no_half_line(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = open_job(target)
    add(job)
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, data[:10]))
    with pytest.raises(OSError, match="No space"):
        add(job)
    monkeypatch.undo()
    assert len(job.segments) == 1
    assert (folder_of(target) / LIST).read_bytes().endswith(b"\n")
    add(job)
    job.close()
    assert kept(target) == 20


def test_the_list_is_plain_json(begun: Path) -> None:
    lines = [json.loads(line) for line in (begun / LIST).read_text().splitlines()]
    assert lines[0] == {"version": 1, **SETTINGS}
    assert [line["frames"] for line in lines[1:]] == [10, 10, 10]


@pytest.mark.parametrize(
    ("size", "frames"), [((64, 48), 250), ((1920, 1080), 250), ((3840, 2160), 129), ((7680, 4320), 48), ((16, 16), 250)]
)
def test_segments_hold_minutes_of_work(size: tuple[int, int], frames: int) -> None:
    assert segment_frames(*size) == frames
