"""`upscale-train`'s commands beside training, as a person calls them: what they write, and one line for what is wrong."""

import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from upscale_training.cli import main
from upscale_training.degrade.files import from_script


def call(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three soft pictures with edges, 160×128."""
    place = tmp_path / "photos"
    place.mkdir()
    for index in range(3):
        noise = np.random.default_rng(index).normal(0, 60, (128, 160, 3))
        picture = 128 + 3 * cv2.GaussianBlur(noise, (0, 0), 3)
        cv2.rectangle(picture, (20, 20), (90, 70), (30, 90, 200), -1)
        cv2.imwrite(str(place / f"{index}.png"), np.uint8(np.clip(picture, 0, 255)))
    return place


def test_preview_draws_a_sheet_and_does_not_overwrite_it(photos: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    assert call("preview", photos, "--degradation", "jpeg", "-o", sheet).exit_code == 0
    drawn = cv2.imread(str(sheet))
    assert drawn is not None
    assert drawn.shape[0] > 300
    assert drawn.std() > 20
    again = call("preview", photos, "-o", sheet)
    assert again.exit_code == 1
    assert "--overwrite replaces it" in again.output


def test_imitate_writes_a_degradation_that_the_others_take(photos: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    for path in photos.iterdir():
        picture = cv2.imread(str(path))
        assert picture is not None
        cv2.imwrite(str(bad / f"{path.stem}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 55])
    script = tmp_path / "like_those.py"
    result = call("imitate", bad, "-o", script)
    assert result.exit_code == 0, result.output
    assert "quality 55" in result.output
    picture = np.float32(np.random.default_rng(0).random((64, 64, 3)))
    assert from_script(script)(2)(picture, np.random.default_rng(0)).shape == (32, 32, 3)
    assert call("preview", photos, "--degradation", script, "-o", tmp_path / "p.png").exit_code == 0
    assert call("imitate", bad, "-o", tmp_path / "x.txt").exit_code == 1


def test_learn_writes_a_pool_that_the_others_take(photos: Path, tmp_path: Path) -> None:
    pool = tmp_path / "bad.npz"
    result = call("learn", photos, "-o", pool)
    assert result.exit_code == 0, result.output
    assert call("preview", photos, "--degradation", pool, "-o", tmp_path / "p.png").exit_code == 0
    tuned = call(
        "finetune", photos, "--from", "animevideov3", "--losses", "pixel", "--degradation", pool, "--smoke",
        "-o", tmp_path / "run", "--device", "cpu",
    )  # fmt: skip
    assert tuned.exit_code == 0, tuned.output
    assert (tmp_path / "run" / "degradation.npz").read_bytes() == pool.read_bytes()
    assert call("learn", photos, "-o", tmp_path / "x.py").exit_code == 1


def test_evaluate_prints_json_with_the_promised_keys(photos: Path, tmp_path: Path) -> None:
    model = ["--model", "bicubic", "--hr", photos, "--degradation", "bicubic", "--scale", 2]
    result = call(
        "evaluate", *model, "--metric", "psnr_y", "--metric", "ssim_y", "--json", "--sheet", tmp_path / "s.png"
    )
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert set(said["mean"]) == {"psnr_y", "ssim_y"}
    assert [row["name"] for row in said["pictures"]] == ["0", "1", "2"]
    assert said["mean"]["psnr_y"] == pytest.approx(np.mean([row["psnr_y"] for row in said["pictures"]]))
    assert 20 < said["mean"]["psnr_y"] < 60
    assert (tmp_path / "s.png").stat().st_size > 1000


def test_an_option_file_becomes_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "train.yml").write_text(
        "name: mine\nscale: 4\nmodel_type: SRModel\nmanual_seed: 7\n"
        "datasets:\n  train:\n    type: PairedImageDataset\n    gt_size: 128\n    batch_size_per_gpu: 4\n"
        "network_g: {type: RRDBNet, num_in_ch: 3, num_out_ch: 3, num_feat: 32, num_block: 2, num_grow_ch: 16}\n"
        "train:\n  optim_g: {type: Adam, lr: !!float 2e-4, betas: [0.9, 0.99]}\n  total_iter: 1000\n"
        "  pixel_opt: {type: L1Loss, loss_weight: 1.0, reduction: mean}\n",
        encoding="utf-8",
    )
    result = call("import-options", tmp_path / "train.yml", "-o", tmp_path / "recipe.py")
    assert result.exit_code == 0, result.output
    assert "upscale-train run" in result.output
    assert (tmp_path / "recipe.py").exists()


def test_a_dry_run_tells_what_would_happen_and_trains_nothing(photos: Path, tmp_path: Path) -> None:
    result = call(
        "finetune", photos, "--from", "animevideov3", "--losses", "pixel", "--steps", 10, "--batch", 1, "--crop", 64,
        "-o", tmp_path / "run", "--device", "cpu", "--dry-run",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "10 steps" in result.output
    assert not (tmp_path / "run" / "log.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["preview", "nowhere"], "nowhere: no such file or folder"),
        (["preview", ".", "--degradation", "heavy"], "no such preset or file; the presets are bicubic, mild"),
        (["imitate", "nowhere"], "nowhere"),
        (["import-options", "none.yml"], "none.yml"),
        (["report", "nowhere"], "nowhere"),
    ],
)
def test_wrong_input_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = call(*arguments)
    assert result.exit_code == 1, result.output
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give --pairs"),
        (["--pairs", "here", "--hr", "here"], "one of them"),
        (["--hr", "here"], "give --scale with --hr"),
    ],
)
def test_options_that_evaluate_lacks_are_named(arguments: list[str], said: str) -> None:
    result = call("evaluate", "--model", "bicubic", *arguments)
    assert result.exit_code == 2, result.output
    assert said in result.output


@pytest.mark.parametrize("way", ["preview", "evaluate"])
def test_a_sheet_never_replaces_what_it_shows(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Refused before anything is measured, in one line."""
    monkeypatch.setattr("upscale_training.evaluate.evaluate_command", pytest.fail)
    monkeypatch.setattr("upscale_training.preview.contact_sheet", pytest.fail)
    call_it = {
        "preview": lambda *more: call("preview", photos, "-o", *more),
        "evaluate": lambda *more: call(
            "evaluate", "--model", "bicubic", "--hr", photos, "--scale", 2, "--sheet", *more
        ),
    }[way]
    original, before = photos / "1.png", (photos / "1.png").read_bytes()
    (tmp_path / "old.png").write_bytes(b"kept")
    (tmp_path / "link.png").symlink_to(original)
    for arguments, said in (
        ([original, "--overwrite"], "1.png: is one of the pictures that are read"),
        ([tmp_path / "link.png", "--overwrite"], "link.png: is one of the pictures that are read"),
        ([tmp_path / "old.png"], "old.png exists; --overwrite replaces it"),
        ([tmp_path / "sheet.xyz"], "sheet.xyz: no picture can be written under such a name"),
        ([tmp_path / "sheet"], "sheet: no picture can be written under such a name"),
    ):
        result = call_it(*arguments)
        assert result.exit_code == 1, result.output
        assert said in result.output
        assert len(result.output.strip().splitlines()) == 1
    assert original.read_bytes() == before
    assert (tmp_path / "old.png").read_bytes() == b"kept"


def test_overwrite_replaces_a_sheet(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "old.png").write_bytes(b"old")
    arguments = [
        "--model",
        "bicubic",
        "--hr",
        photos,
        "--scale",
        2,
        "--metric",
        "psnr_y",
        "--sheet",
        tmp_path / "old.png",
    ]
    result = call("evaluate", *arguments, "--overwrite")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "old.png").stat().st_size > 1000


def test_a_damaged_picture_is_left_out_with_a_warning(photos: Path, tmp_path: Path) -> None:
    picture, jpeg = cv2.imread(str(photos / "1.png")), photos / "1.jpg"
    assert picture is not None
    cv2.imwrite(str(jpeg), picture)
    jpeg.write_bytes(jpeg.read_bytes()[: jpeg.stat().st_size // 2])
    (photos / "1.png").write_bytes(b"")
    shown = call("preview", photos, "-o", tmp_path / "sheet.png")
    measured = call("evaluate", "--model", "bicubic", "--hr", photos, "--scale", 2, "--metric", "psnr_y", "--json")
    for result in (shown, measured):
        assert result.exit_code == 0, result.output
        for name in ("1.jpg", "1.png"):
            assert [line for line in result.stderr.splitlines() if "warning: left out: " in line and name in line]
    assert [row["name"] for row in json.loads(measured.stdout)["pictures"]] == ["0", "2"]


def test_a_full_disk_is_told_without_a_remedy_that_is_not_there(photos: Path, tmp_path: Path) -> None:
    result = call("preview", photos, "-o", tmp_path / "nowhere" / "sheet.png")
    assert result.exit_code == 1
    assert "cannot be written" in result.output
    assert "--resume" not in result.output


@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)\n", "def degradation(scale):\n    raise SystemExit\n"])
def test_a_degradation_that_exits_is_an_error(photos: Path, tmp_path: Path, text: str) -> None:
    (tmp_path / "leaving.py").write_text(text)
    result = call("preview", photos, "--degradation", tmp_path / "leaving.py", "-o", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "leaving.py:2: " in result.output
    assert "would end the program" in result.output
    assert len(result.output.strip().splitlines()) == 1


def test_help_says_that_a_degradation_may_be_ones_own() -> None:
    assert "or your own" in " ".join(call("preview", "--help").output.split())


def test_help_needs_no_torch() -> None:
    """It is there at once: importing torch takes seconds."""
    lines = ["import sys", "from upscale_training.cli import main", "try: main(['--help'])"]
    lines += ["except SystemExit: assert 'torch' not in sys.modules"]
    code = "\n".join(lines)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
