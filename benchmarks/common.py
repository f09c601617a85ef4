"""What the benchmarks share: pictures as float arrays, PSNR, timing, and where results are kept."""

import datetime
import json
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from upscale.engines.machine import has_amx, processor_name
from upscale.image import Floats, to_float
from upscale.media.reading.decode import open_file

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
PICTURE = ROOT / "docs" / "budgie.png"


def picture(path: Path, width: int | None = None, height: int | None = None) -> Floats:
    """(H, W, 3) float32 in [0, 1], mirrored out to the given size where the file is smaller."""
    with open_file(path) as source:
        (given,) = source.pictures()
        pixels = to_float(np.concatenate([band.rgb for band in given.bands()]))
    if width is None or height is None:
        return pixels
    more = max(0, height - pixels.shape[0]), max(0, width - pixels.shape[1])
    return np.pad(pixels, ((0, more[0]), (0, more[1]), (0, 0)), mode="symmetric")[:height, :width]


def psnr(result: Floats, reference: Floats) -> float:
    """dB for a peak of 1."""
    error = float(np.mean((result.astype(np.float64) - reference.astype(np.float64)) ** 2))
    return 200.0 if error == 0 else -10 * np.log10(error)


def off_by_more_than_one(result: Floats, reference: Floats) -> float:
    """Share of 8-bit values that differ by more than one level."""
    levels = np.rint(np.clip(result, 0, 1) * 255) - np.rint(np.clip(reference, 0, 1) * 255)
    return float(np.mean(np.abs(levels) > 1))


def alternate(ways: dict[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Seconds of each way, run in turn after one warm-up each, so that a noisy machine is noisy for all."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def median(values: list[float]) -> float:
    return statistics.median(values)


def kind(device: str) -> str:
    """How results of a device are named: processors with AMX are another world, so theirs stand beside the others'."""
    return f"{device}-amx" if device in ("auto", "cpu") and has_amx() else device


def save(name: str, rows: list[dict[str, Any]], **facts: Any) -> None:
    """Keeps a table as benchmarks/results/NAME.json, with the machine, the commit and the day on which it was measured."""
    RESULTS.mkdir(exist_ok=True)
    machine = {"processor": processor_name(), "python": platform.python_version(), **_commit(), **facts}
    (RESULTS / f"{name}.json").write_text(
        json.dumps({"machine": machine, "rows": rows}, indent=1) + "\n", encoding="utf-8"
    )


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(str(row[key]) for key in head) + " |" for row in rows]
    return "\n".join(lines)


def _commit() -> dict[str, str]:
    """What was measured, and when; a "+" where files were changed since the commit."""
    told = [
        subprocess.run(["git", *words], capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    ]
    return {
        "commit": told[0] + ("+" if told[1] else ""),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
