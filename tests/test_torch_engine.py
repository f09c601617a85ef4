"""What the torch engine promises beside the contract of all engines (test_engine_contract.py)."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines.torch import TorchEngine, finished, usable
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, from_float, to_float
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]
RRDB = ModelSpec("x4", "rrdb", 4, 8, 4, 1)


def run(engine: TorchEngine, picture: Array, plan: Plan, dtype: type[np.generic] = np.uint8) -> Array:
    height, width = picture.shape[:2]
    return np.concatenate(list(engine.run(iter([to_float(picture)]), width, height, plan, dtype)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_rounding_on_the_device_is_that_of_every_other_result(dtype: type[np.generic]) -> None:
    levels = 255 if dtype is np.uint8 else 65535
    values = np.concatenate((np.linspace(-0.2, 1.2, 3001), (np.arange(3000) + 0.5) / levels)).astype(np.float32)
    got = finished(torch.from_numpy(values), dtype, "fp32")
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, from_float(values, dtype))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_one_value_that_is_not_finite_is_enough(value: float, dtype: type[np.generic]) -> None:
    rows = torch.full((4, 5, 3), 0.5)
    rows[2, 3, 1] = value
    with pytest.raises(NotFiniteError, match="fp16"):
        finished(rows, dtype, "fp16")


def test_memory_that_runs_short_is_this_programs_error_and_the_engine_goes_on(
    monkeypatch: pytest.MonkeyPatch, random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = TorchEngine(random_checkpoint(RRDB, 1), "cpu", "fp32")
    picture = make_photo(40, 9)
    wanted = run(engine, picture, Plan(16, 8))
    real = torch.nn.functional.conv2d
    calls = 0

    def short(*args: object, **named: object) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == 30:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        return real(*args, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(torch.nn.functional, "conv2d", short)
    with pytest.raises(OutOfMemoryError, match="cpu is out of memory"):
        run(engine, picture, Plan(16, 8))
    np.testing.assert_array_equal(run(engine, picture, Plan(16, 8)), wanted)


def test_half_precision_costs_deep_results_no_levels(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    """A tail in bf16 would leave a few hundred different values."""
    engine = TorchEngine(random_checkpoint(RRDB, 2), "cpu", "bf16")
    picture = make_photo(40, 40)
    assert np.unique(run(engine, picture, Plan(40, 8), np.uint16)).size > 10_000


def test_both_depths_of_one_engine_give_what_they_give_alone(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    checkpoint, picture = random_checkpoint(RRDB, 3), make_photo(30, 9)
    engine = TorchEngine(checkpoint, "cpu", "bf16")
    for dtype in (np.uint8, np.uint16, np.uint8, np.float32):
        alone = run(TorchEngine(checkpoint, "cpu", "bf16"), picture, Plan(16, 8), dtype)
        np.testing.assert_array_equal(run(engine, picture, Plan(16, 8), dtype), alone)


def test_the_checkpoints_own_arrays_stay_as_they_are(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(RRDB, 4)
    before = {key: value.copy() for key, value in checkpoint.arrays.items()}
    run(TorchEngine(checkpoint, "cpu", "bf16"), np.zeros((16, 8, 3), np.uint8), Plan(16, 8))
    assert all(np.array_equal(checkpoint.arrays[key], value) for key, value in before.items())


def test_arrays_that_cannot_be_written_to_will_do(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(RRDB, 4)
    for value in checkpoint.arrays.values():
        value.flags.writeable = False
    run(TorchEngine(checkpoint, "cpu", "fp32"), np.zeros((16, 8, 3), np.uint8), Plan(16, 8))


def test_global_settings_of_torch_are_left_alone(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    def settings() -> tuple[object, ...]:
        cudnn = torch.backends.cudnn
        return (
            torch.get_num_threads(), torch.get_num_interop_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(), cudnn.benchmark, cudnn.allow_tf32, torch.get_float32_matmul_precision(),
        )  # fmt: skip

    before = settings()
    engine = TorchEngine(random_checkpoint(RRDB, 5), "cpu", "bf16")
    for _ in engine.run(iter([to_float(make_photo(40, 9))]), 9, 40, Plan(16, 8), np.uint8):
        assert settings() == before, "not even while a band is out"
    assert settings() == before


def test_closed_engine_frees_its_copies_and_still_works(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = TorchEngine(random_checkpoint(RRDB, 6), "cpu", "bf16")
    wanted = run(engine, make_photo(20, 9), Plan(16, 8))
    engine.close()
    np.testing.assert_array_equal(run(engine, make_photo(20, 9), Plan(16, 8)), wanted)


@pytest.mark.parametrize("precision", ["fp8", "", "float32"])
def test_unknown_precisions_are_refused(random_checkpoint: MakeCheckpoint, precision: str) -> None:
    with pytest.raises(EngineError, match="use fp32, bf16 or fp16"):
        TorchEngine(random_checkpoint(RRDB, 0), "cpu", precision)


@pytest.mark.parametrize("device", ["gpu", "cuda:x", "meta", "cuda:99"])
def test_unusable_devices_are_refused_in_one_line(device: str) -> None:
    with pytest.raises(EngineError) as caught:
        usable(device)
    assert "\n" not in str(caught.value)
    assert device in str(caught.value)
