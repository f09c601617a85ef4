"""Bands between two threads: in order, never many at once, and a fault on either side reaches the other."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from upscale.errors import OutputError, PictureError
from upscale.handover import AbandonedError, Handover
from upscale.image import Band


def band(value: int, rows: int = 2) -> Band:
    return Band(np.full((rows, 5, 3), value, np.uint8))


def values(handover: Handover) -> list[list[int]]:
    return [[int(part.rgb[0, 0, 0]) for part in frame] for frame in handover.frames()]


def test_frames_and_bands_come_in_order() -> None:
    handover = Handover()
    for frame, value in ((0, 1), (0, 2), (1, 3), (2, 4), (2, 5)):
        handover.give(frame, band(value))
    handover.end()
    assert values(handover) == [[1, 2], [3], [4, 5]]


def test_what_is_left_of_a_frame_is_skipped() -> None:
    handover = Handover()
    for frame, value in ((0, 1), (0, 2), (1, 3)):
        handover.give(frame, band(value))
    handover.end()
    assert [int(next(frame).rgb[0, 0, 0]) for frame in handover.frames()] == [1, 3]


def test_the_giver_waits_while_the_queue_is_full() -> None:
    handover = Handover(limit=100)
    most, given = 0, 0

    def give() -> None:
        nonlocal given
        for value in range(50):
            handover.give(0, band(value))
            given += 1
        handover.end()

    with ThreadPoolExecutor(1) as pool:
        giving = pool.submit(give)
        (frame,) = [handover.frames()]
        for taken, part in enumerate(next(frame)):
            assert part.rgb[0, 0, 0] == taken
            time.sleep(0.001)
            most = max(most, given - taken)
        giving.result()
    assert given == 50
    assert most <= 6, "four bands of 30 bytes are more than the room for 100; one more is on its way each side"


def test_a_fault_of_the_giver_reaches_the_taker_after_what_came_before() -> None:
    handover = Handover()
    handover.give(0, band(1))
    handover.end(PictureError("x.png: cut off"))
    frame = next(handover.frames())
    assert next(frame).rgb[0, 0, 0] == 1
    with pytest.raises(PictureError, match=r"x\.png"):
        next(frame)


def test_a_taker_that_gives_up_frees_the_giver() -> None:
    handover = Handover(limit=10)
    handover.give(0, band(1))
    waiting = threading.Timer(0.05, handover.abandon)
    waiting.start()
    with pytest.raises(AbandonedError):
        handover.give(0, band(2))
    waiting.join()


def test_nothing_at_all_is_no_frames() -> None:
    handover = Handover()
    handover.end()
    assert values(handover) == []
    failed = Handover()
    failed.end(OutputError("y.png: full"))
    with pytest.raises(OutputError):
        values(failed)
