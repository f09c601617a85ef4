"""What shall be done to inputs, what it means for one of them, and what became of it."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Literal

from upscale.engines.machine import free_bytes
from upscale.enlarge import Enlarger, Job
from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.image import Header
from upscale.manifest import Manifest, foreign
from upscale.media import Source
from upscale.media.folder import Task
from upscale.media.formats import Format, format_of
from upscale.media.isolated.decoder import Decoder
from upscale.media.isolated.wire import Opened
from upscale.media.reading.sniff import HEAD, sniff
from upscale.media.writing.encode import Encoding, bytes_needed, losses
from upscale.sizes import Size
from upscale.wishes import VideoWishes

Status = Literal["done", "skipped", "failed"]

_SHARE_OF_FREE = 0.8


@dataclass(slots=True)
class Record:
    """What became of one input; one line of `--json`. `color_shift`: what the color fix put back, in 8-bit levels."""

    input: str
    output: str | None
    status: Status = "done"
    model: str = ""
    scale: float = 0.0
    input_size: tuple[int, int] | None = None
    output_size: tuple[int, int] | None = None
    frames: int = 1
    seconds: float = 0.0
    device: str = ""
    engine: str = ""
    precision: str = ""
    bands: int = 0
    color_shift: float | None = None
    color_shift_largest: float | None = None
    warnings: list[str] = field(default_factory=list[str])
    video: dict[str, Any] | None = None
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A record, and the exception behind a failure for those who want the traceback."""

    record: Record
    error: BaseException | None = None


@dataclass(frozen=True, slots=True)
class Work:
    """What is done to every input, the same for one and for a thousand.

    `format`: of all results; else each one's name decides. `manifests`: by the folder they are responsible for.
    `before_large` is called before the work on a large picture. `report` is told what somebody should know before the work on
    a picture begins. `video`: what is asked for of videos.
    """

    enlarger: Enlarger
    decoder: Decoder
    size: Size
    format: Format | None = None
    quality: int | None = None
    background: tuple[int, int, int] | None = None
    overwrite: bool = False
    resume: bool = False
    manifests: dict[Path, Manifest] = field(default_factory=dict[Path, Manifest])
    stdout: BinaryIO | None = None
    report: Callable[[str], None] = lambda text: None
    before_large: Callable[[], None] = lambda: None
    video: VideoWishes = field(default_factory=VideoWishes)

    def encoding(self, task: Task) -> Encoding:
        """By the format asked for, the target's name, or, for stdout, what the source is."""
        found = self.format or (_format_inside(task.source) if task.stdout else format_of(place_of(task.target)))
        return Encoding(found, self.quality, self.background)

    def manifest(self, task: Task) -> Manifest | None:
        return None if task.root is None else self.manifests.get(task.root)


@dataclass(frozen=True, slots=True)
class Planned:
    """What will be done to an opened file, known before its pixels are decoded. `warnings`: what of it will be lost."""

    job: Job
    result: Header
    encoding: Encoding
    frames: int
    bytes_to_write: int
    warnings: list[str]

    @property
    def bytes_needed(self) -> int:
        return self.job.bytes_needed + self.job.bytes_whole + self.bytes_to_write


def planned(task: Task, work: Work) -> Planned:
    """Looks at a task's file and plans it. Raises PictureError and OutputError as the work itself would."""
    if task.error is not None:
        raise task.error
    return plan_of(task, work.decoder.look(task.source), work)


def plan_of(task: Task, opened: Opened | Source, work: Work) -> Planned:
    """The plan for a file that is open already. Raises PictureError and OutputError."""
    header, target = opened.header, place_of(task.target)
    try:
        job = work.enlarger.job(header.width, header.height, work.size, header.dtype, header.alpha)
    except ValueError as error:
        raise PictureError(f"{task.source}: {error}; ask for a smaller size") from error
    result = replace(header, width=job.out_width, height=job.out_height)
    encoding = work.encoding(task)
    moving = opened.animation is not None and encoding.format.animated
    try:
        need, free = bytes_needed(result, opened.animation, encoding), free_bytes("cpu")
    except OutputError as error:
        raise OutputError(f"{target}: {error}") from error
    if need + job.bytes_whole > _SHARE_OF_FREE * free:
        which, remedy = f"{encoding.format.name} is written", "use .png or .tif, which are written row by row"
        if job.bytes_whole > need:
            which, remedy = "with --tta or --wrap y the picture is held", "leave them out, or ask for a smaller size"
        raise OutputError(
            f"{target}: {which} in one piece, which needs {(need + job.bytes_whole) / 1e9:.1f} GB of memory, but only "
            f"{free / 1e9:.1f} GB are free; {remedy}"
        )
    warnings = [*opened.warnings, *losses(result, opened.animation, encoding)]
    frames = len(opened.animation.durations) if opened.animation is not None and moving else 1
    return Planned(job, result, encoding, frames, need, warnings)


def failed(record: Record, error: Exception, started: float) -> Outcome:
    """What is told of a task that could not be done; `started` by time.perf_counter."""
    record.status, record.seconds = "failed", round(time.perf_counter() - started, 3)
    known = isinstance(error, UpscaleError)
    text = str(error) if known else f"{record.input}: {type(error).__name__}: {error}"
    record.error = " ".join(text.split())
    return Outcome(record, error)


def _format_inside(path: Path) -> Format:
    with path.open("rb") as file:
        return sniff(file.read(HEAD))


def to_do(task: Task, work: Work) -> bool:
    """Whether a task is still to be done; notes in its manifest that it is begun. Raises UpscaleError where it cannot be."""
    if task.error is not None:
        raise task.error
    manifest = work.manifest(task)
    if manifest is None:
        return True
    verdict = manifest.verdict(task) if work.resume else "new"
    if verdict == "foreign" and not work.overwrite:
        raise foreign(task)
    if verdict != "finished":
        manifest.begin(task)
    return verdict != "finished"


def record_of(task: Task) -> Record:
    """A record to be filled in."""
    return Record("-" if task.stdin else str(task.source), None if task.target is None else str(task.target))


def place_of(target: Path | None) -> Path:
    """The place of a result that has one. Raises UpscaleError."""
    if target is None:
        raise UpscaleError("no place for the result")
    return target
