"""`upscale-train evaluate`: pairs are matched, models run as they are, values and JSON are what they say."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.errors import ModelError
from upscale.image import Array, Floats, from_float, to_float
from upscale.spec import ModelSpec
from upscale_training.degrade import Degradation
from upscale_training.degrade.presets import bicubic as bicubic_preset
from upscale_training.degrade.presets import mild
from upscale_training.errors import BackboneMissingError, DataError, RecipeError
from upscale_training.evaluate import (
    Case,
    bicubic,
    degraded,
    evaluate,
    evaluate_command,
    paired,
    to_json,
    to_table,
)
from upscale_training.metrics import MetricName, open_metrics, psnr, psnr_y
from upscale_training.sheet import Sheet

TINY = ModelSpec("tiny", "compact", 2, features=4, blocks=1, activation="prelu", license="CC0-1.0")
QUICK: tuple[MetricName, ...] = ("psnr_y", "ssim_y", "psnr_rgb", "ssim_rgb")


def save(path: Path, pixels: Array) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels[..., ::-1])
    return path


def cut_off(path: Path) -> None:
    """A JPEG whose header is whole and whose pixels are not."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def folder(tmp_path: Path, make_photo: Callable[..., Array]) -> Path:
    """Two pairs ×2, bird and cat; cat's small picture is a BMP."""
    for seed, (name, suffix) in enumerate((("bird", "png"), ("cat", "bmp"))):
        hr = make_photo(64, 96, seed)
        save(tmp_path / "hr" / f"{name}.png", hr)
        save(tmp_path / "lr" / f"{name}.{suffix}", cv2.resize(hr, (48, 32), interpolation=cv2.INTER_AREA))
    return tmp_path


@pytest.fixture
def tiny(tmp_path: Path, random_checkpoint: Callable[[ModelSpec, int], Checkpoint]) -> str:
    path = tmp_path / "tiny.safetensors"
    write_safetensors(random_checkpoint(TINY, 0), path)
    return str(path)


class TestPairs:
    def test_are_matched_by_name(self, folder: Path) -> None:
        cases = paired(folder)
        assert [case.name for case in cases] == ["bird", "cat"]
        lr, hr = cases[1].read()
        assert (lr.shape, hr.shape) == ((32, 48, 3), (64, 96, 3))

    @pytest.mark.parametrize(("gone", "left", "other"), [("lr/cat.bmp", "hr", "lr"), ("hr/bird.png", "lr", "hr")])
    def test_one_without_a_partner(self, folder: Path, gone: str, left: str, other: str) -> None:
        (folder / gone).unlink()
        with pytest.raises(DataError, match=f"1 of {left}/ have no partner in {other}/: {Path(gone).stem}; "):
            paired(folder)

    def test_two_of_one_name(self, folder: Path, make_photo: Callable[..., Array]) -> None:
        save(folder / "lr" / "cat.png", make_photo(32, 48))
        with pytest.raises(DataError, match="same name"):
            paired(folder)

    def test_no_such_folder(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="lr"):
            paired(tmp_path / "nowhere")

    def test_sizes_that_do_not_fit(self, folder: Path, make_photo: Callable[..., Array]) -> None:
        save(folder / "hr" / "cat.png", make_photo(65, 96))
        with pytest.raises(DataError, match="cat: lr is 48×32 and hr 96×65, no whole multiple"):
            evaluate_command("bicubic", pairs=folder, metrics=QUICK)


class TestDegraded:
    def test_same_seed_same_pictures(self, folder: Path) -> None:
        first, again = (degraded(folder / "hr", mild, 2, seed=3)[1].read()[0] for _ in range(2))
        other = degraded(folder / "hr", mild, 2, seed=4)[1].read()[0]
        assert np.array_equal(first, again)
        assert not np.array_equal(first, other)
        assert first.dtype == np.uint8

    def test_originals_are_cropped_to_multiples(self, tmp_path: Path, make_photo: Callable[..., Array]) -> None:
        path = save(tmp_path / "odd.png", make_photo(67, 98))
        lr, hr = degraded(path.parent, bicubic_preset, 4)[0].read()
        assert (lr.shape, hr.shape) == ((16, 24, 3), (64, 96, 3))

    def test_a_damaged_original_is_left_out_with_a_warning(
        self, tmp_path: Path, make_photo: Callable[..., Array]
    ) -> None:
        cut_off(save(tmp_path / "bird.jpg", make_photo(64, 96, 0)))
        whole = save(tmp_path / "cat.jpg", make_photo(64, 96, 1))
        (tmp_path / "dog.jpg").write_bytes(b"")
        report = evaluate_command("bicubic", hr=tmp_path, preset=bicubic_preset, scale=2, metrics=["psnr_y"])
        assert [row.name for row in report.pictures] == ["cat"]
        assert [line.split(":")[0] for line in report.warnings] == ["left out", "left out"]
        assert all(name in line for name, line in zip(("bird.jpg", "dog.jpg"), report.warnings, strict=True))
        cut_off(whole)
        with pytest.raises(DataError, match=r"none of the 3 pictures can be read; the first: .*bird\.jpg"):
            evaluate_command("bicubic", hr=tmp_path, preset=bicubic_preset, scale=2, metrics=["psnr_y"])

    def test_a_damaged_picture_of_a_pair_ends_it(self, folder: Path, make_photo: Callable[..., Array]) -> None:
        (folder / "hr" / "cat.png").unlink()
        cut_off(save(folder / "hr" / "cat.jpg", make_photo(64, 96, 1)))
        with pytest.raises(DataError, match=r"cat\.jpg"):
            evaluate_command("bicubic", pairs=folder, metrics=["psnr_y"])

    def test_a_degradation_that_fails_is_no_damaged_picture(self, folder: Path) -> None:
        with pytest.raises(RecipeError, match=r"halved returned .*\(64, 96, 3\), expected .*\(32, 48, 3\)"):
            evaluate_command("bicubic", hr=folder / "hr", preset=lambda scale: halved, scale=2, metrics=["psnr_y"])


def halved(picture: Floats, rng: np.random.Generator) -> Floats:
    """Not in size."""
    return picture / 2


class TestValues:
    def test_bicubic_is_measured_without_the_border(self, folder: Path) -> None:
        report = evaluate_command("bicubic", pairs=folder, metrics=QUICK)
        lr, hr = paired(folder)[0].read()
        result = bicubic(lr, 2)
        assert report.pictures[0].values["psnr_y"] == psnr_y(to_float(result), to_float(hr), 2)
        assert report.mean["psnr_rgb"] == np.mean([row.values["psnr_rgb"] for row in report.pictures])
        assert result.dtype == np.uint8

    def test_bicubic_of_its_own_shrinking_is_close(self, folder: Path) -> None:
        report = evaluate_command("bicubic", hr=folder / "hr", preset=bicubic_preset, scale=2, metrics=["psnr_y"])
        assert 18 < report.mean["psnr_y"] < 45

    def test_a_model_runs_in_full_precision_and_without_color_fix(self, folder: Path, tiny: str) -> None:
        import upscale

        seen: list[Array] = []
        evaluate_command(tiny, pairs=folder, metrics=["psnr_y"], device="cpu", watch=lambda *it: seen.append(it[2]))
        lr = paired(folder)[0].read()[0]
        plain = upscale.load(tiny, device="cpu", precision="fp32", color_fix=False)(lr)
        fixed = upscale.load(tiny, device="cpu", precision="fp32")(lr)
        assert np.array_equal(seen[0], plain)
        assert not np.array_equal(seen[0], fixed)

    def test_16_bits_are_not_rounded_to_8(self) -> None:
        hr = np.random.default_rng(0).integers(0, 65536, (32, 32, 3), dtype=np.uint16)
        case = Case("deep", lambda: (hr[::2, ::2].copy(), hr))
        near = from_float(to_float(hr) * 0.999, np.uint16)
        report = evaluate(lambda lr, scale: near, [case], {"psnr_rgb": lambda *it: psnr(*it)})
        assert report.mean["psnr_rgb"] == psnr(to_float(near), to_float(hr), 2)
        assert report.mean["psnr_rgb"] > 60

    def test_another_scale_is_refused(self, folder: Path, tiny: str, make_photo: Callable[..., Array]) -> None:
        for name in ("bird", "cat"):
            save(folder / "hr" / f"{name}.png", make_photo(128, 192))
        with pytest.raises(DataError, match="enlarges ×2, but the originals are ×4"):
            evaluate_command(tiny, pairs=folder, metrics=QUICK)
        with pytest.raises(DataError, match="enlarges ×2, not ×3"):
            evaluate_command(tiny, hr=folder / "hr", preset=bicubic_preset, scale=3, metrics=QUICK)

    @pytest.mark.parametrize("given", [{}, {"pairs": True, "hr": True}, {"hr": True}])
    def test_needs_pairs_or_a_degradation(self, folder: Path, given: dict[str, bool]) -> None:
        with pytest.raises(DataError):
            evaluate_command("bicubic", metrics=QUICK, **dict.fromkeys(given, folder))

    def test_an_unknown_model(self, folder: Path) -> None:
        with pytest.raises(ModelError, match="no model is named"):
            evaluate_command("x5plus", pairs=folder, metrics=QUICK)


class TestMissing:
    def test_a_metric_without_weights_is_skipped_and_said(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def missing(name: str, file: Path | None = None) -> None:
            raise BackboneMissingError(f"{name}: its weights are not on this machine")

        monkeypatch.setattr("upscale_training.metrics.suite.load_backbone", missing)
        report = evaluate_command("bicubic", pairs=folder, metrics=["psnr_y", "lpips_alex", "dists"])
        assert list(report.mean) == ["psnr_y"]
        assert [line.split(" (")[0] for line in report.warnings] == [
            "lpips_alex is not measured",
            "dists is not measured",
        ]

    def test_a_picture_too_small_for_a_metric(self, folder: Path) -> None:
        report = evaluate_command("bicubic", pairs=folder, metrics=["psnr_y", "niqe"])
        assert math.isnan(report.mean["niqe"])
        assert report.warnings[0].startswith("bird: niqe is not measured (NIQE needs 192×96 pixels")
        assert json.loads(to_json(report))["mean"]["niqe"] is None


class TestWriting:
    def test_json_is_as_promised(self, folder: Path) -> None:
        report = evaluate_command("bicubic", pairs=folder, metrics=QUICK)
        read = json.loads(to_json(report))
        assert list(read) == ["mean", "pictures"]
        assert list(read["mean"]) == list(QUICK)
        assert [list(picture) for picture in read["pictures"]] == [["name", *QUICK]] * 2
        assert read["pictures"][1]["name"] == "cat"
        assert read["mean"]["ssim_y"] == report.mean["ssim_y"]

    def test_equal_pictures_are_null_in_json(self, folder: Path) -> None:
        measures = open_metrics(["psnr_y"])[0]
        report = evaluate(lambda lr, scale: paired(folder)[0].read()[1], paired(folder)[:1], measures)
        assert report.mean["psnr_y"] == math.inf
        assert json.loads(to_json(report))["mean"]["psnr_y"] is None

    def test_table(self, folder: Path) -> None:
        lines = to_table(evaluate_command("bicubic", pairs=folder, metrics=QUICK)).splitlines()
        assert lines[0].split() == list(QUICK)
        assert [line.split()[0] for line in lines[1:]] == ["bird", "cat", "mean"]
        assert len({len(line) for line in lines}) == 1

    def test_sheet_shows_input_bicubic_result_and_original(self, folder: Path, tmp_path: Path) -> None:
        sheet = Sheet(edge=32)
        evaluate_command("bicubic", pairs=folder, metrics=["psnr_y"], watch=sheet)
        sheet.save(tmp_path / "sheet.png")
        picture = cv2.imread(str(tmp_path / "sheet.png"))
        assert picture is not None
        assert picture.shape == (16 + 2 * (16 + 68), 4 * 68, 3)
        row = picture[32 : 32 + 64].astype(int)
        given, interpolated, result, original = (row[:, left : left + 64] for left in (0, 68, 136, 204))
        assert np.array_equal(interpolated, result)
        assert not np.array_equal(result, original)
        assert not np.array_equal(given, original)

    def test_an_empty_sheet(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="no picture was measured"):
            Sheet().save(tmp_path / "sheet.png")


def custom(scale: int) -> Degradation:
    """What a user's recipe may hold: a preset of one's own."""
    return bicubic_preset(scale)


def test_a_preset_of_ones_own(folder: Path) -> None:
    own = evaluate_command("bicubic", hr=folder / "hr", preset=custom, scale=2, metrics=QUICK)
    ready = evaluate_command("bicubic", hr=folder / "hr", preset=bicubic_preset, scale=2, metrics=QUICK)
    assert own.mean == ready.mean
