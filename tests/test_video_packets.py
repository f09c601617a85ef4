"""Packets on disk: what is written is read, a torn file is told, and decoding times fit any order of frames."""

import hashlib
import itertools
from pathlib import Path

import pytest

from upscale.errors import OutputError
from upscale.media.video.packets import Coded, SegmentWriter, coded_in, decoding_times, times_in

CODED = [
    Coded(0, 3, True, b"first"),
    Coded(-(2**40), 0, False, b""),
    Coded(2**62, 2**40, False, bytes(range(256)) * 40),
    Coded(7, 1, True, b"\x00"),
]


def write(path: Path, coded: list[Coded]) -> str:
    with SegmentWriter(path) as writer:
        for one in coded:
            writer.add(one)
        assert writer.frames == len(coded)
        return writer.done()


def segment(path: Path, times: list[int]) -> Path:
    write(path, [Coded(pts, 1, False, bytes(pts % 5)) for pts in times])
    return path


def test_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "000000.packets"
    sha256 = write(path, CODED)
    assert list(coded_in(path)) == CODED
    assert list(times_in(path)) == [one.pts for one in CODED]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    assert [found.name for found in tmp_path.iterdir()] == ["000000.packets"]


def test_no_frames_at_all(tmp_path: Path) -> None:
    write(tmp_path / "empty", [])
    assert list(coded_in(tmp_path / "empty")) == []
    assert list(decoding_times([tmp_path / "empty"])) == []
    assert list(decoding_times([])) == []


def test_a_file_has_its_name_only_when_all_is_well(tmp_path: Path) -> None:
    def broken() -> None:
        with SegmentWriter(tmp_path / "a") as writer:
            writer.add(CODED[0])
            assert not (tmp_path / "a").exists()
            raise KeyError

    with pytest.raises(KeyError):
        broken()
    assert list(tmp_path.iterdir()) == []


def test_every_cut_is_told(tmp_path: Path) -> None:
    """Wherever the file ends, but between two frames: its list tells of that, by its hash."""
    path, torn = tmp_path / "whole", tmp_path / "torn"
    write(path, CODED[:2] + CODED[3:])
    data = path.read_bytes()
    ends = {0, *itertools.accumulate(21 + len(one.data) for one in CODED[:2] + CODED[3:])}
    assert max(ends) == len(data)
    for size in range(len(data)):
        torn.write_bytes(data[:size])
        if size in ends:
            assert len(list(coded_in(torn))) == sorted(ends).index(size)
            continue
        with pytest.raises(OutputError, match=r"torn: .*cut off.*again") as caught:
            list(coded_in(torn))
        assert "\n" not in str(caught.value)


ORDERS = [
    [0, 1, 2, 3],
    [0, 3, 1, 2, 6, 4, 5],
    [0, 8, 4, 2, 1, 3, 6, 5, 7],
    [0, 100, 40, 41, 1000, 500, 400, 450],  # variable rate
    [-50, -20, -40, 5, -1],
    [7],
    [10, 50, 20, 30, 40, 90, 60, 80, 85, 88],
]


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("split", [1, 2, 3])
def test_decoding_times(tmp_path: Path, order: list[int], split: int) -> None:
    """Strictly rising, none after its pts, one delay for all, and no smaller one would do."""
    parts = [order[part * len(order) // split : (part + 1) * len(order) // split] for part in range(split)]
    paths = [segment(tmp_path / f"{number}", times) for number, times in enumerate(parts)]
    found = list(decoding_times(paths))
    assert all(dts <= pts for dts, pts in zip(found, order, strict=True))
    assert all(one < two for one, two in itertools.pairwise(found))
    delays = {pts - dts for dts, pts in zip(found, sorted(order), strict=True)}
    assert len(delays) == 1
    assert any(dts == pts for dts, pts in zip(found, order, strict=True)), "the least delay"
    assert min(delays) >= 0


def test_without_reordering_there_is_no_delay(tmp_path: Path) -> None:
    times = [3, 9, 10, 400]
    assert list(decoding_times([segment(tmp_path / "a", times)])) == times


def test_segments_count_as_one_stream(tmp_path: Path) -> None:
    """A delay that only the second needs holds from the first frame on."""
    paths = [segment(tmp_path / "a", [0, 1, 2]), segment(tmp_path / "b", [3, 7, 5, 4, 6])]
    assert list(decoding_times(paths)) == [-2, -1, 0, 1, 2, 3, 4, 5]
