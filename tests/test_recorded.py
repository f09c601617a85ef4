"""Runs that are recorded and played again give what they give without; here a recording is played by computing again, on the
same memory, with all that a CUDA graph forbids forbidden. The real ones: tests/test_gpu.py."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import recorded
from upscale.engines.recorded import Play
from upscale.engines.torch import TorchEngine
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, to_float
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]

SPECS = [
    ModelSpec("rrdb", "rrdb", 4, 8, 2, 4),
    ModelSpec("x2", "rrdb", 2, 8, 1, 4, unshuffle=2),
    ModelSpec("alias-free", "rrdb", 4, 8, 1, 4, upsampling="alias-free"),
    ModelSpec("compact", "compact", 4, 8, blocks=5, activation="prelu"),
    ModelSpec("three", "compact", 3, 8, blocks=2),
]
HEIGHT, WIDTH = 44, 18


class NothingAsked(TorchDispatchMode):
    """Refuses what waits for a value of the device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.name()
        assert name not in ("aten::_local_scalar_dense", "aten::nonzero", "aten::equal"), (
            f"{name} inside of a recording"
        )
        return func(*args, **(kwargs or {}))


class Player:
    """Counts what is recorded and played."""

    def __init__(self) -> None:
        self.recorded = self.played = 0

    def __call__(self, run: Play) -> Play:
        self.recorded += 1

        def play() -> None:
            self.played += 1
            with NothingAsked():
                run()

        with NothingAsked():
            run()
        return play


def engine_of(checkpoint: Checkpoint, record: Callable[[Play], Play], precision: str = "fp32") -> TorchEngine:
    engine = TorchEngine(checkpoint, "cpu", precision)
    engine._record = record  # pyright: ignore[reportPrivateUsage]
    return engine


def enlarged(engine: TorchEngine, picture: Array, plan: Plan, dtype: Any = np.uint8, rows: int = 1000) -> Array:
    pixels = to_float(picture)
    bands: Iterator[Any] = (pixels[start : start + rows] for start in range(0, len(pixels), rows))
    return np.concatenate(list(engine.run(bands, pixels.shape[1], len(pixels), plan, dtype)))


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("plan", [Plan(HEIGHT, HEIGHT), Plan(HEIGHT, 8), Plan(16, 8)], ids=str)
def test_a_played_run_gives_what_a_plain_one_gives(
    spec: ModelSpec, precision: str, plan: Plan, random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    checkpoint, player = random_checkpoint(spec, 1), Player()
    engine, plain = engine_of(checkpoint, player, precision), TorchEngine(checkpoint, "cpu", precision)
    for dtype in (np.uint8, np.uint16, np.float32, np.float16):
        results: list[Array] = []
        for seed in range(4):
            picture = np.roll(make_photo(HEIGHT, WIDTH), 5 * seed, axis=1)
            wanted = enlarged(plain, picture, plan, dtype)
            got = enlarged(engine, picture, plan, dtype, rows=7 * spec.unshuffle)
            assert got.dtype == wanted.dtype
            np.testing.assert_array_equal(got, wanted)
            results.append(got)
            np.testing.assert_array_equal(results[0], enlarged(plain, make_photo(HEIGHT, WIDTH), plan, dtype))
    assert (player.recorded, player.played) == (4, 12), "the first picture of a kind pays for nothing"


def test_another_size_is_another_recording_and_the_one_before_is_dropped(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    checkpoint, player = random_checkpoint(SPECS[0], 2), Player()
    engine, plain = engine_of(checkpoint, player), TorchEngine(checkpoint, "cpu", "fp32")
    for height in (20, 20, 33, 20, 33, 33, 33):
        picture = make_photo(height, 9)
        np.testing.assert_array_equal(
            enlarged(engine, picture, Plan(height, 8)), enlarged(plain, picture, Plan(height, 8))
        )
    assert (player.recorded, player.played) == (2, 3)


def test_runs_beside_each_other_keep_their_own_rows(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    checkpoint, plan = random_checkpoint(SPECS[0], 3), Plan(40, 8)
    engine, plain = engine_of(checkpoint, Player()), TorchEngine(checkpoint, "cpu", "fp32")
    pictures = [np.roll(make_photo(40, 12), 3 * k, axis=0) for k in range(3)]
    runs = [engine.run(iter([to_float(picture)]), 12, 40, plan, np.uint8) for picture in pictures]
    found: list[list[Array]] = [[], [], []]
    for _ in range(5):
        for run, rows in zip(runs, found, strict=True):
            rows.append(next(run))
    for picture, rows in zip(pictures, found, strict=True):
        np.testing.assert_array_equal(np.concatenate(rows), enlarged(plain, picture, plan))


def test_a_value_that_is_not_finite_is_an_error_and_the_next_picture_is_right(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    checkpoint, plan = random_checkpoint(SPECS[0], 4), Plan(16, 8)
    engine, good = engine_of(checkpoint, Player()), make_photo(24, 9)
    wanted = enlarged(engine, good, plan)
    bad = to_float(good)
    bad[3, 4, 1] = np.nan
    for _ in range(2):
        with pytest.raises(NotFiniteError, match="fp32"):
            enlarged(engine, bad, plan)
        np.testing.assert_array_equal(enlarged(engine, good, plan), wanted)


@pytest.mark.parametrize("error", [RuntimeError, torch.OutOfMemoryError])
def test_what_cannot_be_recorded_is_computed_as_before_and_not_tried_again(
    error: type[Exception], random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    tried: list[Play] = []

    def refuse(run: Play) -> Play:
        tried.append(run)
        raise error("operation not permitted when stream is capturing")

    checkpoint, picture, plan = random_checkpoint(SPECS[0], 5), make_photo(24, 9), Plan(24, 8)
    engine = engine_of(checkpoint, refuse)
    results = [enlarged(engine, picture, plan) for _ in range(4)]
    for one in results[1:]:
        np.testing.assert_array_equal(one, results[0])
    assert len(tried) == 1


def test_large_pictures_are_not_recorded(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upscale.engines.torch._RECORDED", 24 * 9)
    player = Player()
    engine = engine_of(random_checkpoint(SPECS[0], 6), player)
    for _ in range(3):
        enlarged(engine, make_photo(24, 9), Plan(24, 8))
        enlarged(engine, make_photo(24, 9), Plan(24, 8))
    assert player.recorded == 1
    for _ in range(3):
        enlarged(engine, make_photo(25, 9), Plan(25, 8))
    assert player.recorded == 1


def test_memory_that_runs_short_gives_the_recordings_back(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    player = Player()
    engine, picture, plan = engine_of(random_checkpoint(SPECS[0], 7), player), make_photo(24, 9), Plan(24, 8)
    wanted = [enlarged(engine, picture, plan) for _ in range(2)][-1]

    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    with monkeypatch.context() as patched:
        patched.setattr(recorded.Recording, "rows", short)
        with pytest.raises(OutOfMemoryError):
            enlarged(engine, picture, plan)
    for _ in range(3):
        np.testing.assert_array_equal(enlarged(engine, picture, plan), wanted)
    assert player.recorded == 2


def test_missing_rows_are_an_error_here_too(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    engine, picture = engine_of(random_checkpoint(SPECS[0], 8), Player()), to_float(make_photo(24, 9))
    for _ in range(3):
        with pytest.raises(ValueError, match="missing"):
            list(engine.run(iter([picture[:20]]), 9, 24, Plan(24, 8), np.uint8))


def test_the_progress_reaches_the_end(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    engine, picture = engine_of(random_checkpoint(SPECS[0], 9), Player()), to_float(make_photo(24, 9))
    for _ in range(3):
        told: list[float] = []
        list(engine.run(iter([picture]), 9, 24, Plan(24, 8), np.uint8, told.append))
        assert told[-1] == pytest.approx(1)


def test_kernels_of_our_own_that_fail_while_recorded_do_not_end_the_run(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    def refuse(run: Play) -> Play:
        raise EngineError("triton cannot compile or start its kernel here")

    engine, picture = engine_of(random_checkpoint(SPECS[0], 10), refuse), make_photo(24, 9)
    first, second = (enlarged(engine, picture, Plan(24, 8)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_on_a_processor_nothing_is_recorded(random_checkpoint: MakeCheckpoint) -> None:
    assert TorchEngine(random_checkpoint(SPECS[0], 11), "cpu", "fp32")._record is None  # pyright: ignore[reportPrivateUsage]
