"""The networks that this repository trained and ships: whole, described by themselves, and what their rows promise."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image as Pil

import upscale
from upscale import zoo
from upscale.checkpoint import read_checkpoint
from upscale.files import sha256_of
from upscale.image import Array, Floats
from upscale.sources import Shipped, data_folder
from upscale.zoo import Entry
from upscale_training.health.checkerboard import checkerboard
from upscale_training.judge import tensor

REPOSITORY = Path(__file__).resolve().parents[1]
OWN = [entry for entry in zoo.entries() if any(isinstance(source, Shipped) for source in entry.sources)]
EACH = pytest.mark.parametrize("entry", OWN, ids=[entry.name for entry in OWN])


def file(entry: Entry) -> Path:
    (source,) = entry.sources
    assert isinstance(source, Shipped)
    return data_folder() / source.file


@pytest.fixture(scope="module")
def enlarge() -> Callable[[Entry, Array], Array]:
    """enlarge(entry, picture): in fp32, without the color fix."""
    opened: dict[str, upscale.Upscaler] = {}

    def run(entry: Entry, picture: Array) -> Array:
        if entry.name not in opened:
            opened[entry.name] = upscale.load(str(file(entry)), device="cpu", precision="fp32", color_fix=False)
        return opened[entry.name](picture)

    return run


def test_all_are_listed() -> None:
    assert [entry.name for entry in OWN] == ["photo-fast", "photo-fast-x2", "video-fast"]
    assert {file(entry) for entry in OWN} == set((REPOSITORY / "weights").glob("*.safetensors"))


class TestFile:
    @EACH
    def test_is_the_pinned_one_and_small(self, entry: Entry) -> None:
        assert sha256_of(file(entry)) == entry.sources[0].sha256
        assert file(entry).stat().st_size < 1.3e6
        assert entry.here == entry.sources[0]

    @EACH
    def test_tells_how_it_was_made(self, entry: Entry) -> None:
        found = read_checkpoint(file(entry))
        assert (found.spec.name, found.spec.arch, found.spec.scale) == (entry.name, entry.arch, entry.scale)
        assert found.spec.license == entry.license
        assert (REPOSITORY / found.notes["recipe"]).is_file()
        assert len(found.notes["commit"]) == 40
        assert len(found.notes["data"].split()[0]) == 64
        assert {"psnr_y", "lpips_alex"} <= json.loads(found.notes["scores"]).keys()
        assert found.notes["start"]

    @EACH
    def test_row_in_the_readme(self, entry: Entry) -> None:
        assert f"| `{entry.name}`" in (REPOSITORY / "weights" / "README.md").read_text(encoding="utf-8")

    @EACH
    def test_figures_in_the_readme_are_those_measured(self, entry: Entry) -> None:
        readme = (REPOSITORY / "weights" / "README.md").read_text(encoding="utf-8").replace("*", "")
        results = (REPOSITORY / "benchmarks" / "results").glob("networks-x*.json")
        rows = [row for result in results for row in json.loads(result.read_text(encoding="utf-8"))["rows"]]
        ours = [row for row in rows if row["network"] == entry.name]
        assert ours
        for row in ours:
            perceptual = " | ".join(f"{row[metric]:.3f}" for metric in ("lpips_alex", "lpips_vgg", "dists"))
            assert f"| {perceptual} | {row['psnr_y']:.2f} |" in readme, row["set"]

    @pytest.mark.parametrize(
        ("network", "strength"),
        [
            ("video-fast", "off"),
            ("video-fast", 0.6),
            ("video-fast", "rival"),
            ("video-fast", "bicubic"),
            ("photo-fast-x2", "off"),
            ("animevideov3", 0.6),
        ],
    )
    def test_flicker_in_the_readme_is_what_was_measured(self, network: str, strength: str | float) -> None:
        readme = (REPOSITORY / "weights" / "README.md").read_text(encoding="utf-8").replace("*", "")
        result = REPOSITORY / "benchmarks" / "results" / f"flicker-{network}.json"
        rows = json.loads(result.read_text(encoding="utf-8"))["rows"]
        mean = next(row for row in rows if (row["clip"], row["strength"]) == ("all 4", strength))
        energy = mean["sharpness, share" if network == "animevideov3" else "sharpness, of the rival's"]
        figures = f"| {mean['flicker']:.2f} | {energy:.2f} | {mean['LPIPS']:.3f} | {mean['PSNR']:.2f} |"
        assert figures in readme

    @EACH
    def test_costs_what_animevideov3_costs(self, entry: Entry) -> None:
        """A ×2 network's last layer is smaller, all else is the same."""
        theirs = zoo.load("animevideov3").spec
        assert replace(theirs, name=entry.name, scale=entry.scale, license=entry.license) == zoo.load(entry.name).spec


class TestPictures:
    @EACH
    @pytest.mark.parametrize("level", [0, 12, 128, 243, 255])
    def test_what_is_flat_stays_flat(self, entry: Entry, level: int, enlarge: Callable[[Entry, Array], Array]) -> None:
        flat = np.full((24, 24, 3), level, np.uint8)
        made = enlarge(entry, flat)[16:-16, 16:-16].astype(int)
        assert np.ptp(made, axis=(0, 1)).max() <= 2
        assert abs(made - level).max() <= 3

    @EACH
    def test_keeps_colors_and_what_was_there(
        self, entry: Entry, enlarge: Callable[[Entry, Array], Array], make_photo: Callable[..., Array]
    ) -> None:
        """Shrunk again it is the input, but for grain; no channel's mean moves by more than half a level."""
        small = cv2.GaussianBlur(make_photo(96, 128), (0, 0), 0.6)
        back = resized(enlarge(entry, small), 128, 96)
        difference = back.astype(float) - small
        assert np.abs(difference.mean(axis=(0, 1))).max() <= 0.5
        assert 20 * np.log10(255 / np.sqrt(np.mean(difference**2))) > 34

    @EACH
    def test_leaves_no_checkerboard(self, entry: Entry, enlarge: Callable[[Entry, Array], Array]) -> None:
        original = budgie()
        height, width = original.shape[:2]
        made = enlarge(entry, resized(original, width // entry.scale, height // entry.scale))
        cpu = torch.device("cpu")
        assert checkerboard([tensor(made, cpu)], [tensor(original, cpu)], entry.scale) <= 1.05

    @EACH
    def test_is_nearer_to_a_photograph_than_bicubic(
        self, entry: Entry, enlarge: Callable[[Entry, Array], Array]
    ) -> None:
        """Shrunk cleanly."""
        original = budgie()
        height, width = original.shape[:2]
        small = resized(original, width // entry.scale, height // entry.scale)
        plain = resized(small, width, height)
        made = enlarge(entry, small)
        assert sharpness_kept(made, original) > sharpness_kept(plain, original)
        assert error(made, original) < error(plain, original)


def budgie() -> Array:
    """128×192, multiples of both scales; none was trained on it."""
    picture = cv2.imread(str(REPOSITORY / "docs" / "budgie.png"), cv2.IMREAD_COLOR_RGB)
    assert picture is not None
    return np.asarray(picture)


def resized(picture: Array, width: int, height: int) -> Array:
    """Bicubic, antialiased."""
    return np.asarray(Pil.fromarray(picture).resize((width, height), Pil.Resampling.BICUBIC))


def error(picture: Array, original: Array) -> float:
    return float(np.sqrt(np.mean((picture.astype(float) - original) ** 2)))


def sharpness_kept(picture: Array, original: Array) -> float:
    def energy(one: Array) -> float:
        plain: Floats = one.astype(np.float32)
        return float(np.mean(np.diff(plain, axis=0) ** 2) + np.mean(np.diff(plain, axis=1) ** 2))

    return energy(picture) / energy(original)
