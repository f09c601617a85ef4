"""Alias-free doubling: the filter itself, and that files say of a network that it has it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from upscale.checkpoint import Checkpoint, digest, read_checkpoint, write_pth, write_safetensors
from upscale.doubling import REACH, kernel, taps
from upscale.engines.reference import forward
from upscale.errors import ModelError
from upscale.nets import build
from upscale.nets.rows import doubled
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

FREE = ModelSpec("free", "rrdb", 4, 8, 4, 1, upsampling="alias-free")
NEAREST = ModelSpec("nearest", "rrdb", 4, 8, 4, 1)


def wave(frequency: float, places: np.ndarray) -> np.ndarray:
    """Cycles per input pixel, at places in input pixels."""
    return np.cos(2 * np.pi * frequency * places + 0.3)


@pytest.mark.parametrize(("frequency", "most"), [(0.0, 1e-6), (0.05, 0.006), (0.15, 0.012), (0.25, 0.03), (0.3, 0.06)])
def test_waves_stay_waves(frequency: float, most: float) -> None:
    """Output pixels lie a quarter beside input pixels; repeating pixels is wrong by 0.46 at the highest of these."""
    places = np.arange(64.0)
    x = torch.tensor(wave(frequency, places), dtype=torch.float32).expand(1, 2, 64, 64)
    y = doubled(x, torch.tensor(kernel(2)))[0, 1, 64].numpy()
    expected = wave(frequency, (np.arange(128) + 0.5) / 2 - 0.5)
    assert np.abs(y - expected)[2 * REACH : -2 * REACH].max() < most


def test_flat_stays_flat_up_to_the_rim() -> None:
    y = doubled(torch.full((1, 3, 5, 4), 0.7), torch.tensor(kernel(3)))
    assert y.shape == (1, 3, 10, 8)
    torch.testing.assert_close(y, torch.full_like(y, 0.7), atol=1e-6, rtol=0)


def test_weights_sum_to_one_and_mirror() -> None:
    np.testing.assert_allclose(taps().sum(1), 1, atol=1e-6)
    np.testing.assert_array_equal(taps()[0], taps()[1][::-1])


def test_autocast_does_not_round_the_weights() -> None:
    x = torch.rand(1, 2, 9, 9, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        found = doubled(x, torch.tensor(kernel(2)))
    assert torch.equal(found, doubled(x, torch.tensor(kernel(2))))


def test_torch_computes_what_numpy_computes(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(FREE, 1)
    network = build(FREE)
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    picture = np.random.default_rng(1).random((11, 9, 3), np.float32)
    with torch.no_grad():
        found = network(torch.tensor(picture).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, forward(FREE, checkpoint.arrays, picture), atol=1e-5)
    assert np.abs(found - forward(NEAREST, checkpoint.arrays, picture)).max() > 0.01


def test_the_filter_is_no_parameter() -> None:
    assert build(FREE).state_dict().keys() == build(NEAREST).state_dict().keys()


def test_nearest_goes_without_saying(random_checkpoint: MakeCheckpoint) -> None:
    """So that digests, and files made before, are what they were."""
    assert "upsampling" not in NEAREST.to_json()
    assert ModelSpec.from_json(FREE.to_json()) == FREE
    one, other = random_checkpoint(FREE, 0), random_checkpoint(NEAREST.named("free"), 0)
    assert digest(one) != digest(other)


@pytest.mark.parametrize("change", [{"upsampling": "bilinear"}, {"arch": "compact", "upsampling": "alias-free"}])
def test_impossible_specs(change: dict[str, str]) -> None:
    with pytest.raises(ModelError, match="upsampling"):
        ModelSpec(**{"name": "n", "arch": "rrdb", "scale": 4, **change})  # type: ignore[arg-type]


def test_safetensors_say_it_and_a_pth_cannot(tmp_path: Path, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(FREE, 2)
    write_safetensors(checkpoint, tmp_path / "free.safetensors")
    assert read_checkpoint(tmp_path / "free.safetensors").spec == FREE
    with pytest.raises(ModelError, match=r"free\.pth: a \.pth cannot say .* alias-free; use \.safetensors"):
        write_pth(checkpoint, tmp_path / "free.pth")
    assert not (tmp_path / "free.pth").exists()
