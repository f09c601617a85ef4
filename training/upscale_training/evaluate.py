"""Measures a model on pictures with their originals: `report = evaluate_command("x4plus", pairs=Path("Set5/x4"))`.

The color fix is off and the network runs in fp32, since what is measured is the network. PSNR and SSIM are taken without
`scale` pixels at the border, all other metrics on whole pictures; results are rounded to the levels of the input.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import upscale
from upscale.engines.choose import PrecisionName
from upscale.image import from_float, to_float
from upscale_training.backbones import BackboneName
from upscale_training.data.pictures import Pixels, list_pictures, read_picture
from upscale_training.data.samples import degraded as degraded_twin
from upscale_training.degrade import Degradation, Preset
from upscale_training.degrade.checked import made
from upscale_training.degrade.resize import imresize
from upscale_training.devices import chosen_device
from upscale_training.errors import DataError
from upscale_training.metrics.suite import METRICS, Measure, MetricName, open_metrics

BICUBIC = "bicubic"
"""The name of no model, but of MATLAB's bicubic interpolation: what every network must surpass."""

Enlarge = Callable[[Pixels, int], Pixels]
"""(small picture, scale) → a picture whose sides are `scale` times as large, of the same dtype."""


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One picture to measure on. `read` gives the small picture and the original, whose sides are `scale` times as large.

    `needed`: whether all ends where it cannot be read, as for a benchmark; else it is left out with a warning.
    """

    name: str
    read: Callable[[], tuple[Pixels, Pixels]]
    needed: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """One picture's values. NaN where a metric can say nothing of it."""

    name: str
    values: dict[MetricName, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured, of each picture, and what was not, in `warnings`."""

    pictures: tuple[Row, ...]
    warnings: tuple[str, ...] = ()
    mean: dict[MetricName, float] = field(init=False)

    def __post_init__(self) -> None:
        names = self.pictures[0].values if self.pictures else ()
        object.__setattr__(self, "mean", {name: _mean([row.values[name] for row in self.pictures]) for name in names})


Watch = Callable[[str, Pixels, Pixels, Pixels, Mapping[MetricName, float]], None]
"""Called after each picture with its name, the small picture, the result, the original and the values."""


def evaluate_command(
    model: str,
    *,
    pairs: Path | None = None,
    hr: Path | None = None,
    preset: Preset | None = None,
    scale: int | None = None,
    seed: int = 0,
    device: str = "auto",
    precision: PrecisionName = "fp32",
    metrics: Sequence[MetricName] = METRICS,
    backbones: Mapping[BackboneName, Path] | None = None,
    watch: Watch | None = None,
) -> Report:
    """Measures a known model, a file, or "bicubic" on `pairs` (a folder with lr/ and hr/), or on the pictures of the folder
    `hr`, cropped to multiples of the scale and degraded by `preset`.

    `scale`: needed for bicubic with `hr` alone. `device`: auto, cpu, cuda, cuda:N or mps, for the model and the metrics.
    Raises DataError for pictures that do not fit, ModelError and EngineError for a model that does not.
    """
    measures, warnings = open_metrics(metrics, chosen_device(device), backbones)
    enlarge, own_scale = open_enlarger(model, device, precision)
    if own_scale and scale and own_scale != scale:
        raise DataError(f"{model} enlarges ×{own_scale}, not ×{scale}")
    if (pairs is None) == (hr is None):
        raise DataError("give pairs (a folder with lr/ and hr/), or a folder of originals and a degradation")
    if pairs is not None:
        cases = paired(pairs)
    elif hr is None or preset is None or not (scale or own_scale):
        raise DataError("a folder of originals needs a degradation, and bicubic a scale")
    else:
        cases = degraded(hr, preset, own_scale or scale or 1, seed)
    return evaluate(enlarge, cases, measures, warnings, watch)


def evaluate(
    enlarge: Enlarge,
    cases: Sequence[Case],
    measures: Mapping[MetricName, Measure],
    warnings: Sequence[str] = (),
    watch: Watch | None = None,
) -> Report:
    """One picture after the other. `warnings` come first in the report's own. Raises what `enlarge` and reading raise, and
    DataError where no picture is left."""
    rows, said, unread = list[Row](), list(warnings), list[str]()
    for case in cases:
        try:
            lr, original = case.read()
        except DataError as error:
            if case.needed:
                raise
            unread.append(str(error))
            continue
        scale = scale_between(lr, original, case.name)
        result = enlarge(lr, scale)
        values, trouble = _values(measures, result, original, scale)
        said += [f"{case.name}: {line}" for line in trouble]
        rows.append(Row(case.name, values))
        if watch:
            watch(case.name, lr, result, original, values)
    if unread and not rows:
        raise DataError(f"none of the {len(unread)} pictures can be read; the first: {unread[0]}")
    return Report(tuple(rows), (*said, *(f"left out: {line}" for line in unread)))


def open_enlarger(model: str, device: str = "auto", precision: PrecisionName = "fp32") -> tuple[Enlarge, int | None]:
    """A model as a function, and its scale; None for bicubic, which has any. Raises ModelError, EngineError."""
    if model == BICUBIC:
        return bicubic, None
    upscaler = upscale.load(model, device=device, precision=precision, color_fix=False)

    def enlarge(lr: Pixels, scale: int) -> Pixels:
        if scale != upscaler.scale:
            raise DataError(f"{model} enlarges ×{upscaler.scale}, but the originals are ×{scale}")
        return upscaler(lr)

    return enlarge, upscaler.scale


def bicubic(lr: Pixels, scale: int) -> Pixels:
    """MATLAB's imresize, rounded to the input's levels."""
    size = lr.shape[0] * scale, lr.shape[1] * scale
    return from_float(imresize(to_float(lr), size), lr.dtype)


def paired(folder: Path) -> list[Case]:
    """The pictures of folder/lr and folder/hr that have the same name, whatever its ending. Raises DataError."""
    small, large = _by_stem(folder / "lr"), _by_stem(folder / "hr")
    for there, other, missing in (
        ("lr", "hr", small.keys() - large.keys()),
        ("hr", "lr", large.keys() - small.keys()),
    ):
        if missing:
            some = ", ".join(sorted(missing)[:3]) + (" …" if len(missing) > 3 else "")
            raise DataError(
                f"{folder}: {len(missing)} of {there}/ have no partner in {other}/: {some}; names must agree"
            )
    return [Case(stem, _Pair(small[stem], path)) for stem, path in large.items()]


def degraded(folder: Path, preset: Preset, scale: int, seed: int = 0) -> list[Case]:
    """The pictures of a folder as originals; the small ones are made by the preset, rounded to 8 bits. Same seed, same
    pictures. Those that cannot be used come last. Raises DataError, and RecipeError for a preset that does not work."""
    found, degradation = list_pictures([folder], 16 * scale), made(preset, scale)
    usable = [
        Case(entry.path.stem, _Degraded(entry.path, degradation, scale, (seed, index)), needed=False)
        for index, entry in enumerate(found.entries)
    ]
    return usable + [Case(bad.path.stem, _Refused(bad.reason), needed=False) for bad in found.bad]


def scale_between(lr: Pixels, hr: Pixels, name: str) -> int:
    """The whole number between the sides. Raises DataError where there is none."""
    scale = round(hr.shape[0] / lr.shape[0])
    if scale < 1 or hr.shape[:2] != (lr.shape[0] * scale, lr.shape[1] * scale):
        raise DataError(f"{name}: lr is {_size(lr)} and hr {_size(hr)}, no whole multiple of it; crop the original")
    return scale


def to_json(report: Report) -> str:
    """`{"mean": {"psnr_y": …}, "pictures": [{"name": …, "psnr_y": …}]}`. What is no finite number is null: the PSNR of equal
    pictures is infinite."""
    rows = [{"name": row.name, **_plain(row.values)} for row in report.pictures]
    return json.dumps({"mean": _plain(report.mean), "pictures": rows}, indent=1, ensure_ascii=False, allow_nan=False)


def to_table(report: Report) -> str:
    """For a terminal: a line for each picture, and the mean."""
    rows = [*report.pictures, Row("mean", report.mean)]
    cells = [["", *report.mean], *([row.name, *map(shown, row.values.items())] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["  ".join([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])]) for line in cells]
    return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class _Pair:
    lr: Path
    hr: Path

    def __call__(self) -> tuple[Pixels, Pixels]:
        return read_picture(self.lr), read_picture(self.hr)


@dataclass(frozen=True, slots=True)
class _Degraded:
    path: Path
    degradation: Degradation
    scale: int
    seed: tuple[int, int]

    def __call__(self) -> tuple[Pixels, Pixels]:
        whole = read_picture(self.path)
        height, width = (side // self.scale * self.scale for side in whole.shape[:2])
        original = np.ascontiguousarray(whole[:height, :width])
        rng = np.random.default_rng(self.seed)
        return degraded_twin(to_float(original), self.degradation, self.scale, rng), original


@dataclass(frozen=True, slots=True)
class _Refused:
    reason: str

    def __call__(self) -> tuple[Pixels, Pixels]:
        raise DataError(self.reason)


def _values(
    measures: Mapping[MetricName, Measure], result: Pixels, original: Pixels, border: int
) -> tuple[dict[MetricName, float], list[str]]:
    sr, hr = to_float(result), to_float(original)
    values: dict[MetricName, float] = {}
    trouble: list[str] = []
    for name, measure in measures.items():
        try:
            values[name] = measure(sr, hr, border)
        except (ValueError, RuntimeError) as error:  # too small for the metric: torch says that by RuntimeError
            values[name] = math.nan
            trouble.append(f"{name} is not measured ({str(error).splitlines()[0]})")
    return values, trouble


def _by_stem(folder: Path) -> dict[str, Path]:
    """Raises DataError where two names differ by their ending alone."""
    found: dict[str, Path] = {}
    for entry in list_pictures([folder], 1).entries:
        if entry.path.stem in found:
            raise DataError(f"{entry.path} and {found[entry.path.stem].name} have the same name; remove one of them")
        found[entry.path.stem] = entry.path
    return found


def _mean(values: Sequence[float]) -> float:
    """Of those that are numbers."""
    numbers = [value for value in values if not math.isnan(value)]
    return sum(numbers) / len(numbers) if numbers else math.nan


def _plain(values: Mapping[MetricName, float]) -> dict[str, Any]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def shown(item: tuple[MetricName, float]) -> str:
    """A metric's value as text, with as many digits as it deserves."""
    name, value = item
    return "–" if math.isnan(value) else f"{value:.{2 if name.startswith(('psnr', 'niqe')) else 4}f}"


def _size(pixels: Pixels) -> str:
    return f"{pixels.shape[1]}×{pixels.shape[0]}"
