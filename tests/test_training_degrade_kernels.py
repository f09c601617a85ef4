"""Blur kernels and unsharp masking are basicsr's; see golden/make_degradations.py."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from upscale_training.degrade import kernels, recorded
from upscale_training.degrade.blur import KINDS, filtered, gaussian_blur, mixed_blur, sinc_blur
from upscale_training.degrade.kernels import Kernel
from upscale_training.degrade.sharpen import sharpen_target

ROUNDING = 1e-14
"""float64 values of at most 1; J1 comes from an integral here, from a rational approximation there."""

NAMES = [
    *("gaussian_iso", "gaussian_sharp", "gaussian_aniso", "generalized_iso", "generalized_aniso"),
    *("plateau_iso", "plateau_aniso", "sinc_wide", "sinc_full", "sinc_small"),
]


def ours(case: dict[str, Any]) -> Kernel:
    size, function = case["kernel_size"], case["function"]
    if function == "circular_lowpass_kernel":
        return kernels.sinc(size, case["cutoff"])
    shape = (size, case["sig_x"], case["sig_y"], case["theta"])
    if function == "bivariate_Gaussian":
        return kernels.gaussian(*shape)
    made = kernels.generalized_gaussian if function == "bivariate_generalized_Gaussian" else kernels.plateau
    return made(*shape, case["beta"])


def test_every_golden_kernel_is_compared(golden: Path) -> None:
    with np.load(golden / "degradation_kernels.npz") as file:
        assert {name.removeprefix("kernel/") for name in file if name.startswith("kernel/")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_kernels_are_basicsrs(golden: Path, name: str) -> None:
    with np.load(golden / "degradation_kernels.npz") as file:
        case = json.loads(str(file["versions"]))["cases"][name]
        np.testing.assert_allclose(ours(case), file[f"kernel/{name}"], rtol=0, atol=ROUNDING)


def test_sharpened_targets_are_basicsrs(golden: Path) -> None:
    with np.load(golden / "degradation_kernels.npz") as file:
        source, expected = file["usm/input"], file["usm/output"]
    assert np.abs(expected - source).max() > 0.05, "there must be something to compare"
    np.testing.assert_allclose(sharpen_target(source), expected, rtol=0, atol=1e-6)


def test_a_kernel_has_a_middle() -> None:
    with pytest.raises(ValueError, match="odd"):
        kernels.gaussian(20, 1, 1)


def test_filtering_is_correlation_with_mirrored_rim() -> None:
    picture = np.random.default_rng(0).random((9, 11, 3), dtype=np.float32)
    kernel = np.random.default_rng(1).random((5, 5))
    padded = np.pad(picture, ((2, 2), (2, 2), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))
    np.testing.assert_allclose(filtered(picture, kernel), np.einsum("hwcij,ij->hwc", windows, kernel), rtol=1e-5)


def test_gaussian_blur_is_as_wide_as_it_says() -> None:
    point = np.zeros((41, 41, 3), np.float32)
    point[20, 20] = 1
    spread = gaussian_blur(2.5)(point, np.random.default_rng(0))[..., 0]
    places = np.arange(41) - 20
    assert spread.sum() == pytest.approx(1, abs=1e-4)
    assert (spread.sum(axis=0) * places**2).sum() == pytest.approx(2.5**2, rel=0.01)
    assert (spread.sum(axis=1) * places).sum() == pytest.approx(0, abs=1e-4)


def test_mixed_blur_draws_every_kind_by_its_weight_and_from_its_ranges() -> None:
    picture = np.zeros((24, 24, 3), np.float32)
    blur, rng = mixed_blur((0.2, 3.0)), np.random.default_rng(0)
    with recorded() as notes:
        for _ in range(600):
            blur(picture, rng)
    drawn = [values for _, values in notes]
    shares = [sum(one["kind"] == kind for one in drawn) / 600 for kind in KINDS]
    np.testing.assert_allclose(shares, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), atol=0.06)
    assert {one["size"] for one in drawn} == set(range(7, 22, 2))
    assert all(0.2 <= one["sigma"] <= 3 for one in drawn)
    assert all(("across" in one) == one["kind"].endswith("aniso") for one in drawn)
    betas = [one["beta"] for one in drawn if one["kind"].startswith("generalized")]
    assert min(betas) >= 0.5
    assert max(betas) <= 4
    assert np.mean(np.array(betas) < 1) == pytest.approx(0.5, abs=0.15)


def test_a_sinc_rings_and_small_ones_cut_off_no_lower_than_a_third() -> None:
    edge = np.zeros((32, 32, 3), np.float32)
    edge[:, 16:] = 0.5
    assert sinc_blur(1.2, (21,))(edge, np.random.default_rng(0)).max() > 0.52
    rng = np.random.default_rng(0)
    with recorded() as notes:
        for _ in range(300):
            sinc_blur()(edge, rng)
    small = [drawn["cutoff"] for _, drawn in notes if drawn["size"] < 13]
    large = [drawn["cutoff"] for _, drawn in notes if drawn["size"] >= 13]
    assert np.pi / 3 <= min(small) < np.pi / 3 + 0.1
    assert np.pi / 5 <= min(large) < np.pi / 5 + 0.1
    assert max(small + large) <= np.pi
