"""What every test can lean on. No shared data, no GPU and no internet is needed, except where `shared` is asked for."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from upscale.checkpoint import Checkpoint
from upscale.image import Array, Floats
from upscale.keys import parameter_shapes
from upscale.spec import ModelSpec

SHARED = Path(__file__).resolve().parents[2] / "shared"
GOLDEN = Path(__file__).resolve().parent / "golden"


def pytest_configure() -> None:
    """Processes that test side by side share the cores: each with threads for all of them takes ten times as long.

    Only in them: what the process that starts them had set, they would inherit and take for the user's wish.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    if processes > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or fills the user's cache."""
    folder = tmp_path / "upscale-cache"
    monkeypatch.setenv("UPSCALE_CACHE", str(folder))
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, in which the command is started."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 200 kB; only root may make one. It can be taken away only when no file on it is open any more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(folder)], capture_output=True)
    if mounted.returncode:
        pytest.skip("no right to mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Pictures and foreign checkpoints beside the clone, where a machine has them."""
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there")
    return SHARED


@pytest.fixture(scope="session")
def golden() -> Path:
    """Tiny networks as the original basicsr computes them; see golden/README.md."""
    return GOLDEN


@pytest.fixture(scope="session")
def random_checkpoint() -> Callable[[ModelSpec, int], Checkpoint]:
    """random_checkpoint(spec, seed): seeded weights of a size that carries the signal through every layer."""
    return _random_checkpoint


@pytest.fixture(scope="session")
def make_photo() -> Callable[..., Array]:
    """make_photo(height, width, seed=0, dtype=np.uint8): see `photo`, in any size."""
    return _photo


@pytest.fixture
def photo() -> npt.NDArray[np.uint8]:
    """A picture (96, 128, 3) with what photographs have: shading, hard edges, texture, grain, flat parts."""
    return _photo(96, 128).astype(np.uint8, copy=False)


def _random_checkpoint(spec: ModelSpec, seed: int = 0) -> Checkpoint:
    rng = np.random.default_rng(seed)
    arrays = {key: _random_array(rng, key, shape) for key, shape in parameter_shapes(spec).items()}
    return Checkpoint(spec, arrays)


def _random_array(rng: np.random.Generator, key: str, shape: tuple[int, ...]) -> Floats:
    if key.endswith(".bias"):
        values = rng.normal(0.0, 0.1, shape)
    elif len(shape) == 1:
        values = rng.uniform(0.05, 0.4, shape)  # a PReLU's slopes
    else:
        values = rng.normal(0.0, (1.7 / np.prod(shape[1:])) ** 0.5, shape)
    return values.astype(np.float32)


def _photo(height: int, width: int, seed: int = 0, dtype: npt.DTypeLike = np.uint8) -> Array:
    rng = np.random.default_rng((seed, height, width))
    y, x = np.mgrid[0:height, 0:width] + 0.5
    y, x = y / height, x / width
    picture = np.stack([0.25 + 0.5 * y, 0.3 + 0.4 * x, 0.65 - 0.3 * x * y], axis=2)
    for _ in range(6):
        angle, offset = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2)
        side = (x - offset[0]) * np.cos(angle) + (y - offset[1]) * np.sin(angle)
        inside = (side > 0) & (side < rng.uniform(0.02, 0.3))
        picture[inside] = 0.4 * picture[inside] + 0.6 * rng.uniform(0, 1, 3)
    waves = np.sin(2 * np.pi * (rng.uniform(4, 24) * x + rng.uniform(4, 24) * y))
    grain = rng.normal(0, 0.02, picture.shape)
    picture += 0.06 * waves[..., np.newaxis] * (x > 0.5)[..., np.newaxis] + grain
    picture[: height // 8, : width // 4] = 0.0  # a flat dark and a flat light corner
    picture[-(height // 8) or height :, -(width // 4) or width :] = 1.0
    levels = np.iinfo(np.dtype(dtype)).max
    result: Array = np.rint(np.clip(picture, 0, 1) * levels).astype(dtype)
    return result
