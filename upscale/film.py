"""One video from end to end: planned, made segment by segment, joined with everything else of the source, and proved."""

import contextlib
import hashlib
import os
import time
from array import array
from collections.abc import Generator, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import cast

from av.error import FFmpegError

from upscale import zoo
from upscale.errors import OutputError, VideoError
from upscale.files import clear_stale, replacing
from upscale.filming import Filming, FilmProgress, shift_of
from upscale.filmplan import FilmPlan, described_tile, film_plan, settings_of
from upscale.media.folder import Task, exists_already
from upscale.media.video.clip import Clip
from upscale.media.video.join import Film, write
from upscale.media.video.prove import prove_streams, prove_video
from upscale.media.video.sequence import PictureSequence
from upscale.media.video.source import VideoFile
from upscale.plans import MIN_ROWS
from upscale.segments import SegmentedJob, begun_with
from upscale.stages import macs_per_pixel
from upscale.work import Outcome, Record, Work, failed, place_of, record_of, to_do

PREVIEW_SECONDS = 2

_ENDS = 1 << 20
"""Bytes at each end of a file that tell it from another."""


def run_film(task: Task, work: Work, progress: FilmProgress | None = None) -> Outcome:
    """Enlarges one video. Ctrl-C leaves finished segments, and the same call goes on from there."""
    started, record = time.perf_counter(), record_of(task)
    try:
        if work.video.preview:
            task, work = _previewed(task, work)
            record.output = str(task.target)
        if not to_do(task, work):
            record.status = "skipped"
            return Outcome(record)
        clear_stale(place_of(task.target).parent)
        with _readable(task), opened(task, work) as file:
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
    with _readable(task), opened(task, work) as file:
        return film_plan(task, file, work)


@contextlib.contextmanager
def _readable(task: Task) -> Generator[None]:
    """Makes of what FFmpeg finds wrong while it reads an error that people understand."""
    try:
        yield
    except FFmpegError as error:
        raise VideoError(f"{task.source}: cannot be read ({error.strerror}); the file is damaged") from error


def opened(task: Task, work: Work) -> Clip:
    """A task's video file, or its folder of pictures. Raises VideoError and PictureError."""
    wishes = work.video
    if not task.sequence:
        return VideoFile(task.source, wishes.deinterlace, wishes.hardware_decoding)
    if wishes.rate is None:
        raise VideoError(f"{task.source}: say how many pictures a second the video shall have, such as --fps 24")
    return PictureSequence(task.source, wishes.rate, work.decoder.open)


def _previewed(task: Task, work: Work) -> tuple[Task, Work]:
    """The task and work of two seconds from --start or the middle on."""
    if task.error is not None:
        raise task.error
    target, wishes = place_of(task.target), work.video
    with opened(task, work) as file:
        seconds = Fraction(file.info.seconds or 0)
    start = wishes.start if wishes.start is not None else max(Fraction(0), (seconds - PREVIEW_SECONDS) / 2)
    start = start.limit_denominator(1000)
    end = min(start + PREVIEW_SECONDS, wishes.end or start + PREVIEW_SECONDS)
    target = target.with_name(f"{target.stem}_preview{target.suffix}")
    if target.exists() and not work.overwrite:
        raise exists_already(target)
    return replace(task, target=target), replace(work, video=replace(wishes, start=start, end=end), manifests={})


def _made(task: Task, file: Clip, work: Work, record: Record, progress: FilmProgress) -> None:
    target = place_of(task.target)
    plan = _as_begun(film_plan(task, file, work), task, file, work)
    _note(plan, work, record)
    settings = {"source": _fingerprint(task.source), **settings_of(plan, work, work.enlarger.digest)}
    job = SegmentedJob.open(target, settings, work.overwrite)
    try:
        film = Filming(task, file, plan, work, job, progress)
        if job.frames:
            work.report(f"{target}: goes on after frame {job.frames}")
        try:
            with _writable(target):
                film.run()
        except BaseException:
            if job.frames:
                work.report(f"{target}: {job.frames} frames are kept; the same command goes on from there")
            else:
                job.remove()
            raise
        record.warnings += _join(task, file, plan, work, job, film)
        job.remove()
    finally:
        job.close()
    _count(film, file, plan, work, record)
    if work.video.preview:
        _foretell(film, plan, work, record)


def _as_begun(plan: FilmPlan, task: Task, file: Clip, work: Work) -> FilmPlan:
    """With the bands and threads of an interrupted run, which may come out otherwise where memory or processors differ."""
    begun = begun_with(place_of(task.target))
    rows, threads = cast("list[list[int]] | None", begun.get("tile")), begun.get("threads")
    if rows and rows != described_tile(plan):
        tile = max(MIN_ROWS, rows[0][0] * work.enlarger.spec.unshuffle)
        work.enlarger.settings = replace(work.enlarger.settings, tile=tile)
        plan = film_plan(task, file, work)
    if isinstance(threads, int):
        plan = replace(plan, encoding=replace(plan.encoding, threads=threads))
    return plan


def _foretell(film: Filming, plan: FilmPlan, work: Work, record: Record) -> None:
    """Says how long the whole would take, and what other models would cost: theirs by their arithmetic."""
    done, info = film.progressed, plan.info
    total = info.frames or (round(info.seconds * info.rate) if info.seconds else None)
    if not done.frames or total is None or record.video is None:
        return
    rate = done.seconds / done.frames
    record.video["seconds_for_all"] = round(rate * total, 1)
    work.report(f"{1 / rate:.2f} frames a second: all {total} frames would take about {_clock(rate * total)}")
    share = done.busy["network"] / done.frames
    for name, factor in _alternatives(work):
        work.report(
            f"with --model {name} about {_clock(max(rate, share * factor) * total)} (by its arithmetic, not measured)"
        )


def _alternatives(work: Work) -> Iterator[tuple[str, float]]:
    """The other models on this machine, and how many times the work's arithmetic theirs is."""
    own = macs_per_pixel(work.enlarger.spec)
    for model in zoo.entries():
        if model.here is not None and model.name != work.enlarger.model:
            yield model.name, macs_per_pixel(zoo.load(model.name).spec) / own


def _clock(seconds: float) -> str:
    whole = max(1, round(seconds))
    parts = (whole // 3600, whole // 60 % 60, whole % 60)
    return f"{parts[0]} h {parts[1]} min" if parts[0] else f"{parts[1]} min {parts[2]} s" if parts[1] else f"{whole} s"


def _note(plan: FilmPlan, work: Work, record: Record) -> None:
    geometry = plan.job.geometry
    record.model, record.input_size = work.enlarger.model, (geometry.width, geometry.height)
    record.output_size = geometry.out_width, geometry.out_height
    record.scale = round(max(geometry.out_width / geometry.width, geometry.out_height / geometry.height), 4)
    record.warnings += plan.warnings
    for note in plan.info.notes:
        work.report(f"{record.input}: {note}")


def _fingerprint(path: Path) -> str:
    """Of a file that may be too large to be read for this: its size, beginning and end; of a folder, its files' names and
    sizes."""
    if path.is_dir():
        files = sorted((entry.name, entry.stat().st_size) for entry in os.scandir(path) if entry.is_file())
        return hashlib.sha256(repr(files).encode("utf-8", "surrogatepass")).hexdigest()
    size = path.stat().st_size
    with path.open("rb") as file:
        found = hashlib.sha256(file.read(_ENDS))
        file.seek(max(0, size - _ENDS), os.SEEK_SET)
        found.update(file.read(_ENDS))
    return f"{size}:{found.hexdigest()}"


def _join(task: Task, file: Clip, plan: FilmPlan, work: Work, job: SegmentedJob, film: Filming) -> list[str]:
    """The segments and the other streams in one file, which takes its name when it is proved; what could not be converted."""
    target, wishes, info = place_of(task.target), work.video, plan.info
    whole = Film(plan.container, plan.encoding, job.paths, bytes.fromhex(job.segments[0].extradata))
    window, shift = (wishes.start, wishes.end), shift_of(plan, wishes) * info.time_base
    with _writable(target), replacing(target) as temporary:
        others = file.others(plan.carried, window, shift)
        with others or contextlib.nullcontext():
            write(temporary, whole, others, file.carry)
            damage = others.damage() if others is not None else []
        prove_video(temporary, target, array("q", sorted(film.times)), film.last, info.time_base)
        prove_streams(temporary, target, task.source, plan.carried, window, shift)
        _to_disk(temporary)
    return damage


@contextlib.contextmanager
def _writable(target: Path) -> Generator[None]:
    """Makes of a disk that takes no more an error that says what to do."""
    try:
        yield
    except FFmpegError:
        raise  # some of them are OSErrors too, but about the source
    except OSError as error:
        raise OutputError(f"{target}: cannot be written ({error.strerror}); make room, then run it again") from error


def _to_disk(path: Path) -> None:
    """The segments are removed next: what replaces them must not be in memory only."""
    handle = os.open(path, os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _count(film: Filming, file: Clip, plan: FilmPlan, work: Work, record: Record) -> None:
    done, seen, engine = film.progressed, file.seen, work.enlarger.engine
    record.frames = len(film.times)
    record.device, record.engine, record.precision = engine.device, engine.name, engine.precision
    if work.enlarger.settings.color_fix and film.shift.mean:
        record.color_shift, record.color_shift_largest = round(film.shift.mean, 3), round(film.shift.largest, 3)
    if seen.corrupt:
        record.warnings.append(f"{len(seen.corrupt)} frames are damaged in the source, the first is {seen.corrupt[0]}")
    if seen.lost:
        record.warnings.append(f"{seen.lost} places of the source could not be decoded; what was there is missing")
    announced = plan.info.seconds if work.video.end is None else None
    if announced is not None and seen.end < announced - max(0.3, 0.02 * announced):
        record.warnings.append(
            f"the video ends after {seen.end:.1f} s, though the file announces {announced:.1f} s; it may be cut off"
        )
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
