"""Networks against each other on pictures that none was trained on: how near to the original, and what was added to it.

    python benchmarks/networks.py VAL/ --set14 Set14/x4 --models bicubic x4plus photo-fast
    python benchmarks/networks.py VAL/ --preset video --scale 2 --models animevideov3 video-fast

Inputs are small for two reasons: `clean`, MATLAB's imresize, and `noise 4, JPEG 60`, the same with colored Gaussian noise of
σ 4 and libjpeg's quality 60 (4:2:0). Color fix off. LPIPS, DISTS: lower is better. Checkerboard: see
upscale_training.health.checkerboard, 1 is none. Shift: the mean over the pictures of the largest shift of a color's mean, in
8-bit levels. Flat: what is added, RMS in levels, where the original is flat to half a level; bicubic's is what the input brings.
`--middle N`: of each picture only the middle N×N pixels of the original, since LPIPS (vgg) and DISTS of whole pictures take hours.
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from common import save, table

import upscale
from upscale.engines.choose import PrecisionName
from upscale.image import to_float
from upscale_training.data.pictures import Pixels
from upscale_training.degrade import Degradation
from upscale_training.degrade.combine import chain
from upscale_training.degrade.noise import gaussian_noise
from upscale_training.degrade.presets import PRESETS, bicubic
from upscale_training.degrade.stills import jpeg
from upscale_training.evaluate import BICUBIC, Case, Enlarge, degraded, evaluate, open_enlarger, paired
from upscale_training.health.checkerboard import checkerboard
from upscale_training.health.pictures import drifts
from upscale_training.judge import tensor
from upscale_training.metrics.suite import Measure, MetricName, open_metrics

SEED = 1107
METRICS: tuple[MetricName, ...] = ("psnr_y", "lpips_alex", "lpips_vgg", "dists")
_FLAT = 0.5 / 255
_ENOUGH = 200
"""So many flat pixels at least, or a picture says nothing of flat areas."""


def noise_and_jpeg(scale: int) -> Degradation:
    """`noise 4, JPEG 60`."""
    return chain(bicubic(scale), gaussian_noise(sigma=4.0, gray=0.0), jpeg(quality=60))


def sets(val: Path, set14: Path | None, preset: str | None, scale: int) -> dict[str, list[Case]]:
    if preset:
        return {f"val, {preset}": degraded(val, PRESETS[preset], scale, SEED)}
    found = {"val, clean": degraded(val, bicubic, scale, SEED)}
    found["val, noise 4, JPEG 60"] = degraded(val, noise_and_jpeg, scale, SEED)
    if set14:
        found["Set14, clean"] = paired(set14)
        found["Set14, noise 4, JPEG 60"] = [_spoilt(case, index) for index, case in enumerate(paired(set14))]
    return found


def _spoilt(case: Case, index: int) -> Case:
    def read() -> tuple[Pixels, Pixels]:
        small, original = case.read()
        chance = np.random.default_rng([SEED, index])
        worse = chain(gaussian_noise(sigma=4.0, gray=0.0), jpeg(quality=60))(to_float(small), chance)
        return np.rint(worse * 255).astype(np.uint8), original

    return Case(case.name, read)


def middle(case: Case, side: int) -> Case:
    """The middle of a case, up to `side` pixels of the original in each direction. Both are cut at the same place: held_out.middle
    of each would be half a small pixel apart where what is cut away from it is odd.
    """

    def read() -> tuple[Pixels, Pixels]:
        small, original = case.read()
        scale = original.shape[0] // small.shape[0]
        top, left = (max(0, have - side // scale) // 2 for have in small.shape[:2])
        return _cut(small, top, left, side // scale), _cut(original, top * scale, left * scale, side)

    return Case(case.name, read, case.needed)


def _cut(picture: Pixels, top: int, left: int, side: int) -> Pixels:
    return np.ascontiguousarray(picture[top:, left:][:side, :side])


class Artifacts:
    """What metrics do not mind, gathered from picture to picture."""

    def __init__(self) -> None:
        self._made: list[Pixels] = []
        self._true: list[Pixels] = []
        self._shifts: list[float] = []
        self._flat: list[float] = []

    def watch(self, _name: str, small: Pixels, made: Pixels, true: Pixels, _values: Mapping[Any, float]) -> None:
        self._made.append(made)
        self._true.append(true)
        shift = drifts([_tensor(made)], [_tensor(small)])[0]
        self._shifts.append(max(map(abs, shift)))
        if (noise := _noise_where_flat(made, true)) is not None:
            self._flat.append(noise)

    def found(self, scale: int) -> dict[str, float]:
        grid = checkerboard([_tensor(one) for one in self._made], [_tensor(one) for one in self._true], scale)
        flat = float(np.mean(self._flat)) if self._flat else math.nan
        return {"checkerboard": round(grid, 3), "shift": round(float(np.mean(self._shifts)), 2), "flat": round(flat, 2)}


def _tensor(picture: Pixels) -> Any:
    return tensor(np.ascontiguousarray(picture[..., :3]), torch.device("cpu"))


def _noise_where_flat(made: Pixels, true: Pixels) -> float | None:
    """RMS, in levels, of what a 7×7 window's mean does not explain, where the original varies by less than half a level."""
    flat = (_spread(to_float(true)) < _FLAT).all(-1)
    if flat.sum() < _ENOUGH:
        return None
    return float(255 * np.sqrt(np.mean(_spread(to_float(made))[flat] ** 2)))


def _spread(picture: Any) -> Any:
    mean, squares = cv2.blur(picture, (7, 7)), cv2.blur(picture * picture, (7, 7))
    return np.sqrt(np.maximum(squares - mean * mean, 0))


def measured(
    model: str,
    scale: int,
    cases: Mapping[str, Sequence[Case]],
    measures: Mapping[MetricName, Measure],
    precision: PrecisionName,
) -> list[dict[str, Any]]:
    enlarge = opened(model, precision)
    rows = list[dict[str, Any]]()
    for name, some in cases.items():
        artifacts = Artifacts()
        report = evaluate(enlarge, some, measures, watch=artifacts.watch)
        values = {metric: round(value, 2 if metric == "psnr_y" else 4) for metric, value in report.mean.items()}
        rows.append({"set": name, "network": Path(model).stem, **values, **artifacts.found(scale)})
        print(rows[-1], flush=True)
    return rows


def opened(model: str, precision: PrecisionName = "fp32") -> Enlarge:
    """A model as `upscale --scale` uses it: one of another scale is resampled to what is asked."""
    if model == BICUBIC:
        return open_enlarger(model)[0]
    return upscale.load(model, precision=precision, color_fix=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("val", type=Path, help="a folder of originals")
    parser.add_argument("--set14", type=Path, help="a folder with lr/ and hr/, clean")
    parser.add_argument(
        "--preset", choices=PRESETS, help="spoil VAL by this instead, such as `video`, and by nothing else"
    )
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--middle", type=int, metavar="N", help="only the middle N×N pixels of each original")
    parser.add_argument("--precision", choices=("fp32", "bf16", "auto"), default="fp32")
    parser.add_argument("--keep", action="store_true", help="the results in results/networks-xSCALE….json")
    options = parser.parse_args()
    measures, missing = open_metrics(METRICS)
    if missing:
        parser.error("; ".join(missing))
    cases: Mapping[str, Sequence[Case]] = sets(options.val, options.set14, options.preset, options.scale)
    if options.middle:
        cases = {name: [middle(case, options.middle) for case in some] for name, some in cases.items()}
    rows = [
        row for model in options.models for row in measured(model, options.scale, cases, measures, options.precision)
    ]
    rows.sort(key=lambda row: list(cases).index(row["set"]))
    print(table(rows))
    if options.keep:
        name = f"networks-x{options.scale}" + (f"-{options.preset}" if options.preset else "")
        save(name, rows, precision=options.precision, middle=options.middle)


if __name__ == "__main__":
    main()
