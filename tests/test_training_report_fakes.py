"""Runs that never were, for the tests of the report: a healthy one and one that collapses, with pictures; and that they are so.

`python tests/test_training_report_fakes.py FOLDER` writes both with their reports, to look at.
"""

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pil

from upscale_training.report.log import read_log
from upscale_training.report.views import curves, stages, state_of, total_steps

BEGUN = 1_790_000_000.0
FIRST, ALL, EVERY, VALIDATE = 400, 2000, 20, 100
COLLAPSE, BACK = 1400, 1200
NAMES = ("budgie", "brick wall <north>", "märchen & mond")


def lines(collapses: bool = False, until: int = ALL) -> Iterator[dict[str, Any]]:
    """The log's lines of two stages, of `until` steps. The game collapses at COLLAPSE, and the guard rolls back to BACK."""
    rng = np.random.default_rng(7)
    yield _start()
    yield {
        "kind": "action",
        "step": 0,
        "action": "start",
        "detail": "from animevideov3, 99 % of its parameters",
        "reason": "",
    }
    yield validation(0, rng, False)
    yield {"kind": "bad picture", "step": 0, "path": "photos/<broken>.jpg", "reason": "truncated after 12 kB"}
    path = list(range(EVERY, until + 1, EVERY))
    if collapses and until > COLLAPSE:
        path = [*range(EVERY, COLLAPSE + 1, EVERY), *range(BACK + EVERY, until + 1, EVERY)]
    before = 0
    for index, step in enumerate(path):
        ill = collapses and step > BACK - 100 and index * EVERY < COLLAPSE
        yield step_line(step, index, rng, ill)
        if step % VALIDATE == 0:
            yield validation(step, rng, ill)
        if ill and step % 60 == 0:
            yield alarm(step)
        if collapses and step == COLLAPSE and index * EVERY < COLLAPSE:
            yield {
                "kind": "action",
                "step": step,
                "action": "roll back",
                "detail": f"to step {BACK}",
                "reason": "discriminator wins",
            }
            yield {
                "kind": "action",
                "step": BACK,
                "action": "slow the discriminator",
                "detail": "to 0.5",
                "reason": "it won before",
            }
        before = step
    if collapses and until < COLLAPSE:
        reason = "the discriminator wins for 200 steps, and <no> rescue helped; lower its learning rate"
        yield {"kind": "end", "step": until, "time": BEGUN + 0.45 * until, "reason": reason}
    elif before == ALL:
        yield {"kind": "end", "step": ALL, "time": BEGUN + 0.45 * ALL, "reason": "finished"}


def _action(step: int, action: str, detail: str, reason: str) -> dict[str, Any]:
    return {"kind": "action", "step": step, "action": action, "detail": detail, "reason": reason}


def alarm(step: int) -> dict[str, Any]:
    return {
        "kind": "alarm",
        "step": step,
        "alarm": "discriminator wins",
        "value": 0.993,
        "limit": 0.97,
        "meaning": "The discriminator tells <real> from made crops nearly always; its gradient says little any more.",
        "remedy": "Halve its learning rate & add augmentation, or run with --guard.",
    }


def step_line(step: int, index: int, rng: np.random.Generator, ill: bool = False) -> dict[str, Any]:
    gan = step > FIRST
    jitter = lambda size=0.1: float(np.exp(rng.normal(0, size)))  # noqa: E731
    losses = {"l1": 0.03 * (0.35 + math.exp(-step / 250)) * jitter(0.06) * (3 if ill else 1)}
    gradients = {"generator": 0.4 * jitter(0.3) * (8 if ill else 1), "l1": 2e-3 * jitter()}
    line: dict[str, Any] = {"kind": "step", "step": step, "time": BEGUN + 0.45 * EVERY * (index + 1)}
    line |= {
        "stage": "gan" if gan else "pixels",
        "seconds": 0.41 * jitter(0.04),
        "losses": losses,
        "gradients": gradients,
    }
    line |= {"rates": {"generator": 1e-4 if gan else 2e-4 * 0.5 ** (step // 150)}, "weights": {"l1": 1.0}}
    line |= {"waiting": 0.02 * jitter(0.5), "memory": int(3.1e9 + 4e8 * gan), "skipped": 0.05 if ill else 0.0}
    if gan:
        losses |= {"perceptual": 1.8 * jitter(), "adversary": (9.0 if ill else 0.9) * jitter(0.2)}
        gradients |= {"perceptual": 4e-3 * jitter(), "adversary": (1e-6 if ill else 1.5e-3) * jitter(0.3)}
        gradients["discriminator"] = (0.001 if ill else 0.8) * jitter(0.3)
        line["rates"]["discriminator"] = 1e-4
        line["weights"] |= {"perceptual": 1.0, "adversary": 0.1 * min(1.0, (step - FIRST) / 400)}
        line["game"] = {"loss": 0.02 if ill else 0.6 * jitter(0.2), "real": 0.99, "fake": 0.996}
        if not ill:
            line["game"] |= {"real": 0.72 + rng.normal(0, 0.04), "fake": 0.7 + rng.normal(0, 0.04)}
        if step % 100 == 0:
            line["game"] |= {"known": 0.72, "held_out": 0.25 if ill else 0.69}
    losses["total"] = sum(losses.values())
    return line


def validation(step: int, rng: np.random.Generator, ill: bool) -> dict[str, Any]:
    gan = max(0.0, min(1.0, (step - FIRST) / 1000))
    metrics = {
        "psnr_y": 24.9 + 1.6 * (1 - math.exp(-step / 150)) - 0.8 * gan - 3 * ill + rng.normal(0, 0.04),
        "ssim_y": 0.71 + 0.05 * (1 - math.exp(-step / 150)) - 0.02 * gan - 0.1 * ill,
        "lpips_alex": 0.41 - 0.06 * (1 - math.exp(-step / 150)) - 0.17 * gan + 0.25 * ill + rng.normal(0, 0.003),
        "dists": 0.24 - 0.03 * (1 - math.exp(-step / 150)) - 0.08 * gan + 0.1 * ill,
    }
    health = {"diversity": 0.45 + 0.45 * gan - 0.3 * ill, "checkerboard": 1.01 + 0.1 * ill, "drift": [0.3, -0.4, 0.2]}
    pictures = {name: f"pictures/{index:02d}-{step:08d}.png" for index, name in enumerate(NAMES)}
    game = {"known": 0.72, "held_out": 0.25 if ill else 0.69} if gan > 0 else {}
    line = {"kind": "validation", "step": step, "metrics": metrics, "health": health, "pictures": pictures}
    return {**line, "game": game, "adversarial": gan > 0}


def write_run(folder: Path, collapses: bool = False, until: int = ALL, side: tuple[int, int] = (160, 208)) -> Path:
    """A run's folder with log and pictures, without report."""
    (folder / "pictures").mkdir(parents=True)
    told = list(lines(collapses, until))
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told), encoding="utf-8")
    truths = [_truth(*side, seed) for seed in range(len(NAMES))]
    for index, truth in enumerate(truths):
        _store(folder / f"pictures/{index:02d}-truth.png", truth)
        small = Pil.fromarray(truth).resize((side[1] // 4, side[0] // 4), Pil.Resampling.BICUBIC)
        _store(folder / f"pictures/{index:02d}-input.png", np.asarray(small))
        for line in told:
            if line["kind"] == "validation":
                ill = line["health"]["checkerboard"] > 1.05
                _store(folder / line["pictures"][NAMES[index]], _made(truth, line["step"], ill))
    return folder


def _start() -> dict[str, Any]:
    stage = {"batch": 16, "crop": 128, "learning_rate": 2e-4, "decay": "steps"}
    return {
        "kind": "start",
        "step": 0,
        "time": BEGUN,
        "device": "NVIDIA H100",
        "precision": "bf16",
        "config": {
            "name": "my photos",
            "network": {"arch": "rrdbnet", "scale": 4, "channels": 64, "blocks": 23},
            "stages": [
                {
                    "name": "pixels",
                    "steps": FIRST,
                    "terms": [{"name": "l1", "weight": 1.0}],
                    "adversary": None,
                    **stage,
                },
                {"name": "gan", "steps": ALL - FIRST, "adversary": {"net": "unet", "game": "relativistic"}, **stage},
            ],
            "betas": [0.9, 0.99],
            "seed": 0,
            "compile": False,
        },
        "versions": {"python": "3.11.2", "torch": "2.15.0", "upscale": "0.1.0"},
        "pictures": {"train": 701, "val": 30},
        "bicubic": {"psnr_y": 25.1, "ssim_y": 0.72, "lpips_alex": 0.385, "dists": 0.231},
        "fixed": {
            name: {kind: f"pictures/{index:02d}-{kind}.png" for kind in ("input", "truth")}
            for index, name in enumerate(NAMES)
        },
    }


def _truth(height: int, width: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Shading, edges at many angles and fine texture."""
    rng = np.random.default_rng((seed, height, width))
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([90 + 60 * y / height, 110 + 50 * x / width, np.full(x.shape, 120.0)], axis=2)
    for _ in range(9):
        angle, wide = rng.uniform(0, np.pi), rng.uniform(4, 40)
        side = (x - rng.uniform(0, width)) * np.cos(angle) + (y - rng.uniform(0, height)) * np.sin(angle)
        picture[(side > 0) & (side < wide)] = 0.3 * picture[(side > 0) & (side < wide)] + 0.7 * rng.uniform(0, 255, 3)
    waves = np.sin(x * rng.uniform(0.4, 1.2) + 2 * np.sin(y / 9)) + np.sin(y * rng.uniform(0.3, 1.5))
    return np.clip(picture + 14 * waves[..., None] + rng.normal(0, 4, picture.shape), 0, 255).astype(np.uint8)


def _made(truth: np.ndarray[Any, Any], step: int, ill: bool) -> np.ndarray[Any, Any]:
    """Less and less blurred; ill: with a checkerboard and a tint."""
    height, width = truth.shape[:2]
    shrink = 1 + 3 * math.exp(-step / 350)
    small = Pil.fromarray(truth).resize((round(width / shrink), round(height / shrink)), Pil.Resampling.BICUBIC)
    picture = np.asarray(small.resize((width, height), Pil.Resampling.BICUBIC)).astype(float)
    if ill:
        y, x = np.mgrid[0:height, 0:width]
        picture += np.where((x // 2 + y // 2) % 2, 18, -18)[..., None] + np.array([14, -6, -14])
    return np.clip(picture, 0, 255).astype(np.uint8)


def _store(path: Path, picture: np.ndarray[Any, Any]) -> None:
    Pil.fromarray(picture).save(path)


def test_the_healthy_run_learns_and_ends(tmp_path: Path) -> None:
    records = read_log(write_run(tmp_path / "run", side=(40, 40)) / "log.jsonl")
    assert state_of(records) == ("finished", "")
    assert total_steps(records) == records.step == ALL
    assert [(stage.name, stage.begins, stage.ends) for stage in stages(records)] == [
        ("pixels", 0, FIRST),
        ("gan", FIRST, ALL),
    ]
    lpips = curves(records.validations, "metrics")["lpips_alex"]
    assert lpips.last < 0.6 * lpips.values[0]
    assert not records.alarms


def test_the_other_run_collapses_is_rolled_back_and_recovers(tmp_path: Path) -> None:
    records = read_log(write_run(tmp_path / "run", collapses=True, side=(40, 40)) / "log.jsonl")
    assert {line["alarm"] for line in records.alarms} == {"discriminator wins"}
    stands, given_up = curves(records.steps, "losses")["l1"].branches()
    assert stands.steps == list(range(EVERY, ALL + 1, EVERY))
    assert [(branch.steps[0], branch.steps[-1]) for branch in given_up] == [(BACK, COLLAPSE)]
    assert curves(records.validations, "metrics")["lpips_alex"].last < 0.25
    assert all(
        (tmp_path / "run" / file).is_file() for line in records.validations for file in line["pictures"].values()
    )


if __name__ == "__main__":
    from upscale_training.report.html import write_report

    for kind, ended in (("healthy", ALL), ("collapsing", ALL), ("collapsed", 1360), ("young", 60)):
        print(write_report(write_run(Path(sys.argv[1]) / kind, kind.startswith("collaps"), ended)))
