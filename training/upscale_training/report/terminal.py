"""The run in a terminal: a bar with what matters under a person's eyes, one line now and then in a log file."""

import math
import sys
from types import TracebackType
from typing import Any, Self, TextIO

from upscale_training.report.log import Line, records_of, step_of
from upscale_training.report.views import curves, number, pace, state_of, total_steps
from upscale_training.report.words import amount, duration, named, share

_RECENT, _LINES, _BAD_TOLD = 20, 50, 10


class Terminal:
    """Takes the log's lines with `tell`. Where somebody watches (stderr is a terminal) it draws a bar, and writes what is
    worth knowing above it; else it writes a line every `every` steps (by default fifty in a run), validations, and alarms.
    """

    def __init__(self, stream: TextIO | None = None, watched: bool | None = None, every: int | None = None) -> None:
        self._stream = stream or sys.stderr
        self._watched = self._stream.isatty() if watched is None else watched
        self._every = every
        self._start: Line = {}
        self._steps: list[Line] = []
        self._told = -math.inf
        self._bad = 0
        self._bar: Any = None

    def tell(self, line: Line) -> None:
        """Shows one line of the log, as far as it is worth it."""
        match line["kind"]:
            case "start":
                self._begin(line)
            case "step":
                self._step(line)
            case "bad picture":
                self._bad += 1
                if self._bad <= _BAD_TOLD:
                    more = " (further ones: see the report)" if self._bad == _BAD_TOLD else ""
                    self._write(f"skipped {line.get('path')}: {line.get('reason')}{more}")
            case "end":
                self._end(line)
            case _:
                self._write(sentence(line))

    def close(self) -> None:
        """Leaves the bar where it stands."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _begin(self, line: Line) -> None:
        self.close()
        self._start, self._steps, self._told = line, [], step_of(line)
        total = total_steps(records_of([line]))
        if self._every is None:
            self._every = max(1, (total or 0) // _LINES)
        for warning in line.get("warnings") or ():
            self._write(f"warning: {warning}")
        if not self._watched:
            going_on = f"from step {step_of(line):,} " if step_of(line) else ""
            self._write(f"training {going_on}to step {total:,}" if total else "training")
            return
        from tqdm import tqdm

        form = "{desc}{n_fmt}/{total_fmt} {percentage:3.0f}%|{bar:12}| {elapsed}<{remaining}{postfix}"
        self._bar = tqdm(
            total=total, initial=step_of(line), file=self._stream, bar_format=form, dynamic_ncols=True, mininterval=0.0
        )

    def _step(self, line: Line) -> None:
        self._steps = [*self._steps[-_RECENT + 1 :], line]
        said = self._said(line)
        if self._bar is not None:
            self._bar.set_description_str(f"{line.get('stage')} " if line.get("stage") else "", refresh=False)
            self._bar.set_postfix_str(said, refresh=False)
            self._bar.update(step_of(line) - self._bar.n)  # a roll back goes back
            self._bar.refresh()
        elif step_of(line) - self._told >= (self._every or 1) or step_of(line) < self._told:
            self._told = step_of(line)
            left = pace(records_of([self._start, *self._steps])).left_seconds
            self._write(f"step {step_of(line):,}, {said}" + (f", {duration(left)} left" if left > 0 else ""))

    def _said(self, line: Line) -> str:
        speed = pace(records_of([self._start, *self._steps])).pictures_per_second
        parts = [f"{amount(speed)} img/s"] if math.isfinite(speed) else []
        parts += [f"{name} {amount(curve.last)}" for name, curve in curves([line], "losses").items() if name != "total"]
        game = curves([line], "game")
        if "real" in game and "fake" in game:
            parts.append(f"D real {share(game['real'].last)} fake {share(game['fake'].last)}")
        if number(line.get("skipped")) > 0:
            parts.append(f"skipped {share(number(line['skipped']))}")
        return ", ".join(parts)

    def _end(self, line: Line) -> None:
        state, reason = state_of(records_of([line]))
        self.close()
        self._write(f"{state} at step {step_of(line):,}" + (f": {reason}" if reason else ""))

    def _write(self, text: str) -> None:
        if not text:
            return
        if self._bar is not None:
            self._bar.clear()
        print(f"upscale-train: {text}", file=self._stream, flush=True)
        if self._bar is not None:
            self._bar.refresh()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def sentence(line: Line) -> str:
    """A validation, an alarm or an action in one line of text."""
    at = f"step {step_of(line):,}"
    match line["kind"]:
        case "validation":
            scores = (f"{named(name)} {amount(curve.last)}" for name, curve in curves([line], "metrics").items())
            said = ", ".join(scores)
            return f"{at}: {said}" if said else ""
        case "alarm":
            advice = f" What to do: {line['remedy']}" if line.get("remedy") else ""
            return f"{at}: ALARM {line.get('alarm')}: {line.get('meaning') or ''}{advice}"
        case "action":
            detail, reason = line.get("detail"), line.get("reason")
            return (
                f"{at}: {line.get('action')}" + (f", {detail}" if detail else "") + (f" ({reason})" if reason else "")
            )
        case _:
            return ""
