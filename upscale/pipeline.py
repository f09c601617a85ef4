"""Many pictures through one enlarger: decode ahead → enlarge → encode behind. One bad file never takes another with it."""

import shutil
import tempfile
import time
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

from upscale.colorfix import Shift
from upscale.engines import Progress
from upscale.errors import OutputError, UpscaleError
from upscale.files import clear_stale
from upscale.handover import AbandonedError, Handover
from upscale.image import Animation
from upscale.media import Source
from upscale.media.folder import Task
from upscale.media.writing.encode import save
from upscale.work import Outcome, Planned, Record, Work, failed, place_of, plan_of, record_of, to_do

_ENCODING_BEHIND = 2
"""Pictures that may wait to be written while the next one is enlarged."""

_WORTH_SAYING = 1 << 30
"""Bytes of memory for one result."""

_LARGE = 100_000_000
"""Pixels of a result whose memory is worth a fifth of the time."""

_SUSPICIOUS_SHIFT = 8.0
"""Mean correction in levels, past which the color fix may be hiding a fault."""


def run(tasks: Sequence[Task], work: Work, progress: Callable[[Task], Progress | None]) -> Generator[Outcome]:
    """Does the tasks in order and gives each one's outcome when its file is finished.

    While one picture is enlarged, the next is decoded and the ones before are encoded. Ctrl-C waits for a file that is
    complete and being written and gives its outcome; of the picture in work nothing is left.
    """
    for folder in {task.target.parent for task in tasks if task.target is not None and not task.stdout}:
        clear_stale(folder)  # what a killed run has left half written
    with ThreadPoolExecutor(1, "decode") as decoders, ThreadPoolExecutor(1, "encode") as encoders:
        ahead: Future[Source | None] | None = None
        behind: deque[Future[Outcome]] = deque()
        try:
            for index, task in enumerate(tasks):
                source = ahead or decoders.submit(_open, task, work)
                ahead = decoders.submit(_open, tasks[index + 1], work) if index + 1 < len(tasks) else None
                behind.append(_enlarge(task, source, work, encoders, progress(task)))
                while behind and (behind[0].done() or len(behind) > _ENCODING_BEHIND):
                    yield _finished(behind.popleft())
        except BaseException as error:
            work.decoder.close()  # else the threads would wait for a file that takes its time
            if isinstance(error, KeyboardInterrupt):
                yield from map(_finished, behind)
            raise
        finally:
            _close(ahead)
        yield from map(_finished, behind)


def _finished(outcome: "Future[Outcome]") -> Outcome:
    """Without the pictures, which the frames of a failure's traceback would keep in memory as long as it is kept."""
    found = outcome.result()
    error = found.error
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
    return found


def failure(task: Task, error: UpscaleError | None = None) -> Outcome:
    """The outcome of a task that cannot even be begun."""
    return failed(record_of(task), error or task.error or UpscaleError(f"{task.source}: failed"), time.perf_counter())


def _open(task: Task, work: Work) -> Source | None:
    """The opened file, or None where its result is finished already."""
    return work.decoder.open(task.source) if to_do(task, work) else None


def _close(ahead: "Future[Source | None] | None") -> None:
    """Lets go of a file that was opened for nothing."""
    if ahead is None or ahead.cancel() or ahead.exception() is not None:
        return
    source = ahead.result()
    if source is not None:
        with source:
            pass


def _enlarge(
    task: Task, opening: "Future[Source | None]", work: Work, encoders: Executor, progress: Progress | None
) -> "Future[Outcome]":
    """Enlarges one picture or animation while `encoders` write what is done; gives their outcome to come."""
    started, record = time.perf_counter(), record_of(task)
    try:
        source = opening.result()
        if source is None:
            record.status = "skipped"
            return _known(Outcome(record))
        with source:
            return _through(task, source, work, encoders, progress, record, started)
    except Exception as error:
        return _known(failed(record, error, started))  # any fault is this one file's, and the batch goes on


def _through(
    task: Task,
    source: Source,
    work: Work,
    encoders: Executor,
    progress: Progress | None,
    record: Record,
    started: float,
) -> "Future[Outcome]":
    plan, handover = plan_of(task, source, work), Handover()
    _note(plan, work, record)

    def write() -> Outcome:
        try:
            _save(task, plan, source.animation, handover, work)
        except Exception as error:
            handover.abandon()
            return failed(record, error, started)
        record.seconds = round(time.perf_counter() - started, 3)
        return Outcome(record)

    try:
        written = encoders.submit(write)
        try:
            _compute(source, plan, work, handover, progress, record)
        except AbandonedError:
            pass  # the writer says why
        except Exception as error:
            handover.end(error)
        else:
            handover.end()
        return written
    except BaseException:
        handover.end(UpscaleError("interrupted"))  # the writer takes away what there is, and `run` waits for it
        raise


def _note(plan: Planned, work: Work, record: Record) -> None:
    geometry = plan.job.geometry
    record.model, record.input_size = work.enlarger.model, (geometry.width, geometry.height)
    record.output_size = geometry.out_width, geometry.out_height
    record.scale = round(max(geometry.out_width / geometry.width, geometry.out_height / geometry.height), 4)
    record.frames = plan.frames
    record.warnings += plan.warnings
    if geometry.out_width * geometry.out_height > _LARGE:
        work.before_large()
    if plan.bytes_to_write > _WORTH_SAYING:
        need, kind = plan.bytes_to_write / 1e9, plan.encoding.format.name
        work.report(f"{record.output}: {kind} is written in one piece and needs {need:.1f} GB of memory")


def _compute(
    source: Source, plan: Planned, work: Work, handover: Handover, progress: Progress | None, record: Record
) -> None:
    enlarger, shift, said = work.enlarger, Shift(), len(work.enlarger.warnings)
    for index, picture in enumerate(islice(source.pictures(), plan.frames)):
        for band in enlarger.bands(picture, work.size, _share(progress, index, plan.frames), shift):
            handover.give(index, band)
            record.bands += 1
    record.warnings += enlarger.warnings[said:]
    record.device, record.engine = enlarger.engine.device, enlarger.engine.name
    record.precision = enlarger.engine.precision
    if enlarger.settings.color_fix:
        record.color_shift, record.color_shift_largest = round(shift.mean, 3), round(shift.largest, 3)
        if shift.mean > _SUSPICIOUS_SHIFT:
            record.warnings.append(
                f"the color fix moved colors by {shift.mean:.0f} levels on average, which may hide a fault of the model"
            )


def _save(task: Task, plan: Planned, animation: Animation | None, handover: Handover, work: Work) -> None:
    manifest = work.manifest(task)
    if not task.stdout:
        save(place_of(task.target), plan.result, animation, plan.encoding, handover.frames())
        if manifest is not None:
            manifest.finish(task)
        return
    if work.stdout is None:
        raise OutputError("-: there is no stdout to write to; use -o with a file")
    with tempfile.TemporaryDirectory(prefix="upscale-") as folder:
        whole = Path(folder) / f"stdout{plan.encoding.format.suffixes[0]}"
        save(whole, plan.result, animation, plan.encoding, handover.frames())
        try:
            with whole.open("rb") as file:
                shutil.copyfileobj(file, work.stdout)
            work.stdout.flush()
        except OSError as error:
            raise OutputError(f"-: stdout takes no more ({error.strerror}); use -o with a file") from error


def _share(progress: Progress | None, frame: int, frames: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done: progress((frame + done) / frames)


def _known(outcome: Outcome) -> "Future[Outcome]":
    known: Future[Outcome] = Future()
    known.set_result(outcome)
    return known
