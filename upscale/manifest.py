"""What a batch has made: a list beside its results, so that an interrupted run can go on where it was.

`.upscale.jsonl` in the results' root; journal.py says what its lines mean. Each is appended in one write, so that a killed
process leaves whole lines, and at worst a torn last one, which counts for nothing. In the end the list is put in order: the same
results have the same list, however often a run was cut.
"""

import contextlib
import hashlib
import json
import os
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from upscale.errors import OutputError
from upscale.files import clear_stale, lock, open_plain, replacing
from upscale.journal import Begun, Fingerprint, Listed, Made, fingerprint, is_still, line_of, read
from upscale.media.folder import Task

NAME = ".upscale.jsonl"
Verdict = Literal["new", "finished", "redo", "foreign"]
"""new: nothing is there. finished: made by us from this input with these settings, and whole. redo: ours, but damaged, lost,
half done or made otherwise. foreign: a file that we did not make."""


class BusyError(OutputError):
    """Another run keeps the list of this root."""


class Manifest:
    """The list of one root, held by one run. Its methods may be called from several threads.

    `warnings`: what of the list could not be used, a line each, known when it is opened and when it is closed. A thing of that
    name that is no list of ours is left alone; then nothing is remembered, and whatever exists is foreign.
    """

    def __init__(self, root: Path, settings: str, handle: int | None, listed: Listed, new: bool) -> None:
        self.warnings: list[str] = []
        self._root, self._path, self._settings = root, root / NAME, settings
        self._handle, self._new = handle, new
        self._made, self._begun = listed.made, listed.begun
        self._inputs: dict[str, Fingerprint | None] = {}
        self._guard = threading.Lock()
        if handle is None:
            self._warn(
                "cannot be used as the list of results, so nothing is remembered; remove it to make --resume work"
            )
        elif listed.damaged:
            self._warn(f"{listed.damaged} damaged lines; results that only they told of count as foreign")

    @classmethod
    def open(cls, root: Path, settings: Mapping[str, object]) -> Self:
        """Makes the root where it is missing, and clears it of what killed runs left half written (folders below it are the
        caller's to clear). `settings`: all that makes results differ, as JSON values.

        Raises OutputError where the root cannot be written, or another run is at it.
        """
        root = Path(os.path.realpath(root))
        settings_sha256, new = settings_hash(settings), not root.exists()
        try:
            root.mkdir(parents=True, exist_ok=True)
            handle = _locked(root)
            listed = Listed() if handle is None else read(handle)
            if handle is not None and not listed.ours:
                os.close(handle)
                handle = None
            if handle is not None:
                os.truncate(handle, listed.end)  # the next line must not go on where a torn one ended
                clear_stale(root)
        except OSError as error:
            raise OutputError(f"{root}: cannot be written ({error.strerror or error}); use another -o") from error
        return cls(root, settings_sha256, handle, listed, new)

    def verdict(self, task: Task) -> Verdict:
        """What stands at the task's target. Reads the result, and the input, as far as that is needed."""
        name, target = self._name(task)
        made, begun = self._made.get(name), self._begun.get(name)
        if not os.path.lexists(target):
            return "new" if made is None else "redo"
        if made is None:
            ours = begun is not None and (begun.before is None or not is_still(target, begun.before))
            return "redo" if ours else "foreign"
        same = made.settings == self._settings and is_still(target, made.output) and is_still(task.source, made.input)
        return "finished" if same else "redo"

    def begin(self, task: Task) -> None:
        """To be called before the task's input is read: takes its fingerprint, and notes that the target will be ours.

        Raises OutputError where the note cannot be written. An input that cannot be read is the reader's to tell.
        """
        name, target = self._name(task)
        self._inputs[name] = fingerprint(task.source)
        if name in self._made or name in self._begun:
            return
        begun = Begun(fingerprint(target))
        with self._guard:
            try:
                self._append(line_of(name, begun))
            except OSError as error:
                raise OutputError(
                    f"{self._path}: cannot be written ({error.strerror}); make room, then --resume"
                ) from error
            self._begun[name] = begun

    def finish(self, task: Task) -> None:
        """To be called when the task's result has its final name. Raises OutputError where it is gone."""
        name, target = self._name(task)
        output, source = fingerprint(target), self._inputs.pop(name, None)
        if output is None:
            raise OutputError(f"{target}: was written but cannot be read again; check the disk")
        if source is None:
            return  # it could not be read when it was begun: the next run makes the result again
        made = Made(source, self._settings, output)
        with self._guard:
            self._made[name] = made
            try:
                self._append(line_of(name, made))
            except OSError as error:  # the result is there and whole, and perhaps there is room when the list is closed
                self._warn(f"a line could not be written ({error.strerror})")

    def close(self) -> None:
        """Puts the list in order and gives it free. A list that cannot be put in order stays as it is, and is as good."""
        with self._guard:
            handle, self._handle = self._handle, None
        if handle is None:
            return
        if sys.platform == "win32":
            os.close(handle)  # an open file cannot be replaced there
        try:
            self._put_in_order()
        except OSError as error:
            self._warn(f"left as it is ({error.strerror or error})")
        finally:
            if sys.platform != "win32":
                os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _name(self, task: Task) -> tuple[str, Path]:
        if task.target is None:
            raise ValueError(f"{task.source} has no place for a result")
        folder = Path(os.path.realpath(task.target.parent))  # one folder may have several names
        return (folder / task.target.name).relative_to(self._root).as_posix(), task.target

    def _append(self, line: bytes) -> None:
        """In one write; on a full disk not at all."""
        if self._handle is None:
            return
        end = os.fstat(self._handle).st_size
        try:
            written = os.write(self._handle, line)
        except OSError:
            os.truncate(self._handle, end)
            raise
        if written < len(line):
            os.truncate(self._handle, end)
            raise OSError(0, "no room left")

    def _put_in_order(self) -> None:
        """Only finished files that are there; and those that may be ours, since a run was killed over them."""
        entries: dict[str, Made | Begun] = dict(self._made)
        for name, begun in self._begun.items():
            if name not in entries and (begun.before is None or not is_still(self._root / name, begun.before)):
                entries[name] = begun
        content = b"".join(line_of(name, entries[name]) for name in sorted(entries) if _exists(self._root / name))
        if not content:
            self._path.unlink(missing_ok=True)
            if self._new:
                with contextlib.suppress(OSError):  # not empty: other things are there
                    self._root.rmdir()
        elif not self._path.exists() or content != self._path.read_bytes():
            with replacing(self._path) as temporary, temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())

    def _warn(self, text: str) -> None:
        self.warnings.append(f"{self._path}: {text}")


def results_in(root: Path) -> frozenset[str]:
    """Names below `root` of what earlier runs made there, finished or not; empty where there is no list. Raises nothing."""
    try:
        handle = open_plain(root / NAME, os.O_RDONLY)
    except OSError:
        return frozenset()
    try:
        listed = read(handle)
    except OSError:
        return frozenset()
    finally:
        os.close(handle)
    return frozenset(listed.made) | {name for name, begun in listed.begun.items() if begun.before is None}


def foreign(task: Task) -> OutputError:
    """What to tell of a task with that verdict."""
    return OutputError(f"{task.target}: exists already, and no earlier run here made it; --overwrite replaces it")


def settings_hash(settings: Mapping[str, object]) -> str:
    """sha256 of the settings as JSON, keys in order. Raises TypeError or ValueError for what JSON cannot hold."""
    text = json.dumps(dict(settings), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _exists(path: Path) -> bool:
    try:
        return os.path.lexists(path)
    except ValueError:  # a damaged line may hold a name that no file can have
        return False


def _locked(root: Path) -> int | None:
    """The root's list, locked until it is closed; None where a thing of that name is no file that we can use."""
    for _ in range(100):
        try:
            handle = open_plain(root / NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        except OSError:
            if os.path.lexists(root / NAME):
                return None
            raise
        if lock(handle) is False:
            os.close(handle)
            break
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), (root / NAME).stat()):
                return handle
        os.close(handle)  # in this moment another run has put its list in order, and this is the old one
    raise BusyError(f"{root}: another run is writing results there; wait for it, or use another -o")
