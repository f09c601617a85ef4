"""The log's lines for TensorBoard: scalars, the fixed pictures, and alarms and actions as text, in the run's tensorboard/."""

import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image as Pil

from upscale_training.report.log import Line, step_of
from upscale_training.report.terminal import sentence
from upscale_training.report.views import curve, curves, number

FOLDER = "tensorboard"

_GROUPS = ("losses", "gradients", "game", "rates", "weights", "metrics", "health")
_SINGLE = ("seconds", "waiting", "memory", "skipped")


@contextmanager
def open_tensorboard(run: Path, warn: Callable[[str], None] | None = None) -> Generator[Callable[[Line], None]]:
    """What takes the lines of a run in the folder `run`. Without tensorboard it says so once, through `warn` (by default on
    stderr), and takes them for nothing. A resumed run hides what was written after the step that it goes on from."""
    board = _Board(run, warn or _say)
    try:
        yield board.tell
    finally:
        board.close()


class _Board:
    """A writer that is made when the first start line comes, since that knows the step to go on from."""

    def __init__(self, run: Path, warn: Callable[[str], None]) -> None:
        self._run, self._warn = run, warn
        self._writer: Any = None
        self._missing = False

    def tell(self, line: Line) -> None:
        if line["kind"] == "start":
            self.close()
            self._open(step_of(line))
        if self._writer is None:
            return
        for tag, value in scalars(line):
            self._writer.add_scalar(tag, value, step_of(line), line.get("time"))
        for name, file in cast(
            "dict[str, str]", line.get("pictures") if line["kind"] == "validation" else None or {}
        ).items():
            self._picture(name, self._run / file, step_of(line))
        if line["kind"] in ("alarm", "action"):
            self._writer.add_text(line["kind"] + "s", sentence(line), step_of(line), line.get("time"))
        if line["kind"] in ("validation", "alarm", "end"):
            self._writer.flush()

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _open(self, step: int) -> None:
        if self._missing:
            return
        try:
            from torch.utils.tensorboard.writer import SummaryWriter
        except ImportError:
            self._missing = True
            self._warn("no TensorBoard files are written: pip install tensorboard (or upscale[train]) for them")
            return
        self._writer = SummaryWriter(str(self._run / FOLDER), purge_step=step + 1 if step else None)

    def _picture(self, name: str, path: Path, step: int) -> None:
        try:
            with Pil.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
        except (OSError, ValueError):
            return
        self._writer.add_image(f"pictures/{name}", pixels, step, dataformats="HWC")


def _say(text: str) -> None:
    print(f"upscale-train: {text}", file=sys.stderr)


def scalars(line: Line) -> Iterator[tuple[str, float]]:
    """The numbers of a line under TensorBoard's names: losses/l1, metrics/psnr_y, run/seconds. Those that are none stay NaN."""
    for group in _GROUPS:
        yield from ((f"{group}/{name}", held.last) for name, held in curves([line], group).items())
    health = line.get("health")
    drift = cast("dict[str, Any]", health).get("drift") if isinstance(health, dict) else None
    for channel, value in zip("RGB", cast("list[object]", drift) if isinstance(drift, list) else (), strict=False):
        yield f"health/drift {channel}", number(value)
    yield from ((f"run/{name}", curve([line], name).last) for name in _SINGLE if name in line)
