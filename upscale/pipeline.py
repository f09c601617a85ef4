"""Many pictures through one enlarger: decode ahead → enlarge → encode behind. One bad file never takes another with it."""

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from upscale.engines import Progress
from upscale.enlarge import Enlarger
from upscale.errors import UpscaleError
from upscale.image import Image
from upscale.media.folder import Task
from upscale.media.still import StillSink, read_image

Status = Literal["done", "failed"]


@dataclass(slots=True)
class Record:
    """What became of one input; one line of `--json`."""

    input: str
    output: str | None
    status: Status = "done"
    model: str = ""
    scale: float = 0.0
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    seconds: float = 0.0
    device: str = ""
    engine: str = ""
    precision: str = ""
    bands: int = 0
    warnings: list[str] = field(default_factory=list[str])
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record, and the exception behind a failure for those who want the traceback."""

    record: Record
    error: BaseException | None = None


def run(
    tasks: Sequence[Task], enlarger: Enlarger, scale: float, progress: Callable[[Task], Progress | None]
) -> Iterator[Outcome]:
    """Does the tasks in order and gives each one's outcome when its file is finished.

    While one picture is enlarged, the next is decoded and the one before encoded. Ctrl-C waits for a file that is being
    written and gives its outcome; of the picture in work nothing is left.
    """
    with ThreadPoolExecutor(1, "decode") as decoder, ThreadPoolExecutor(1, "encode") as encoder:
        ahead: Future[Image] | None = None
        behind: Future[Outcome] | None = None
        try:
            for index, task in enumerate(tasks):
                image = ahead or _decode(decoder, task)
                ahead = _decode(decoder, tasks[index + 1]) if index + 1 < len(tasks) else None
                finished = _enlarge(task, image, enlarger, scale, progress(task))
                if behind is not None:
                    yield behind.result()
                behind = encoder.submit(finished)
        except KeyboardInterrupt:
            if behind is not None:
                yield behind.result()
            raise
        finally:
            if ahead is not None:
                ahead.cancel()
        if behind is not None:
            yield behind.result()


def failure(task: Task, error: UpscaleError | None = None) -> Outcome:
    """The outcome of a task that cannot even be begun."""
    record = Record(str(task.source), None if task.target is None else str(task.target))
    return _failed(record, error or task.error or UpscaleError(f"{task.source}: failed"), time.perf_counter())


def _decode(decoder: ThreadPoolExecutor, task: Task) -> "Future[Image]":
    if task.error is not None:
        failed: Future[Image] = Future()
        failed.set_exception(task.error)
        return failed
    return decoder.submit(read_image, task.source)


def _enlarge(
    task: Task, decoded: "Future[Image]", enlarger: Enlarger, scale: float, progress: Progress | None
) -> Callable[[], Outcome]:
    """Enlarges one picture; what is returned writes it and gives the outcome."""
    started = time.perf_counter()
    record = Record(str(task.source), None if task.target is None else str(task.target), scale=scale)
    try:
        image = decoded.result()
        target = _require(task.target)
        job = enlarger.job(image.width, image.height, scale, image.rgb.dtype)
        record.model, record.input_size = enlarger.model, (image.width, image.height)
        record.output_size = job.out_width, job.out_height
        sink = StillSink(target, job.out_width, job.out_height, image)
        said = len(enlarger.warnings)
        for band in enlarger.bands(image, scale, progress):
            sink.write(band.rgb, band.alpha)
            record.bands += 1
        record.warnings += enlarger.warnings[said:]
    except Exception as error:
        outcome = _failed(record, error, started)  # any fault is this one file's, and the batch goes on
        return lambda: outcome
    record.device, record.engine = enlarger.engine.device, enlarger.engine.name
    record.precision = enlarger.engine.precision
    return lambda: _write(record, sink, started)


def _write(record: Record, sink: StillSink, started: float) -> Outcome:
    try:
        with sink:
            pass
    except Exception as error:
        return _failed(record, error, started)
    record.warnings += sink.warnings
    record.seconds = round(time.perf_counter() - started, 3)
    return Outcome(record)


def _failed(record: Record, error: Exception, started: float) -> Outcome:
    record.status, record.seconds = "failed", round(time.perf_counter() - started, 3)
    known = isinstance(error, UpscaleError)
    text = str(error) if known else f"{record.input}: {type(error).__name__}: {error}"
    record.error = " ".join(text.split())
    return Outcome(record, error)


def _require(target: Path | None) -> Path:
    if target is None:
        raise UpscaleError("no place for the result")
    return target


__all__ = ["Outcome", "Record", "failure", "run"]
