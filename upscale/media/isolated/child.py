"""One decoding process, seen from outside: started, asked, waited for at most so long, and ended."""

import contextlib
import math
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from upscale.errors import PictureError
from upscale.image import Array
from upscale.media.isolated.wire import MOST_TEXT, Message, WireError, one_line, receive, receive_pixels, send, text_of

COMMAND = (sys.executable, "-P", "-X", f"utf8={sys.flags.utf8_mode}", "-m", "upscale.media.isolated.worker")

_PIPE = 1 << 20
_SECONDS_TO_START = 120.0
_GRACE = 2.0
"""The process ends by itself when its time is over, and tells where it hung; only if it does not, it is killed."""


class Child:
    """A decoding process; it runs until `end`, or until something goes wrong with it.

    Methods that wait raise PictureError, which names `path`, the file in work. After one that the process did not say
    itself, it has been ended (`is_alive` is False).
    """

    def __init__(self, command: Sequence[str] = COMMAND) -> None:
        """Raises OSError where no process can be started."""
        self._chatter = cast(BinaryIO, tempfile.TemporaryFile())  # noqa: SIM115 - closed by `end`
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._chatter,
                env=_environment(),
                **_apart(),
            )
        except BaseException:
            self._chatter.close()
            raise
        self._is_ready = self._is_late = False
        self._is_ended, self._until, self._clock = threading.Event(), math.inf, threading.Lock()
        self._requests = cast(BinaryIO, self._process.stdin)
        self._answers = cast(BinaryIO, self._process.stdout)
        for pipe in (self._requests, self._answers):
            _widen(pipe)
        threading.Thread(target=self._watch, name="decoder's watch", daemon=True).start()

    @property
    def is_alive(self) -> bool:
        return not self._answers.closed and self._process.poll() is None

    def request(self, path: Path, fields: dict[str, Any]) -> None:
        """Sends a request; the answers are fetched with `answer`."""
        with self._deadline(path, _SECONDS_TO_START):
            if not self._is_ready:
                receive(self._answers)
                self._is_ready = True
            send(self._requests, Message(fields))

    def answer(self, path: Path, seconds: float) -> Message:
        """The next message. Raises PictureError with what the process said where it is an error."""
        with self._deadline(path, seconds):
            message = receive(self._answers)
            if "error" not in message.fields:
                return message
            text, trace = text_of(message, "error"), text_of(message, "trace")
        raise _with_note(PictureError(_naming(path, text)), trace)

    def pixels(self, path: Path, seconds: float, *arrays: Array) -> None:
        """Fills C-contiguous arrays with the bytes that follow a message."""
        with self._deadline(path, seconds):
            for array in arrays:
                receive_pixels(self._answers, array)

    def malformed(self, path: Path, why: str) -> PictureError:
        """Ends the process, whose answers make no sense, and gives the error to be raised."""
        self.end()
        return PictureError(f"{path}: the decoder gave a malformed answer ({why}); the file is damaged or hostile")

    def end(self) -> None:
        """Ends the process at once, whatever it does. May be called again, and from another thread."""
        self._is_ended.set()
        self._process.kill()
        self._process.wait()
        for pipe in (self._requests, self._answers, self._chatter):
            with contextlib.suppress(OSError):
                pipe.close()

    @contextlib.contextmanager
    def _deadline(self, path: Path, seconds: float) -> Generator[None]:
        """Ends the process when the block takes longer: then the read that it waits in sees the end of the pipe.

        Killing what is waited for, rather than waiting with select(), works for pipes on Windows too.
        """
        with self._clock:
            self._until = time.monotonic() + seconds + _GRACE
        try:
            yield
            with self._clock:  # not while the watch decides: who answered in time is not killed for it later
                self._until = math.inf
            if self._is_late:
                raise EOFError("answered when its time was over")
        except WireError as error:
            raise self.malformed(path, str(error)) from error
        except (EOFError, OSError, ValueError) as error:  # ValueError: the pipe was closed by `end`
            raise self._died(path, seconds) from error
        finally:
            with self._clock:
                self._until = math.inf

    def _watch(self) -> None:
        """A thread that looks now and then whether the time is over: ten times cheaper than a timer for each answer."""
        while not self._is_ended.wait(_GRACE / 4):
            with self._clock:
                if time.monotonic() > self._until:
                    self._is_late = True
                    self._process.kill()

    def _died(self, path: Path, seconds: float) -> PictureError:
        """Ends the process and says why it was no longer there."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_GRACE)  # it may be on its way out, and its code is wanted
        was_running = self._process.poll() is None
        chatter = self._last_words()
        self.end()
        code = self._process.returncode
        if self._is_late or "Timeout (" in chatter:
            why = f"reading it took longer than {seconds:.0f} s; it may be damaged"
        elif not self._is_ready:
            why = f"the decoding process did not start ({one_line(chatter.strip().rpartition(chr(10))[2])})"
        elif was_running:
            why = "the decoder closed its pipe; the file is damaged or hostile"
        elif code == -getattr(signal, "SIGKILL", 9):
            why = f"the decoder was killed while it read this (signal {-code}), perhaps for want of memory"
        else:
            how = f"signal {-code}" if code < 0 else f"exit code {code:#x}"
            why = f"the decoder crashed on it ({how}); the file is damaged or hostile"
        return _with_note(PictureError(f"{path}: {why}"), chatter)

    def _last_words(self) -> str:
        with contextlib.suppress(OSError, ValueError):
            self._chatter.seek(0)
            return self._chatter.read(MOST_TEXT).decode(errors="replace")
        return ""


def _widen(pipe: BinaryIO) -> None:
    """Gives a pipe more room, so that the two wait less for each other, where there is such a thing and the system allows
    it: to a user who has many pipes Linux gives no more."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, _PIPE)


def _environment() -> dict[str, str]:
    """Ours, and the same modules as we see. glibc shall reserve little for threads, since the memory is limited, and keep
    what was used for the next picture: getting it anew takes as long as decoding."""
    threads = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    memory = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(64 << 20)}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # noqa: PTH100 - "" is where we are
    return {**os.environ, **threads, **memory, "OPENCV_LOG_LEVEL": "SILENT", "PYTHONPATH": path}


def _apart() -> dict[str, Any]:
    """Ctrl-C in a terminal goes to the group of processes in front: the decoder is not of it."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"process_group": 0}


def _naming(path: Path, text: str) -> str:
    """An error's text, in one line after the file's name."""
    name = f"{path}: "
    return name + one_line(text.removeprefix(name))


def _with_note(error: PictureError, note: str) -> PictureError:
    if note.strip():
        error.add_note("In the decoding process:\n" + note.rstrip())
    return error
