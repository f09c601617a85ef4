"""The lines of a manifest: what they say, how they are written, and how they are read again whatever happened to them.

One JSON object a line, in one of two forms:

    {"upscale":1,"name":"x/a.png","begun":null}
    {"upscale":1,"name":"x/a.png","input":[size,sha256],"settings":sha256,"output":[size,sha256]}

The first stands there before a new file is made: whatever is found under that name later is ours (unless it is what was there
before, whose [size, sha256] stands in place of null). The second stands there when the file is finished. They hold no times and
no machine's names, so that the same results have the same lines.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from upscale.files import open_plain

_VERSION = 1
_OPENING = f'{{"upscale":{_VERSION},"name":'.encode()
_LONGEST_LINE = 1 << 16


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A file's content: its size in bytes and its sha256."""

    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Begun:
    """A file that is being made where there was nothing, or `before`."""

    before: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Made:
    """A finished file: from what, with which settings (their sha256), and what it was."""

    input: Fingerprint
    settings: str
    output: Fingerprint


@dataclass(slots=True)
class Listed:
    """What a list says. `ours`: it is one, and not something else of that name; `end`: where its last whole line ends."""

    made: dict[str, Made] = field(default_factory=dict[str, Made])
    begun: dict[str, Begun] = field(default_factory=dict[str, Begun])
    ours: bool = True
    damaged: int = 0
    end: int = 0


def fingerprint(path: Path) -> Fingerprint | None:
    """Of a plain file's content, links followed; None where there is none or it cannot be read."""
    try:
        with open(open_plain(path, os.O_RDONLY, links=True), "rb") as file:  # noqa: PTH123 - a handle, not a path
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Fingerprint(file.tell(), digest)
    except OSError:
        return None


def is_still(path: Path, expected: Fingerprint) -> bool:
    """Whether the file has that content; a file of another size is not read."""
    try:
        if path.stat().st_size != expected.size:
            return False
    except (OSError, ValueError):
        return False
    return fingerprint(path) == expected


def read(handle: int) -> Listed:
    """All of an open list that can be understood; other lines are counted. Raises OSError."""
    listed, torn = Listed(), b""
    with open(handle, "rb", closefd=False) as file:
        for torn in _lines(file):
            if torn.endswith(b"\n"):
                listed.end = file.tell()
                listed.damaged += not _noted(torn, listed)
    torn = b"" if torn.endswith(b"\n") else torn
    like_ours = torn[: len(_OPENING)] == _OPENING[: len(torn)]
    listed.ours = bool(listed.made or listed.begun) or (like_ours and not listed.damaged)
    return listed


def _lines(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(_LONGEST_LINE):  # a file that is none of ours may have no lines at all
        yield line


def _noted(line: bytes, listed: Listed) -> bool:
    """Takes the line in; false for a line that is none."""
    try:
        entry: Any = json.loads(line)
    except (ValueError, RecursionError):
        return False
    match entry:
        case {"upscale": 1, "name": str(name), "begun": None}:
            listed.begun[name] = Begun(None)
        case {"upscale": 1, "name": str(name), "begun": [int(size), str(digest)]}:
            listed.begun[name] = Begun(Fingerprint(size, digest))
        case {
            "upscale": 1,
            "name": str(name),
            "input": [int(size), str(digest)],
            "settings": str(settings),
            "output": [int(out_size), str(out_digest)],
        }:
            listed.made[name] = Made(Fingerprint(size, digest), settings, Fingerprint(out_size, out_digest))
        case _:
            return False
    return True


def line_of(name: str, entry: Made | Begun) -> bytes:
    """As it stands in the file, with its end."""

    def pair(of: Fingerprint | None) -> list[object] | None:
        return None if of is None else [of.size, of.sha256]

    said: dict[str, object] = {"upscale": _VERSION, "name": name}
    if isinstance(entry, Begun):
        said["begun"] = pair(entry.before)
    else:
        said |= {"input": pair(entry.input), "settings": entry.settings, "output": pair(entry.output)}
    return json.dumps(said, separators=(",", ":")).encode() + b"\n"
