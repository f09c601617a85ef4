"""Damaged files of every format: each gives a picture or one line of error, and none takes another with it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hostile_files import mutations, outcome, valid_files

from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.media.isolated.decoder import Decoder
from upscale.spec import ModelSpec

SEED = 3
TINY = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")
SECONDS = 5.0
LIMIT = 20_000_000
"""Pixels that a damaged size may announce."""


@pytest.fixture(scope="module")
def decoder() -> Iterator[Decoder]:
    with Decoder(LIMIT, SECONDS) as decoder:
        yield decoder


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("valid")
    for name, data in valid_files().items():
        (folder / name).write_bytes(data)
    return sorted(folder.iterdir())


def test_undamaged_files_decode(decoder: Decoder, valid: list[Path]) -> None:
    """Else the mutations would show nothing."""
    assert {path.name: outcome(decoder, path) for path in valid} == {path.name: "decoded" for path in valid}
    for path in valid:
        with decoder.open(path) as source:
            assert sorted((source.header.width, source.header.height)) == [24, 32]
            assert (source.animation is not None) == path.name.startswith("moving")


@pytest.mark.parametrize(
    ("seed", "count"), [(SEED, 1000), pytest.param(SEED + 1, 10_000, marks=pytest.mark.slow)], ids=["1000", "10000"]
)
def test_row_34_no_damaged_file_takes_another_with_it(
    decoder: Decoder, valid: list[Path], tmp_path: Path, seed: int, count: int
) -> None:
    faults: list[str] = []
    for index, path in enumerate(written(tmp_path, seed, count)):
        start = time.monotonic()
        try:
            result = outcome(decoder, path)
            good = outcome(decoder, valid[index % len(valid)]) if result != "decoded" else "decoded"
        except Exception as error:
            faults.append(f"{path.name}: {error!r}")
            continue
        seconds = time.monotonic() - start
        if good != "decoded":
            faults.append(f"after {path.name}: {good}")
        if seconds > SECONDS or "took longer than" in result:
            faults.append(f"{path.name}: {seconds:.1f} s, {result}")
        path.unlink()
    assert not faults, "\n".join(faults)


def written(folder: Path, seed: int, count: int) -> Iterator[Path]:
    for mutation in mutations(seed, count):
        path = folder / mutation.name
        path.write_bytes(mutation.data)
        yield path


def test_row_34_a_folder_with_damaged_files_is_done_but_for_them(
    decoder: Decoder, valid: list[Path], tmp_path: Path, random_checkpoint: Callable[[ModelSpec, int], Checkpoint]
) -> None:
    """The command, as a user runs it over night."""
    model, folder, out = tmp_path / "tiny.safetensors", tmp_path / "in", tmp_path / "out"
    write_safetensors(random_checkpoint(TINY, 0), model)
    folder.mkdir()
    good = [path for path in valid if path.name in ("rgb.png", "rgb.jpg", "lossless.webp", "zip.tif", "rgb16.png")]
    for path in good:
        (folder / f"good-{path.name}").write_bytes(path.read_bytes())
    bad = {path.name for path in written(folder, SEED + 2, 60) if outcome(decoder, path) != "decoded"}
    assert len(bad) > 20
    command = [sys.executable, "-m", "upscale", folder, "-o", out, "--model", model, "--device", "cpu", "--scale", "1"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1, done.stderr[-2000:]
    assert "Traceback" not in done.stderr
    assert len(good) == 5
    for path in good:
        assert (out / f"good-{path.name}").exists()
    lines = [line for line in done.stderr.splitlines() if line.startswith("upscale: failed: ")]
    assert {name for name in bad if sum(f"{folder / name}: " in line for line in lines) == 1} == bad
