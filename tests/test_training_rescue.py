"""Each way in which the game is lost, provoked with the real trainer on a tiny one: the alarm, and the rescue.

A healthy run is the measure: rescued ones must end within 5 % of its LPIPS (or 0.25 dB of PSNR where LPIPS' weights are
missing). Pictures are generated: noise of natural spectrum with edges.
"""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from upscale_training.order import Order
from upscale_training.run import carried_out

pytestmark = pytest.mark.slow

RECIPE = """
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.adversary.strided import StridedDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.generator import spec_for
from upscale_training.losses import l1
from upscale_training.recipe import Cuts, Recipe, Stage
from upscale_training.script import main


def patch():
    return PatchDiscriminator(16, 2, norm="none")


def strided():
    return StridedDiscriminator(64, 16, batch_norm=False)


main(
    Recipe(
        "tiny",
        spec_for("animevideov3", "tiny", 4),
        (
            Stage(
                "gan",
                {steps},
                (l1(1.0),),
                AdversaryRecipe({net}, weight={weight}, learning_rate={d_rate}),
                batch=4,
                crop=64,
                learning_rate={rate},
                decay="cosine",
            ),
        ),
        PRESETS["bicubic"],
        start={start!r},
        cuts=Cuts((1.0, 1.0)),
        precision="fp32",
        log_every=5,
        validate_every=50,
        checkpoint_every=50,
    )
)
"""
HEALTHY: dict[str, Any] = {
    "steps": 500,
    "net": "patch",
    "weight": 0.02,
    "d_rate": 1e-4,
    "rate": 1e-4,
    "start": "animevideov3",
}


def scene(seed: int, side: int) -> np.ndarray:
    """Edges over a ground with the spectrum of natural pictures, uint8 (side, side, 3)."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(rng.normal(size=(side, side, 3)), axes=(0, 1))
    far = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None])[..., None]
    soft = np.fft.irfft2(spectrum / np.maximum(far, 1 / side), s=(side, side), axes=(0, 1))
    picture = 128 + 20 * soft / soft.std()
    for _ in range(40):
        corners, color = rng.integers(0, side, (3, 2)), rng.integers(0, 256, 3)
        cv2.fillConvexPoly(picture, corners.astype(np.int32), color.tolist())
    return np.uint8(np.clip(picture, 0, 255))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("photos")
    for kind, count, first, side in (("train", 24, 0, 96), ("few", 2, 0, 64), ("val", 6, 100, 96)):
        (place / kind).mkdir()
        for index in range(count):
            cv2.imwrite(str(place / kind / f"{index}.png"), scene(first + index, side))
    return place


def trained(place: Path, photos: Path, kind: str = "train", **changes: Any) -> list[dict[str, Any]]:
    place.mkdir(exist_ok=True)
    guard = changes.pop("guard", True)
    (place / "recipe.py").write_text(RECIPE.format(**HEALTHY | changes), encoding="utf-8")
    order = Order(place / "recipe.py", (photos / kind,), place / "run", (photos / "val",), device="cpu", guard=guard)
    carried_out(order, [])
    return [json.loads(line) for line in (place / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def alarms(lines: list[dict[str, Any]]) -> list[str]:
    return [line["alarm"] for line in lines if line["kind"] == "alarm"]


def actions(lines: list[dict[str, Any]]) -> list[str]:
    return [line["action"] for line in lines if line["kind"] == "action" and line["action"] != "start"]


def loss(lines: list[dict[str, Any]]) -> float:
    """The best of the last validations: LPIPS, else PSNR as the factor of error that it stands for."""
    found = [line["metrics"] for line in lines if line["kind"] == "validation"][-3:]
    return min(one.get("lpips_alex", 10 ** (-one["psnr_y"] / 40)) for one in found)


@pytest.fixture(scope="module")
def healthy(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return trained(tmp_path_factory.mktemp("healthy"), photos)


def test_a_healthy_run_of_500_steps_stays_silent_and_learns(healthy: list[dict[str, Any]]) -> None:
    assert alarms(healthy) == []
    assert actions(healthy) == []
    first = next(line for line in healthy if line["kind"] == "validation")
    assert loss(healthy) < 0.8 * loss([first])


def test_a_discriminator_a_hundred_times_too_fast_is_slowed(
    healthy: list[dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    lines = trained(tmp_path, photos, d_rate=1e-2)
    assert set(alarms(lines)) & {"discriminator wins", "discriminator is lost"}
    assert set(actions(lines)) & {"slow discriminator", "restart discriminator"}
    assert loss(lines) < 1.05 * loss(healthy)


def test_an_absurd_learning_rate_is_rolled_back(healthy: list[dict[str, Any]], photos: Path, tmp_path: Path) -> None:
    lines = trained(tmp_path, photos, rate=0.1)
    assert set(alarms(lines)) & {"loss explodes", "pictures get worse", "output is flat", "output is no number"}
    assert "roll back" in actions(lines)
    assert loss(lines) < 1.05 * loss(healthy)


def test_a_checkerboard_is_seen_and_goes(healthy: list[dict[str, Any]], photos: Path, tmp_path: Path) -> None:
    """What draws it is a transposed convolution: that by which a strided discriminator's gradient reaches the picture (Odena et
    al. 2016, distill.pub/2016/deconv-checkerboard). Here it weighs fifteen times as much as it should.
    """
    lines = trained(tmp_path, photos, weight=0.3)
    assert "checkerboard" in alarms(lines)
    assert "rebalance" in actions(lines)
    seen = [line["health"]["checkerboard"] for line in lines if line["kind"] == "validation"]
    assert max(seen) > 1.1
    assert seen[-1] < 1.05
    assert loss(lines) < 1.05 * loss(healthy)


def test_a_tiny_data_set_is_learnt_by_heart_and_told(
    healthy: list[dict[str, Any]], photos: Path, tmp_path: Path
) -> None:
    """Two pictures, as large as what is cut from them."""
    lines = trained(tmp_path, photos, kind="few", net="strided", d_rate=4e-4)
    assert "discriminator memorizes" in alarms(lines)
    assert "rebalance" in actions(lines)
    assert loss(lines) < 1.05 * loss(healthy)
