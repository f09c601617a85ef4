"""log.jsonl, the memory of a run: one JSON object a line, written as things happen and read again whatever became of it.

The first word of a line is its kind: start, step, validation, alarm, action, bad picture, end. Numbers that are none (NaN,
infinite) are null in the file and NaN when read; a missing key was not measured. A resumed run writes another start line,
with the step that it goes on from: what came after that step before is void. A roll back writes an action and goes on from a
smaller step: nothing is void then, since what went wrong is worth seeing.
"""

import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from upscale_training.errors import RunError

Line = dict[str, Any]
"""One line of the log, as upscale_training's design lists its keys."""

NAME = "log.jsonl"
_KINDS = ("start", "step", "validation", "alarm", "action", "bad picture", "end")


@dataclass(frozen=True, slots=True)
class Records:
    """What a log says now, void lines left out; each list in the order of writing.

    `starts`: the first and one for each resume. `end`: why the run ended; None while it goes on, or when it was killed.
    `damaged`: lines that could not be read. `last_time`: of the last line, in seconds since 1970, NaN without any.
    """

    starts: list[Line] = field(default_factory=list[Line])
    steps: list[Line] = field(default_factory=list[Line])
    validations: list[Line] = field(default_factory=list[Line])
    alarms: list[Line] = field(default_factory=list[Line])
    actions: list[Line] = field(default_factory=list[Line])
    bad_pictures: list[Line] = field(default_factory=list[Line])
    end: Line | None = None
    damaged: int = 0
    last_time: float = math.nan

    @property
    def start(self) -> Line:
        """The latest start line; empty without any."""
        return self.starts[-1] if self.starts else {}

    @property
    def step(self) -> int:
        """The step that the run has reached; after a roll back it may be smaller than one before."""
        latest = [lines[-1] for lines in (self.steps, self.validations) if lines] or [self.start]
        return max(step_of(line) for line in latest)


class Log:
    """Appends lines. Opening mends what a killed process left torn: a last line that is whole gets its end, else it goes.

    Raises RunError where the file cannot be opened, or a line cannot be written whole; then nothing of it stands there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            _mend(self._handle)
        except OSError as error:
            raise RunError(f"{path}: the log cannot be opened ({error.strerror}); choose another folder") from error

    def add(self, line: Mapping[str, Any]) -> Line:
        """Writes one line at once, with the time where it has none; returns it as it will be read."""
        said = plain({"kind": line["kind"], "time": round(time.time(), 3), **line})
        content = json.dumps(said, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(
            "utf-8", "replace"
        )
        size = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, content + b"\n")
        except OSError as error:
            raise RunError(
                f"{self._path}: the log cannot be written ({error.strerror}); make room, then --resume"
            ) from error
        if written <= len(content):
            os.ftruncate(self._handle, size)
            raise RunError(f"{self._path}: the log cannot be written (the disk is full); make room, then --resume")
        return cast(Line, said)

    def close(self) -> None:
        os.close(self._handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_log(path: Path) -> Records:
    """All of a log that stands. A torn last line is no damage; other lines that are none of ours are counted.

    Raises RunError where there is no log.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: no log to read ({error.strerror}); name the folder of a run") from error
    whole = content.split(b"\n")
    lines = [_understood(line) for line in whole[:-1] if line.strip()]
    torn = _understood(whole[-1]) if whole[-1].strip() else None
    return _sorted([line for line in [*lines, torn] if line is not None], damaged=lines.count(None))


def records_of(lines: list[Line]) -> Records:
    """The same for lines in memory."""
    return _sorted(lines, damaged=0)


def step_of(line: Mapping[str, Any]) -> int:
    """A line's step; 0 where it has none."""
    step = line.get("step")
    return step if isinstance(step, int) else 0


def plain(value: object) -> object:
    """What JSON can hold: tensors and numpy's numbers become Python's, NaN and infinity None, paths and the rest text."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {str(key): plain(held) for key, held in cast(Mapping[object, object], value).items()}
        case list() | tuple():
            return [plain(held) for held in cast("list[object] | tuple[object, ...]", value)]
        case Path():
            return value.as_posix()
        case _:
            many = getattr(value, "tolist", None)
            return str(value) if many is None else plain(many())


def _mend(handle: int) -> None:
    size = os.fstat(handle).st_size
    with open(handle, "rb", closefd=False) as file:
        torn = file.read().rpartition(b"\n")[2]
    if torn and _understood(torn) is not None:
        os.write(handle, b"\n")
    elif torn:
        os.ftruncate(handle, size - len(torn))


def _understood(content: bytes) -> Line | None:
    try:
        line: Any = json.loads(content)
    except (ValueError, RecursionError):
        return None
    if not isinstance(line, dict):
        return None
    known = cast(Line, line)
    return known if known.get("kind") in _KINDS and isinstance(known.get("step", 0), int) else None


def _sorted(lines: list[Line], damaged: int) -> Records:
    standing: list[Line] = []
    begun = -1  # where the lines of the latest start begin
    for line in lines:
        if line["kind"] == "start":
            standing = _without_void(standing, step_of(line))
            begun = len(standing)
        elif line.get("step") is not None and begun > 0 and step_of(line) == step_of(standing[begun]):
            again = next((index for index in reversed(range(begun)) if _same(standing[index], line)), None)
            if again is not None:  # the step resumed from, told once more
                del standing[again]
                begun -= 1
        standing.append(line)
    times = [line["time"] for line in lines if isinstance(line.get("time"), int | float)]
    of = {kind: [line for line in standing if line["kind"] == kind] for kind in _KINDS}
    ended = standing and standing[-1]["kind"] == "end"
    return Records(
        starts=of["start"],
        steps=of["step"],
        validations=of["validation"],
        alarms=of["alarm"],
        actions=of["action"],
        bad_pictures=of["bad picture"],
        end=standing[-1] if ended else None,
        damaged=damaged,
        last_time=times[-1] if times else math.nan,
    )


def _without_void(lines: list[Line], step: int) -> list[Line]:
    """Lines without those that a resume at `step` takes back: from the end, back to where the run last was at that step."""
    kept: list[Line] = []
    index = len(lines)
    while index and (lines[index - 1].get("step") is None or step_of(lines[index - 1]) > step):
        index -= 1
        if lines[index]["kind"] in ("bad picture", "start"):
            kept.append(lines[index])
    return lines[:index] + kept[::-1]


def _same(old: Line, new: Line) -> bool:
    return all(old.get(key) == new.get(key) for key in ("kind", "step", "alarm", "action"))
