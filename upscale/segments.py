"""A video job that survives anything: finished segments on disk, and a list that tells which of them are whole.

Beside the result lies a hidden folder with `job.jsonl` and a file for each segment. The first line holds everything that
decides which bits come out; each further one a segment, written when its file is on the disk. A killed process leaves at worst
a torn last line, which counts for nothing. Borders are numbers of frames, so that an unbroken run has the same segments.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from upscale.errors import OutputError
from upscale.files import NAME_BYTES, clear_stale, cut_to_bytes, lock, open_plain, replacing, sha256_of, size_in_bytes
from upscale.image import Array

LIST = "job.jsonl"
_VERSION = 1
_PIXELS = 1 << 30
"""Pixels of result after which a segment ends, so that no more than minutes of work are lost."""
_FEWEST, _MOST = 48, 250

State = dict[str, Array]
"""What the frames after a border depend on, by name."""


def segment_frames(width: int, height: int) -> int:
    """How many frames of a result of that size make a segment."""
    return max(_FEWEST, min(_MOST, _PIXELS // (width * height)))


@dataclass(frozen=True, slots=True)
class Segment:
    """A finished one: frames it holds, sha256 of its file and of the state after it, and what was counted on the way."""

    frames: int
    sha256: str
    extradata: str
    state: str | None = None
    counts: dict[str, int] = field(default_factory=dict[str, int])


class SegmentedJob:
    """The folder of one job, held by one run. `segments`: those that are whole, from the first frame on."""

    def __init__(self, folder: Path, handle: int, segments: list[Segment]) -> None:
        self.folder, self.segments, self._handle = folder, segments, handle

    @classmethod
    def open(cls, target: Path, settings: Mapping[str, Any], anew: bool) -> Self:
        """Goes on with what is there, or begins. `settings`, as JSON values, decide the result; with `anew`, what was made with
        others is forgotten.

        Raises OutputError where another run is at it, where the settings differ (and tells which), or nothing can be written.
        """
        folder = folder_of(target)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            handle = open_plain(folder / LIST, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError as error:
            raise OutputError(f"{folder}: cannot be written ({error.strerror}); use another -o") from error
        try:
            if lock(handle) is False:
                raise OutputError(f"{target}: another run is making it; wait for it, or use another -o")
            return cls(folder, handle, _begun(folder, handle, target, settings, anew))
        except BaseException:
            os.close(handle)
            raise

    @property
    def frames(self) -> int:
        """Frames that need not be made any more."""
        return sum(segment.frames for segment in self.segments)

    def path(self, index: int) -> Path:
        return _packets_path(self.folder, index)

    @property
    def paths(self) -> list[Path]:
        return [self.path(index) for index in range(len(self.segments))]

    def add(self, frames: int, sha256: str, extradata: bytes, state: State | None, counts: dict[str, int]) -> None:
        """Notes a segment whose file is on the disk. Raises OutputError where encoders disagree, OSError on a full disk."""
        if self.segments and self.segments[0].extradata != extradata.hex():
            raise OutputError(f"{self.folder}: the encoder began a segment with another header; use another --codec")
        kept = None if state is None else self._save(len(self.segments), state)
        segment = Segment(frames, sha256, extradata.hex(), kept, counts)
        _append(self._handle, asdict(segment))
        self.segments.append(segment)
        self._state_path(len(self.segments) - 3).unlink(missing_ok=True)  # two are kept, should the last one be damaged

    def state(self) -> State | None:
        """What was given with the last segment."""
        if not self.segments or self.segments[-1].state is None:
            return None
        with np.load(self._state_path(len(self.segments) - 1), allow_pickle=False) as stored:
            return dict(stored)

    def close(self) -> None:
        os.close(self._handle)

    def remove(self) -> None:
        """The result has its name: nothing of this is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _save(self, index: int, state: State) -> str:
        path = self._state_path(index)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez(file, **state)  # pyright: ignore[reportArgumentType] - names come first in its signature
            file.flush()
            os.fsync(file.fileno())
        return sha256_of(path)

    def _state_path(self, index: int) -> Path:
        return _state_path(self.folder, index)


def folder_of(target: Path) -> Path:
    """Where the segments of a result are kept until it is whole."""
    ending, name = ".upscale-job", target.name
    room = NAME_BYTES - 1 - size_in_bytes(ending)
    if size_in_bytes(name) > room:  # names that differ only at their end stay different
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        name = f"{cut_to_bytes(name, room - 17)}.{digest}"
    return target.with_name(f".{name}{ending}")


def begun_with(target: Path) -> dict[str, Any]:
    """The settings of an interrupted run for that result; empty where there was none."""
    try:
        with (folder_of(target) / LIST).open("rb") as file:
            return _parsed(file.readline()) or {}
    except OSError:
        return {}


def _begun(folder: Path, handle: int, target: Path, settings: Mapping[str, Any], anew: bool) -> list[Segment]:
    """The whole segments of an earlier run with these settings; the list is cut after them."""
    clear_stale(folder)
    lines = os.pread(handle, os.fstat(handle).st_size, 0).split(b"\n")[:-1]
    first = _parsed(lines[0]) if lines else None
    wanted = json.loads(json.dumps({"version": _VERSION, **settings}))
    if first is not None and first != wanted and not anew and len(lines) > 1:
        raise _begun_otherwise(target, first, wanted)
    if first != wanted:
        _empty(folder, handle)
        _append(handle, wanted)
        return []
    found = _with_state(folder, list(_whole(folder, lines[1:])))
    os.truncate(handle, sum(len(line) + 1 for line in lines[: 1 + len(found)]))
    return found


def _begun_otherwise(target: Path, first: dict[str, Any], wanted: dict[str, Any]) -> OutputError:
    different = [name for name in sorted({*first, *wanted}) if first.get(name) != wanted.get(name)]
    told = "; ".join(f"{name} was {_short(first.get(name))}, now {_short(wanted.get(name))}" for name in different)
    return OutputError(
        f"{target}: was begun otherwise ({told}); ask for the same again to go on, or begin anew with --overwrite"
    )


def _empty(folder: Path, handle: int) -> None:
    for path in folder.iterdir():
        if path.name != LIST and path.is_file():
            path.unlink()
    os.truncate(handle, 0)


def _whole(folder: Path, lines: list[bytes]) -> Iterator[Segment]:
    """Up to the first that is torn, lost or damaged."""
    for index, line in enumerate(lines):
        segment = _segment(line)
        if segment is None or not _is_whole(folder, index, segment):
            return
        yield segment


def _with_state(folder: Path, segments: list[Segment]) -> list[Segment]:
    """Those up to the last whose state is there and whole, where they have states at all."""
    while segments and segments[-1].state is not None:
        path = _state_path(folder, len(segments) - 1)
        if path.is_file() and sha256_of(path) == segments[-1].state:
            break
        segments = segments[:-1]
    return segments


def _is_whole(folder: Path, index: int, segment: Segment) -> bool:
    path = _packets_path(folder, index)
    return path.is_file() and sha256_of(path) == segment.sha256


def _packets_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.packets"


def _state_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.state"


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None  # pyright: ignore[reportUnknownVariableType]


def _segment(line: bytes) -> Segment | None:
    """What a line says, or None where it says nonsense."""
    found = _parsed(line)
    try:
        segment = None if found is None else Segment(**found)
    except TypeError:
        return None
    if segment is None or type(segment.frames) is not int or segment.frames < 1:
        return None
    return segment


def _append(handle: int, value: Mapping[str, Any]) -> None:
    """One line, on the disk. On a full disk not at all: OSError."""
    end, line = os.fstat(handle).st_size, json.dumps(value).encode() + b"\n"
    written = os.write(handle, line)
    if written < len(line):
        os.truncate(handle, end)
        raise OSError(28, os.strerror(28))
    os.fsync(handle)


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
