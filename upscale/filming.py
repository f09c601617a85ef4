"""The frames of one video through the network: three stages, each in its own thread, segment by segment onto the disk."""

import time
from array import array
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

from upscale.colorfix import Shift
from upscale.errors import OutputError, UpscaleError, VideoError
from upscale.filmplan import FilmPlan
from upscale.frame import FloatPicture, Frame
from upscale.handover import AbandonedError, Channel
from upscale.image import Array, Floats, joined
from upscale.media.folder import Task
from upscale.media.metadata import upright
from upscale.media.video.clip import Clip
from upscale.media.video.encoder import Encoder
from upscale.media.video.packets import SegmentWriter
from upscale.segments import SegmentedJob, State
from upscale.sizes import Size
from upscale.steady import Steady
from upscale.wishes import VideoWishes
from upscale.work import Work
from upscale.yuv import planes_of, rgb_of

_WAITING, _WAITING_BYTES = 4, 128 << 20
"""Frames, and bytes, that may wait between two stages: enough for each to go on while another takes its time."""

FilmProgress = Callable[["Progressed"], None]


@dataclass(slots=True)
class Progressed:
    """How far a video is. `total`: frames to be made, None where nobody knows; `busy`: seconds that each stage has worked."""

    frames: int = 0
    total: int | None = None
    kept: int = 0
    same: int = 0
    seconds: float = 0.0
    busy: dict[str, float] = field(default_factory=lambda: {"decode": 0.0, "network": 0.0, "encode": 0.0})


@dataclass(frozen=True, slots=True)
class _Shown:
    """A frame on its way, with what was made of it so far. `picture` None: it is the one before again, and so is its result.
    `state`: with the last frame of a segment, what those after it depend on."""

    frame: Frame
    picture: FloatPicture | None
    rgb: Floats | None = None
    alpha: Floats | None = None
    state: State | None = None

    @property
    def nbytes(self) -> int:
        arrays = [*self.frame.planes, self.picture and self.picture.rgb, self.rgb]
        return sum(array.nbytes for array in arrays if array is not None)


class Filming:
    """The three stages, each in its own thread; the network in the caller's.

    `times`: pts of all frames in order; `last`: how long the last one is shown; in units of the source's time base.
    """

    def __init__(
        self, task: Task, file: Clip, plan: FilmPlan, work: Work, job: SegmentedJob, progress: FilmProgress
    ) -> None:
        self._task, self._file, self._plan, self._work, self._job = task, file, plan, work, job
        self._wishes = work.video
        self._told, self.shift = progress, Shift()
        self.times = array("q")
        self.last = 0
        self.progressed = Progressed(total=_total(plan, self._wishes), kept=job.frames)
        self._decoded: Channel[_Shown] = Channel(_WAITING_BYTES, _WAITING)
        self._finished: Channel[_Shown] = Channel(_WAITING_BYTES, _WAITING)
        self._steady = Steady(self._wishes.steady) if self._wishes.steady > 0 else None
        self._stored = job.state() or {}
        self._shift = shift_of(plan, self._wishes)
        self._began = time.perf_counter()

    def run(self) -> None:
        """Returns when every frame is in a segment on the disk."""
        with ThreadPoolExecutor(2, "film") as threads:
            decoding, encoding = threads.submit(self._decode), threads.submit(self._encode)
            try:
                self._compute()
            except AbandonedError:
                pass  # the encoder says why
            except BaseException as error:
                self._finished.end(error if isinstance(error, UpscaleError) else UpscaleError("interrupted"))
                self._decoded.abandon()
                raise
            else:
                self._finished.end()
            self._decoded.abandon()
            _raise_of(encoding)
            _raise_of(decoding)

    def _decode(self) -> None:
        try:
            for shown in self._shown():
                self._decoded.put(shown, shown.nbytes)
        except AbandonedError:
            pass
        except BaseException as error:
            self._decoded.end(error)
        else:
            self._decoded.end()

    def _shown(self) -> Iterator[_Shown]:
        """Frames that are not done yet, as pictures; those that only repeat the one before without."""
        busy, wishes, done = self.progressed.busy, self._wishes, self._job.frames
        before = _part(self._stored, "source")
        clock = time.perf_counter()
        for frame in self._file.frames(wishes.start, wishes.end):
            self.times.append(frame.pts - self._shift)
            self.last = frame.duration
            if frame.number < done:
                continue
            same = before is not None and _alike(frame, before, wishes.dedupe)
            picture = None if same else self._picture(frame)
            if not same:
                before = frame.planes
            busy["decode"] += time.perf_counter() - clock
            yield _Shown(frame, picture, state=self._border_state(frame, before))
            clock = time.perf_counter()
        if len(self.times) < done:
            raise VideoError(
                f"{self._task.source}: has {len(self.times)} frames, fewer than are finished already; begin anew with "
                "--overwrite"
            )
        if not self.times:
            raise VideoError(f"{self._task.source}: no frame lies between --start and --end; check them")

    def _picture(self, frame: Frame) -> FloatPicture:
        rgb, alpha = rgb_of(frame.planes, frame.layout, frame.color)
        if self._plan.fill is not None and alpha is not None:
            color = np.array(self._plan.fill, np.float32) / 255
            rgb, alpha = rgb * alpha[..., None] + color * (1 - alpha[..., None]), None
        turn = self._plan.info.orientation
        rgb, alpha = upright(rgb, turn), None if alpha is None else upright(alpha, turn)
        return FloatPicture(np.ascontiguousarray(rgb), alpha, self._plan.deep, frame.color)

    def _border_state(self, frame: Frame, before: tuple[Array, ...] | None) -> State | None:
        """With the last frame of a segment, what the comparison of the next one depends on."""
        border = (frame.number + 1) % self._plan.segment == 0
        if not border or not (self._wishes.steady or self._wishes.dedupe) or before is None:
            return None
        return {f"source{index}": np.asarray(plane) for index, plane in enumerate(before)}

    def _compute(self) -> None:
        if self._steady is not None:
            self._steady.state = {name[7:]: value for name, value in self._stored.items() if name.startswith("steady_")}
        busy, size = self.progressed.busy, Size(width=self._plan.encoding.width, height=self._plan.encoding.height)
        for shown in self._decoded.taken():
            clock = time.perf_counter()
            done = shown if shown.picture is None else self._enlarged(shown, shown.picture, size)
            done = self._with_steady_state(done)
            busy["network"] += time.perf_counter() - clock
            self._finished.put(done, done.nbytes)

    def _enlarged(self, shown: _Shown, picture: FloatPicture, size: Size) -> _Shown:
        try:
            whole = joined(list(self._work.enlarger.bands(picture, size, None, self.shift)))
        except UpscaleError as error:
            seconds = float(shown.frame.pts * shown.frame.time_base)
            raise VideoError(
                f"{self._task.source}: frame {shown.frame.number} at {seconds:.3f} s could not be enlarged: {error}"
            ) from error
        rgb = whole.rgb
        if self._steady is not None:
            rgb = self._steady.frame(picture.rgb, np.asarray(rgb, np.float32))
        return _Shown(shown.frame, picture, rgb, whole.alpha, shown.state)

    def _with_steady_state(self, shown: _Shown) -> _Shown:
        """At a segment's border, with what the next frame's steadying depends on."""
        if self._steady is None or shown.state is None:
            return shown
        state = {f"steady_{name}": value for name, value in self._steady.state.items()}
        return replace(shown, state={**shown.state, **state})

    def _encode(self) -> None:
        try:
            self._write_segments()
        except BaseException:
            self._finished.abandon()
            raise

    def _write_segments(self) -> None:
        frames = self._finished.taken()
        planes = _part(self._stored, "planes")
        while (first := next(frames, None)) is not None:
            planes = self._write_segment(first, frames, planes)

    def _write_segment(
        self, first: _Shown, frames: Iterator[_Shown], planes: tuple[Array, ...] | None
    ) -> tuple[Array, ...] | None:
        """One segment that begins with `first`; gives the planes of its last frame."""
        job, segment, busy = self._job, self._plan.segment, self.progressed.busy
        with SegmentWriter(job.path(len(job.segments))) as writer:
            encoder, shown, count, same, state = Encoder(self._plan.encoding), first, 0, 0, None
            while True:
                clock = time.perf_counter()
                planes = self._planes(shown, planes)
                for coded in encoder.encode(planes, shown.frame.pts - self._shift, shown.frame.duration):
                    writer.add(coded)
                busy["encode"] += time.perf_counter() - clock
                count, same, state = count + 1, same + (shown.picture is None), shown.state
                self._tell(shown.picture is None)
                following = next(frames, None) if (shown.frame.number + 1) % segment else None
                if following is None:
                    break
                shown = following
            for coded in encoder.finish():
                writer.add(coded)
            if writer.frames != count:
                raise OutputError(
                    f"{self._plan.encoding.encoder} gave {writer.frames} of {count} frames; use another --codec"
                )
            sha256 = writer.done()
        if state is not None:
            state = {**state, **{f"planes{index}": plane for index, plane in enumerate(planes)}}
        job.add(count, sha256, encoder.extradata, state, {"same": same})
        return planes

    def _planes(self, shown: _Shown, before: tuple[Array, ...] | None) -> tuple[Array, ...]:
        if shown.rgb is None:
            assert before is not None
            return before
        encoding, alpha = self._plan.encoding, shown.alpha
        if encoding.layout.alpha and alpha is None:  # a frame without, among others with transparency
            alpha = np.ones(shown.rgb.shape[:2], np.float32)
        return planes_of(shown.rgb, alpha, encoding.layout, encoding.color)

    def _tell(self, same: bool) -> None:
        progressed = self.progressed
        progressed.frames += 1
        progressed.same += same
        progressed.seconds = time.perf_counter() - self._began
        self._told(progressed)


def _raise_of(future: "Future[None]") -> None:
    error = future.exception()
    if error is not None:
        raise error


def _part(state: State, name: str) -> tuple[Array, ...] | None:
    found = tuple(state[f"{name}{index}"] for index in range(4) if f"{name}{index}" in state)
    return found or None


def _alike(frame: Frame, before: tuple[Array, ...], most: float) -> bool:
    """Whether no code differs by more than `most`, in 8-bit levels; with 0, whether they are the same bit for bit."""
    if [plane.shape for plane in frame.planes] != [plane.shape for plane in before]:
        return False
    if most == 0:
        return all(np.array_equal(one, two) for one, two in zip(frame.planes, before, strict=True))
    limit = most * (1 << (frame.layout.depth - 8))
    pairs = zip(frame.planes, before, strict=True)
    return all(
        int(np.maximum(one, two).astype(np.int32).__sub__(np.minimum(one, two)).max()) <= limit for one, two in pairs
    )


def _total(plan: FilmPlan, wishes: VideoWishes) -> int | None:
    info = plan.info
    if wishes.start is None and wishes.end is None and info.frames:
        return info.frames
    if info.seconds is None:
        return None
    start, end = wishes.start or Fraction(0), wishes.end
    seconds = info.seconds if end is None else min(float(end), info.seconds)
    return max(1, round((seconds - float(start)) * info.rate))


def shift_of(plan: FilmPlan, wishes: VideoWishes) -> int:
    """What is subtracted from all times so that an excerpt begins at zero."""
    return 0 if wishes.start is None else int(wishes.start / plan.info.time_base)
