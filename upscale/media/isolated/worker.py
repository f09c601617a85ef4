"""The process in which files are decoded. It may crash, hang or swell up from what it reads: nothing else is lost.

`python -m upscale.media.isolated.worker` says that it is ready, then answers requests until its stdin ends (child.py asks):

    {"open": path, "folder": ..., "max_pixels": ..., "seconds": ..., "memory": ...}   what the file is: `wire.described`
    {"read": true, "seconds": ..., "memory": ...}    its rows, {"rows": n} and n rows of rgb and of alpha; {"end": true}
    {"read": false}                                  the file is closed again

or, in place of any answer, {"error": text, "trace": text}. `seconds` is for one answer; who takes longer ends, even when
nobody is left who waits. `memory` is what may be taken in addition to what is taken now, in bytes.
"""

import contextlib
import faulthandler
import os
import signal
import traceback
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from upscale.errors import PictureError
from upscale.image import Band, Header, Picture, joined
from upscale.media import Source
from upscale.media.isolated.wire import Message, described, receive, row_bytes, send

Opener = Callable[[Path, int | None], Source]

PART_BYTES = 4 << 20
_MOST_CHATTER = 1 << 20
_MOST_TRACE = 12_000


class _FailedError(Exception):
    """Carries the answer that tells of an error."""

    def __init__(self, answer: Message) -> None:
        super().__init__()
        self.answer = answer


def main() -> None:
    pipes = prepare()
    from upscale.media.reading.decode import open_file

    serve(open_file, *pipes)


def prepare() -> tuple[BinaryIO, BinaryIO]:
    """Makes this process a lonely one, and gives the pipes for requests and answers, which no library can write into."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who asks
    faulthandler.enable()
    requests, answers = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(nothing, 1)
    _limit("RLIMIT_CORE", 0)
    _limit("RLIMIT_FSIZE", _MOST_CHATTER)  # stderr is a file; nothing else is ever written
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # when memory runs out, this process goes first
    return os.fdopen(requests, "rb"), os.fdopen(answers, "wb")


def serve(opener: Opener, requests: BinaryIO, answers: BinaryIO) -> None:
    """Answers until there is nobody who asks."""
    with contextlib.suppress(EOFError, BrokenPipeError):
        send(answers, Message({"ready": True}))
        while True:
            _answer(opener, receive(requests), requests, answers)


def _answer(opener: Opener, request: Message, requests: BinaryIO, answers: BinaryIO) -> None:
    path, folder = Path(request.fields["open"]), request.fields["folder"]
    with contextlib.suppress(OSError):
        os.truncate(2, 0)  # what libraries said of earlier files
        os.lseek(2, 0, os.SEEK_SET)
    opened = contextlib.ExitStack()
    try:
        with _limited(path, request):
            if folder is not None:
                os.chdir(folder)
            source = opened.enter_context(opener(path, request.fields["max_pixels"]))
            answer = described(source)
        send(answers, answer)
        request = receive(requests)
        if request.fields["read"]:
            _send_rows(path, source, request, answers)
    except _FailedError as failed:
        send(answers, failed.answer)
    finally:
        with contextlib.suppress(Exception):  # what failed need not close well
            opened.close()


def _send_rows(path: Path, source: Source, request: Message, answers: BinaryIO) -> None:
    parts = _parts(path, source)
    while True:
        with _limited(path, request):
            band = next(parts, None)
        if band is None:
            break
        send(answers, Message({"rows": len(band.rgb)}), [band.rgb] if band.alpha is None else [band.rgb, band.alpha])
    send(answers, Message({"end": True}))


def _parts(path: Path, source: Source) -> Iterator[Band]:
    """All pictures' rows, contiguous, a few MB at a time: small bands are joined, large ones cut."""
    most = max(1, PART_BYTES // row_bytes(source.header))
    for picture in _pictures(path, source):
        waiting, rows = list[Band](), 0
        for band in _cut(picture, source.header, most):
            if rows + len(band.rgb) > most:
                yield joined(waiting)
                waiting, rows = [], 0
            waiting.append(band)
            rows += len(band.rgb)
        yield joined(waiting)


def _cut(picture: Picture, header: Header, most: int) -> Iterator[Band]:
    """Bands of at most so many rows, checked against the header; all of them the picture's height."""
    done = 0
    for band in picture.bands():
        _check(band, header, picture)
        done += len(band.rgb)
        for start in range(0, len(band.rgb), most):
            part = slice(start, start + most)
            yield Band(band.rgb[part].copy(), None if band.alpha is None else band.alpha[part].copy())
    if done != header.height:
        raise ValueError(f"{done} rows instead of {header.height}")


def _pictures(path: Path, source: Source) -> Iterator[Picture]:
    """As many as the source announced, or PictureError."""
    announced, frames = 1 if source.animation is None else len(source.animation.durations), 0
    for picture in source.pictures():
        frames += 1
        if frames <= announced:
            yield picture
    if frames != announced:
        raise PictureError(f"{path}: has {frames} frames instead of {announced}; it may be cut off, copy it again")


def _check(band: Band, header: Header, picture: Picture) -> None:
    rows, alpha = len(band.rgb), band.alpha
    is_right = band.rgb.shape == (rows, header.width, 3) and band.rgb.dtype == header.dtype
    if (alpha is not None) != header.alpha or picture.header != header:
        is_right = False
    if alpha is not None and (alpha.shape != (rows, header.width) or alpha.dtype != header.dtype):
        is_right = False
    if not is_right:
        raise ValueError("pixels that differ from what the file announced")


@contextlib.contextmanager
def _limited(path: Path, request: Message) -> Generator[None]:
    """Works within the request's limits; what goes wrong becomes the answer."""
    seconds: float = request.fields["seconds"]
    memory: int | None = request.fields["memory"]
    _limit("RLIMIT_DATA", None if memory is None else _taken() + memory)
    faulthandler.dump_traceback_later(seconds, exit=True)
    try:
        yield
    except Exception as error:
        _limit("RLIMIT_DATA", None)
        raise _FailedError(_told(path, error, memory)) from None
    finally:
        faulthandler.cancel_dump_traceback_later()


def _told(path: Path, error: Exception, memory: int | None) -> Message:
    if isinstance(error, PictureError):
        text = str(error)
    elif isinstance(error, MemoryError):
        most = "there is" if memory is None else f"{memory / 1e6:,.0f} MB"
        text = f"{path}: reading it takes more memory than {most}; it may be damaged, else convert it to PNG or TIFF"
    else:
        text = f"{path}: cannot be decoded ({type(error).__name__}: {error}); copy or convert it again"
    trace = "".join(traceback.format_exception(error))
    return Message({"error": text[:_MOST_TRACE], "trace": trace[-_MOST_TRACE:]})


def _limit(name: str, most: int | None) -> None:
    """Sets one of the system's limits as far as this system has it; None: no limit but the one that we were given."""
    try:
        import resource
    except ImportError:  # Windows
        return
    known: Any = resource
    with contextlib.suppress(AttributeError, OSError, ValueError):
        kind = getattr(known, name)
        hard = known.getrlimit(kind)[1]
        wanted = hard if most is None else most if hard == known.RLIM_INFINITY else min(most, hard)
        known.setrlimit(kind, (wanted, hard))


def _taken() -> int:
    """Bytes of memory that count against RLIMIT_DATA now; a guess where the system does not tell."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("VmData:"):
                return int(line.split()[1]) << 10
    return 1 << 30


if __name__ == "__main__":
    main()
