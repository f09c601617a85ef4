"""Strips of fixed pictures over time: what they were, what the network made of them at some steps, and the truth."""

import base64
import functools
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image as Pil

from upscale_training.data.detail import busiest
from upscale_training.report.log import Line, Records, step_of

COLUMNS = 7
"""Steps in a strip, beside the input and the truth: so many are seen at once in a window of 1,280 pixels."""

TILE = 128
"""Largest side of what is cut out of a picture, in pixels."""

_ROWS = 6
_MOST_BYTES = 3_000_000
_MOST_PIXELS = 60_000_000
_QUALITIES = (None, 92, 80, 60)


@dataclass(frozen=True, slots=True)
class Cell:
    """A picture: `step` None for the input and the truth; `source` a data URI, or None where it cannot be shown."""

    title: str
    step: int | None
    source: str | None


@dataclass(frozen=True, slots=True)
class Strip:
    """One picture over time. `width`, `height`: of all its cells, in pixels."""

    name: str
    width: int
    height: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class _Column:
    title: str
    step: int | None
    files: dict[str, str]
    """Name of a picture → its file, relative to the run's folder."""


@dataclass(frozen=True, slots=True)
class _Crop:
    """Which pixels of a picture of (width, height) are shown; pictures of other sizes are brought to that size first."""

    width: int
    height: int
    left: int
    top: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        return self.left, self.top, self.left + min(TILE, self.width), self.top + min(TILE, self.height)


def strips(run: Path, records: Records) -> list[Strip]:
    """The strips of a run, encoded without loss if together they stay below 3 MB, else as well as they can.

    Pictures lie where the log's validation lines say, relative to the run's folder. Inputs (already enlarged, or small) and
    truths are listed in the start line, "fixed": {name: {"input": file, "truth": file}}, or lie beside what was made:
    pictures/00-00000500.png has pictures/00-input.png and pictures/00-truth.png.
    """
    columns = _columns(run, records)
    names = list(dict.fromkeys(name for column in columns if column.step is not None for name in column.files))[:_ROWS]
    for quality in _QUALITIES:
        found = [strip for name in names if (strip := _strip(run, name, columns, quality)) is not None]
        if sum(len(cell.source or "") for strip in found for cell in strip.cells) < _MOST_BYTES * 4 // 3:
            return found
    return []


def thinned(steps: Sequence[int], most: int = COLUMNS) -> list[int]:
    """The first, the last, and those between that lie most evenly; all where there are no more than `most`."""
    if len(steps) <= most:
        return list(steps)
    wanted = [steps[0] + (steps[-1] - steps[0]) * index / (most - 1) for index in range(most)]
    near = {min(steps, key=lambda step: (abs(step - target), step)) for target in wanted[1:-1]}
    return sorted({steps[0], *near, steps[-1]})


def _columns(run: Path, records: Records) -> list[_Column]:
    told: dict[int, dict[str, str]] = {}
    for line in records.validations:  # the later one where a roll back led to the same step again
        if files := _files(line):
            told[step_of(line)] = files
    steps = thinned(sorted(told))
    made = {name: file for files in told.values() for name, file in files.items()}
    titles = {step: "start" if step == 0 else f"step {step:,}" for step in steps}
    shown = [_Column(titles[step], step, told[step]) for step in steps]
    known = {kind: _fixed(run, records, made, kind) for kind in ("input", "truth")}
    return [_Column("input", None, known["input"]), *shown, _Column("truth", None, known["truth"])]


def _files(line: Line) -> dict[str, str]:
    said = line.get("pictures")
    listed = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    return {name: file for name, file in listed.items() if isinstance(file, str)}


def _fixed(run: Path, records: Records, made: dict[str, str], kind: str) -> dict[str, str]:
    """What does not change, input or truth: beside what was made, where the start line does not list it."""
    said = records.start.get("fixed")
    listed = cast("dict[str, Any]", said) if isinstance(said, dict) else {}
    beside = {name: f"{file.rpartition('-')[0]}-{kind}.png" for name, file in made.items()}
    found = {name: file for name, file in beside.items() if (run / file).is_file()}
    for name, files in listed.items():
        file = cast("dict[str, Any]", files).get(kind) if isinstance(files, dict) else None
        if isinstance(file, str):
            found[name] = file
    return found


def _strip(run: Path, name: str, columns: Sequence[_Column], quality: int | None) -> Strip | None:
    paths = [_inside(run, column.files[name]) if name in column.files else None for column in columns]
    chosen = next((crop for path in reversed(paths) if path is not None and (crop := _crop(*_stamped(path)))), None)
    if chosen is None:
        return None
    left, top, right, bottom = chosen.box
    cells = [
        Cell(column.title, column.step, _tile(*_stamped(path), chosen, quality) if path is not None else None)
        for column, path in zip(columns, paths, strict=True)
    ]
    while cells and cells[0].step is None and cells[0].source is None:
        del cells[0]
    while cells and cells[-1].step is None and cells[-1].source is None:
        del cells[-1]
    return Strip(name, right - left, bottom - top, tuple(cells))


def _inside(run: Path, file: str) -> Path | None:
    """The file, if it lies in the run's folder."""
    path = (run / file).resolve()
    return path if path.is_relative_to(run.resolve()) else None


def _stamped(path: Path) -> tuple[Path, int]:
    """A path with the time of its last change, by which a remembered picture is known to be the same."""
    try:
        return path, path.stat().st_mtime_ns
    except OSError:
        return path, 0


def _opened(path: Path) -> Pil.Image | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Pil.DecompressionBombWarning)
            with Pil.open(path) as file:
                return file.convert("RGB") if file.width * file.height <= _MOST_PIXELS else None
    except (OSError, ValueError, SyntaxError, Pil.DecompressionBombError):
        return None


@functools.lru_cache(maxsize=64)
def _crop(path: Path, _changed: int) -> _Crop | None:
    """Where a picture is most detailed; None where it cannot be read."""
    picture = _opened(path)
    if picture is None:
        return None
    left, top = busiest(np.asarray(picture.convert("L")), TILE)
    return _Crop(picture.width, picture.height, left, top)


@functools.lru_cache(maxsize=512)
def _tile(path: Path, _changed: int, crop: _Crop, quality: int | None) -> str | None:
    """The crop as a data URI, WebP: without loss, or of a quality. Pictures of another size are resized, bicubic."""
    picture = _opened(path)
    if picture is None:
        return None
    if picture.size != (crop.width, crop.height):
        picture = picture.resize((crop.width, crop.height), Pil.Resampling.BICUBIC)
    file = io.BytesIO()
    how: dict[str, Any] = {"lossless": True, "quality": 40} if quality is None else {"quality": quality}
    picture.crop(crop.box).save(file, "WEBP", method=3, **how)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode()
