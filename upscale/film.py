"""One video from end to end: planned, made segment by segment, joined with everything else of the source, and proved."""

import hashlib
import os
import time
from array import array
from pathlib import Path
from typing import Any

from av.error import FFmpegError

from upscale.errors import OutputError, VideoError
from upscale.files import clear_stale, replacing
from upscale.filming import Filming, FilmProgress, shift_of
from upscale.filmplan import FilmPlan, film_plan, settings_of
from upscale.media.folder import Task
from upscale.media.video.join import Film, write
from upscale.media.video.prove import prove_streams, prove_video
from upscale.media.video.source import VideoFile
from upscale.media.video.stream_tags import carry_metadata
from upscale.media.video.streams import Others
from upscale.segments import SegmentedJob
from upscale.wishes import VideoWishes
from upscale.work import Outcome, Record, Work, failed, place_of, record_of, to_do

_ENDS = 1 << 20
"""Bytes at each end of a file that tell it from another."""


def run_film(task: Task, work: Work, progress: FilmProgress | None = None) -> Outcome:
    """Enlarges one video. Ctrl-C leaves finished segments, and the same call goes on from there."""
    started, record = time.perf_counter(), record_of(task)
    try:
        if not to_do(task, work):
            record.status = "skipped"
            return Outcome(record)
        clear_stale(place_of(task.target).parent)
        wishes = work.video or VideoWishes()
        with VideoFile(task.source, wishes.deinterlace, wishes.hardware_decoding) as file:
            _made(task, file, work, record, progress or (lambda _: None))
        manifest = work.manifest(task)
        if manifest is not None:
            manifest.finish(task)
        record.seconds = round(time.perf_counter() - started, 3)
        return Outcome(record)
    except Exception as error:
        return failed(record, error, started)  # any fault is this one file's, and the batch goes on


def planned_film(task: Task, work: Work) -> FilmPlan:
    """Looks at a task's video and plans it. Raises what the work itself would."""
    if task.error is not None:
        raise task.error
    wishes = work.video or VideoWishes()
    with VideoFile(task.source, wishes.deinterlace, wishes.hardware_decoding) as file:
        return film_plan(task, file, work)


def _made(task: Task, file: VideoFile, work: Work, record: Record, progress: FilmProgress) -> None:
    plan, target = film_plan(task, file, work), place_of(task.target)
    _note(plan, work, record)
    settings = {"source": _fingerprint(task.source), **settings_of(plan, work, work.enlarger.digest)}
    job = SegmentedJob.open(target, settings, work.overwrite)
    try:
        film = Filming(task, file, plan, work, job, progress)
        if job.frames:
            work.report(f"{target}: goes on after frame {job.frames}")
        try:
            film.run()
        except BaseException as error:
            if job.frames:
                work.report(f"{target}: {job.frames} frames are kept; the same command goes on from there")
            if isinstance(error, OSError):
                raise OutputError(
                    f"{target}: cannot be written ({error.strerror}); make room, then run it again"
                ) from error
            raise
        record.warnings += _join(task, file, plan, work, job, film.times)
        job.remove()
    finally:
        job.close()
    _count(film, file, work, record)


def _note(plan: FilmPlan, work: Work, record: Record) -> None:
    geometry = plan.job.geometry
    record.model, record.input_size = work.enlarger.model, (geometry.width, geometry.height)
    record.output_size = geometry.out_width, geometry.out_height
    record.scale = round(max(geometry.out_width / geometry.width, geometry.out_height / geometry.height), 4)
    record.warnings += plan.warnings
    for note in plan.info.notes:
        work.report(f"{record.input}: {note}")


def _fingerprint(path: Path) -> str:
    """Of a file that may be too large to be read for this: its size, beginning and end."""
    size = path.stat().st_size
    with path.open("rb") as file:
        found = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, size - _ENDS), os.SEEK_SET)
        found.update(file.read(_ENDS))
    return f"{size}:{found.hexdigest()}"


def _join(task: Task, file: VideoFile, plan: FilmPlan, work: Work, job: SegmentedJob, times: "array[int]") -> list[str]:
    """The segments and the other streams in one file, which takes its name when it is proved; what could not be converted."""
    target, wishes, info = place_of(task.target), work.video or VideoWishes(), plan.info
    film = Film(plan.container, plan.encoding, job.paths, bytes.fromhex(job.segments[0].extradata))
    window, shift = (wishes.start, wishes.end), shift_of(plan, wishes) * info.time_base
    source: Any = file.container.streams[info.index]
    try:
        with replacing(target) as temporary:
            with Others(task.source, info.index, plan.carried, window, shift) as others:
                write(temporary, film, others, lambda stream: carry_metadata(source, stream))
                damage = others.damage()
            prove_video(temporary, target, array("q", sorted(times)), info.time_base)
            prove_streams(temporary, target, task.source, plan.carried, window, shift)
            _to_disk(temporary)
    except FFmpegError as error:
        raise VideoError(f"{task.source}: cannot be read to its end ({error.strerror}); the file is damaged") from error
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); make room, then run it again") from error
    return damage


def _to_disk(path: Path) -> None:
    """The segments are removed next: what replaces them must not be in memory only."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _count(film: Filming, file: VideoFile, work: Work, record: Record) -> None:
    done, seen, engine = film.progressed, file.seen, work.enlarger.engine
    record.frames = len(film.times)
    record.device, record.engine, record.precision = engine.device, engine.name, engine.precision
    if work.enlarger.settings.color_fix and film.shift.mean:
        record.color_shift, record.color_shift_largest = round(film.shift.mean, 3), round(film.shift.largest, 3)
    if seen.corrupt:
        record.warnings.append(f"{len(seen.corrupt)} frames are damaged in the source, the first is {seen.corrupt[0]}")
    if seen.lost:
        record.warnings.append(f"{seen.lost} places of the source could not be decoded; what was there is missing")
    if seen.retimed:
        record.warnings.append(
            f"{seen.retimed} frames had no time, or one before the frame before; they were given one"
        )
    record.video = {
        "frames": record.frames,
        "kept": done.kept,
        "same": done.same,
        "corrupt": len(seen.corrupt),
        "lost": seen.lost,
        "retimed": seen.retimed,
        "fps": round(done.frames / done.seconds, 3) if done.seconds else None,
        "busy": {name: round(seconds, 3) for name, seconds in done.busy.items()},
    }
