"""What the color fix does: to 50 seeded flat colors, and to real pictures shrunk by four, with and without it.

    python benchmarks/colors.py [--models x4plus animevideov3] [--pictures ../shared/data/val]

Errors are in 8-bit levels. `mean`: how far the mean of a channel is off, away from the border for flat colors; `rmse`:
against the original picture.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from common import ROOT, picture, save, table
from PIL import Image as Pil

from upscale.chain import Settings
from upscale.colorfix import Shift
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.image import Array, Image, from_float
from upscale.zoo import load

_COLORS, _SIDE, _RIM, _LARGEST = 50, 64, 16, 512


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["x4plus", "animevideov3"])
    parser.add_argument("--pictures", type=Path, default=ROOT.parent / "shared" / "data" / "val")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for model in options.models:
        checkpoint = load(model)
        plain, fixing = (Enlarger(checkpoint, Wish(), Settings(color_fix=fix)) for fix in (False, True))
        rows.append({"model": model, "input": f"{_COLORS} flat colors", **flat(plain, fixing)})
        rows.append(
            {"model": model, "input": f"{options.pictures.name}, shrunk ×1/4", **real(plain, fixing, options.pictures)}
        )
    print(table(rows))
    save("colors", rows)


def flat(plain: Enlarger, fixing: Enlarger) -> dict[str, Any]:
    errors: tuple[list[float], list[float]] = [], []
    for color in np.random.default_rng(0).integers(0, 256, (_COLORS, 3), np.uint8):
        given = Image(np.broadcast_to(color, (_SIDE, _SIDE, 3)).copy())
        for enlarger, found in zip((plain, fixing), errors, strict=True):
            rim = _RIM * enlarger.scale
            middle = enlarger.enlarge(given, enlarger.scale).rgb[rim:-rim, rim:-rim]
            found.append(float(np.abs(middle.mean((0, 1), dtype=float) - color).max()))
    unknown = dict.fromkeys(("rmse", "error not larger", "put back, largest mean"), "")
    return {"mean, worst": shown(max, errors), "mean, average": shown(np.mean, errors), **unknown}


def real(plain: Enlarger, fixing: Enlarger, folder: Path) -> dict[str, Any]:
    means: tuple[list[float], list[float]] = [], []
    rmse: tuple[list[float], list[float]] = [], []
    shifts: list[float] = []
    for path in sorted(folder.glob("*.webp")):
        truth, given = truth_and_input(path, plain.scale)
        for index, enlarger in enumerate((plain, fixing)):
            shift = Shift()
            bands = enlarger.bands(Image(given), enlarger.scale, None, shift)
            result = np.concatenate([band.rgb for band in bands]).astype(float)
            means[index].append(float(np.abs(result.mean((0, 1)) - given.mean((0, 1))).max()))
            rmse[index].append(float(np.sqrt(((result - truth) ** 2).mean())))
        shifts.append(shift.mean)
    better = sum(after <= before for before, after in zip(*rmse, strict=True))
    return {
        "mean, worst": shown(max, means),
        "mean, average": shown(np.mean, means),
        "rmse": shown(np.mean, rmse),
        "error not larger": f"{better} of {len(shifts)}",
        "put back, largest mean": f"{max(shifts):.1f}",
    }


def truth_and_input(path: Path, scale: int) -> tuple[Array, Array]:
    """At most 512×512 of a picture, and the same reduced by `scale` (bicubic)."""
    whole = from_float(picture(path), np.uint8)
    height, width = (min(side, _LARGEST) // scale * scale for side in whole.shape[:2])
    truth = whole[:height, :width]
    small = Pil.fromarray(truth).resize((width // scale, height // scale), Pil.Resampling.BICUBIC)
    return truth.astype(float), np.asarray(small)


def shown(summary: Any, pair: tuple[list[float], list[float]]) -> str:
    return f"{summary(pair[0]):.2f} → {summary(pair[1]):.2f}"


if __name__ == "__main__":
    main()
