"""Presets: exact sizes, the same data from the same seed in any process, and what each is for."""

import hashlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from upscale.image import Array, Floats, from_float, to_float
from upscale_training.degrade import Degradation, recorded
from upscale_training.degrade.presets import PRESETS, bicubic, mild
from upscale_training.degrade.realesrgan import FIRST, SECOND, SecondOrder

by_preset = pytest.mark.parametrize("name", PRESETS)


@pytest.fixture
def picture(make_photo: Callable[..., Array]) -> Floats:
    return to_float(make_photo(96, 144))


def mean_error(degradation: Degradation, picture: Floats, plain: Floats, count: int = 24) -> float:
    """Root mean square difference to a plain resize, in 8-bit levels, over `count` draws."""
    results = [degradation(picture, np.random.default_rng([9, index])) for index in range(count)]
    return float(np.mean([np.sqrt(np.square(result - plain).mean()) * 255 for result in results]))


@by_preset
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_sizes_are_exact_and_levels_are_of_8_bits(name: str, scale: int, picture: Floats) -> None:
    degradation = PRESETS[name](scale)
    for seed in range(4):
        result = degradation(picture, np.random.default_rng(seed))
        assert result.shape == (96 // scale, 144 // scale, 3)
        assert result.dtype == np.float32
        np.testing.assert_array_equal(result, to_float(from_float(result, np.uint8)))


@by_preset
def test_a_picture_that_does_not_divide_is_refused(name: str, picture: Floats) -> None:
    with pytest.raises(ValueError, match="crop it"):
        PRESETS[name](4)(picture[:95], np.random.default_rng(0))


@by_preset
def test_draws_differ_and_keep_the_picture(name: str, picture: Floats) -> None:
    before = picture.copy()
    digests: set[str] = set()
    for seed in range(6):
        with recorded() as notes:
            digests.add(
                hashlib.sha256(PRESETS[name](4)(picture, np.random.default_rng([3, seed])).tobytes()).hexdigest()
            )
        assert notes
    assert len(digests) == {"bicubic": 1, "photo": 4}.get(name, 6)  # clean photographs differ by the filter alone
    np.testing.assert_array_equal(picture, before)


CHILD = """
import hashlib, pickle, sys
import cv2, numpy as np
cv2.setNumThreads(1)
degradations, picture = pickle.load(sys.stdin.buffer)
for name, degradation in degradations.items():
    for seed in (7, 3, 5):
        result = degradation(picture, np.random.default_rng([1, seed]))
        print(name, seed, hashlib.sha256(result.tobytes()).hexdigest())
"""


def test_another_process_with_other_threads_makes_the_same(picture: Floats) -> None:
    degradations = {name: preset(2) for name, preset in PRESETS.items()}
    given = pickle.dumps((degradations, picture))
    child = subprocess.run([sys.executable, "-c", CHILD], input=given, capture_output=True, check=True)
    assert child.stderr == b""
    lines = child.stdout.decode().splitlines()
    assert len(lines) == 3 * len(PRESETS)
    for line in reversed(lines):  # in another order: nothing is carried from one picture to the next
        name, seed, digest = line.split()
        result = degradations[name](picture, np.random.default_rng([1, int(seed)]))
        assert hashlib.sha256(result.tobytes()).hexdigest() == digest, f"{name}, seed {seed}"


def test_mild_is_mild(picture: Floats) -> None:
    plain = bicubic(2)(picture, np.random.default_rng(0))
    errors = {name: mean_error(preset(2), picture, plain) for name, preset in PRESETS.items()}
    assert errors["bicubic"] == 0
    assert 1 < errors["mild"] < 0.6 * errors["realesrgan"]
    assert errors["mild"] < min(errors[name] for name in ("jpeg", "video", "film", "anime"))


def test_mild_is_no_shift(picture: Floats) -> None:
    """The mean of many draws lies where the plain resize lies."""
    plain = bicubic(2)(picture, np.random.default_rng(0)).mean(axis=2)
    draws = [mild(2)(picture, np.random.default_rng(seed)).mean(axis=2) for seed in range(40)]
    (x, y), _ = cv2.phaseCorrelate(plain.astype(np.float64), np.mean(draws, axis=0).astype(np.float64))
    assert abs(x) < 0.1
    assert abs(y) < 0.1


def test_realesrgan_is_as_published() -> None:
    """options/train_realesrgan_x4plus.yml of the Real-ESRGAN repository."""
    for order in (FIRST, SECOND):
        assert order.kernels == (0.45, 0.25, 0.12, 0.03, 0.12, 0.03)
        assert (order.sinc, order.generalized, order.plateau) == (0.1, (0.5, 4), (1, 2))
        assert (order.gaussian, order.gray, order.quality) == (0.5, 0.4, (30, 95))
    assert (FIRST.blur, FIRST.sigma, FIRST.resize, FIRST.factors) == (1, (0.2, 3), (0.2, 0.7, 0.1), (0.15, 1.5))
    assert (FIRST.noise, FIRST.poisson) == ((1, 30), (0.05, 3))
    assert (SECOND.blur, SECOND.sigma, SECOND.resize, SECOND.factors) == (0.8, (0.2, 1.5), (0.3, 0.4, 0.3), (0.3, 1.2))
    assert (SECOND.noise, SECOND.poisson) == ((1, 25), (0.05, 2.5))
    assert SecondOrder(4).ringing == 0.8


def test_realesrgan_draws_its_steps_as_often_as_published(picture: Floats) -> None:
    count = 300
    small, drawn = picture[:32, :32], []
    for seed in range(count):
        with recorded() as notes:
            SecondOrder(4)(small, np.random.default_rng(seed))
        drawn.append([name for name, _ in notes])
        factors = [values["factor"] for name, values in notes if name == "resize"]
        assert len(factors) == 3
        assert 0.15 <= factors[0] <= 1.5
        assert 0.3 <= factors[1] <= 1.2
        assert factors[2] == 1
    filters = np.array([sum(name in ("blur", "sinc") for name in names) for names in drawn])
    assert filters.mean() == pytest.approx(1 + 0.8 + 0.8, abs=0.12)
    assert np.mean([names[-1] == "jpeg" for names in drawn]) == pytest.approx(0.5, abs=0.1)
    assert all(names.count("jpeg") == 2 and names[0] == "usm" for names in drawn)
    noises = [name for names in drawn for name in names if name.endswith("noise")]
    assert len(noises) == 2 * count
    assert noises.count("gaussian noise") / len(noises) == pytest.approx(0.5, abs=0.08)


def read(path: Path) -> Floats:
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert pixels is not None
    return to_float(pixels[..., ::-1])


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize("name", ["Set5", "Set14"])
def test_bicubic_is_the_benchmarks(shared: Path, name: str, scale: int) -> None:
    folder = shared / "data" / "bench" / name / f"x{scale}"
    pairs = [(path, folder / "lr" / path.name) for path in sorted((folder / "hr").glob("*.png"))]
    assert len(pairs) == {"Set5": 5, "Set14": 14}[name]
    for high, low in pairs:
        ours, theirs = bicubic(scale)(read(high), np.random.default_rng(0)), read(low)
        assert ours.shape == theirs.shape
        difference = np.abs(np.rint(ours * 255) - np.rint(theirs * 255))
        assert difference.max() <= 1, low.name
        assert (difference > 0).mean() < 0.01, "only sums of exactly half a level may round the other way"
