"""Many pictures through one enlarger: each by itself, in order, and none takes another with it."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image as Pil

import upscale.media.writing.encode
import upscale.pipeline
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.colorfix import Shift
from upscale.engines import Progress
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.errors import NotFiniteError, OutOfMemoryError, OutputError, PictureError
from upscale.handover import Handover
from upscale.image import Animation, Array, Band, Header, Image, Picture
from upscale.manifest import Manifest
from upscale.media import Source
from upscale.media.folder import Places, Task, tasks
from upscale.media.isolated.decoder import Decoder
from upscale.pipeline import failure, run
from upscale.sizes import Size
from upscale.spec import ModelSpec
from upscale.work import Outcome, Record, Work

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]
SPEC = ModelSpec("tiny", "compact", 4, features=8, blocks=2, activation="prelu")


@pytest.fixture(scope="module")
def enlarger(random_checkpoint: MakeCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Enlarger]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSCALE_CACHE", str(tmp_path_factory.mktemp("cache")))
        made = Enlarger(random_checkpoint(SPEC, 0), Wish(device="cpu"), Settings(color_fix=False))
    yield made
    made.close()


@pytest.fixture
def pictures(tmp_path: Path, make_photo: MakePhoto) -> list[Path]:
    paths = [tmp_path / "in" / f"{index}.png" for index in range(5)]
    paths[0].parent.mkdir()
    for index, path in enumerate(paths):
        Pil.fromarray(make_photo(8 + index, 9, index)).save(path)
    return paths


def planned(paths: list[Path], overwrite: bool = False) -> list[Task]:
    return tasks(map(str, paths), Places(paths[0].parents[1] / "out", overwrite=overwrite))


def done(found: list[Task], enlarger: Enlarger, scale: float = 4) -> list[Outcome]:
    return list(running(found, enlarger, scale))


def running(
    found: list[Task], enlarger: Enlarger, scale: float = 4, progress: Callable[[Task], Progress | None] | None = None
) -> Iterator[Outcome]:
    with Decoder() as decoder:
        yield from run(found, Work(enlarger, decoder, Size(scale=scale)), progress or (lambda _: None))


def size(path: str | Path) -> tuple[int, int]:
    """Of a picture that must be whole."""
    with Pil.open(path) as picture:
        picture.load()
        return picture.size


def states(outcomes: list[Outcome]) -> list[str]:
    return [outcome.record.status for outcome in outcomes]


def test_outcomes_come_in_order_and_tell_everything(pictures: list[Path], enlarger: Enlarger) -> None:
    outcomes = done(planned(pictures), enlarger)
    assert [outcome.record.input for outcome in outcomes] == list(map(str, pictures))
    for index, outcome in enumerate(outcomes):
        record = outcome.record
        assert (record.status, record.error, record.warnings, outcome.error) == ("done", None, [], None)
        assert (record.model, record.scale) == ("tiny", 4)
        assert (record.input_size, record.output_size) == ((9, 8 + index), (36, 4 * (8 + index)))
        assert (record.device, record.engine, record.precision) == (
            "cpu",
            enlarger.engine.name,
            enlarger.engine.precision,
        )
        assert record.bands >= 1
        assert record.seconds > 0
        assert record.output is not None
        assert size(record.output) == record.output_size


def test_row_35_a_picture_alone_and_in_a_batch_are_the_same_bytes(
    pictures: list[Path], enlarger: Enlarger, tmp_path: Path
) -> None:
    done(planned(pictures), enlarger)
    together = [(tmp_path / "out" / f"{path.stem}_x4.png").read_bytes() for path in pictures]
    for path, wanted in zip(pictures, together, strict=True):
        (outcome,) = done(planned([path], overwrite=True), enlarger)
        assert outcome.record.status == "done"
        assert (tmp_path / "out" / f"{path.stem}_x4.png").read_bytes() == wanted


def test_row_34_one_broken_file_is_one_failure(pictures: list[Path], enlarger: Enlarger) -> None:
    pictures[1].write_bytes(b"no picture")
    pictures[3].write_bytes(pictures[3].read_bytes()[:60])
    outcomes = done(planned(pictures), enlarger)
    assert states(outcomes) == ["done", "failed", "done", "failed", "done"]
    assert isinstance(outcomes[1].error, PictureError)
    assert str(pictures[1]) in str(outcomes[1].record.error)


def test_a_task_that_cannot_begin_is_a_failure_in_its_place(pictures: list[Path], enlarger: Enlarger) -> None:
    found = planned(pictures[:3])
    found[1] = Task(found[1].source, found[1].target, OutputError("taken"))
    outcomes = done(found, enlarger)
    assert states(outcomes) == ["done", "failed", "done"]
    assert outcomes[1].record.error == "taken"


@pytest.mark.parametrize("error", [RuntimeError("a\nbug"), MemoryError(), KeyError("x"), OutputError("full\ndisk")])
def test_any_fault_is_one_files_and_one_line(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    real = enlarger.bands

    def faulty(image: Image, *more: Any) -> Iterator[Band]:
        if image.height == 9:
            raise error
        return real(image, *more)

    monkeypatch.setattr(enlarger, "bands", faulty)
    outcomes = done(planned(pictures), enlarger)
    assert states(outcomes) == ["done", "failed", "done", "done", "done"]
    assert outcomes[1].error is error
    assert "\n" not in str(outcomes[1].record.error)
    assert not Path(str(outcomes[1].record.output)).exists()


def test_rows_4_and_5_an_engine_that_fails_midway_leaves_no_file(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = enlarger.bands

    def breaks(image: Image, *more: Any) -> Iterator[Band]:
        for band in real(image, *more):
            yield band
            raise (OutOfMemoryError if image.height % 2 else NotFiniteError)("in the middle")

    monkeypatch.setattr(enlarger, "bands", breaks)
    outcomes = done(planned(pictures), enlarger)
    assert states(outcomes) == ["failed"] * 5
    out = Path(str(outcomes[0].record.output)).parent
    assert not out.exists() or list(out.iterdir()) == []


@pytest.mark.parametrize("old", [False, True])
def test_a_failed_encode_is_a_failure_and_never_a_file(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch, old: bool
) -> None:
    found = planned(pictures, overwrite=True)
    target = found[2].target
    assert target is not None
    if old:
        target.parent.mkdir()
        target.write_bytes(b"old")
    real = upscale.media.writing.encode.write_png

    def full(file: BinaryIO, content: Any, *more: Any) -> None:
        real(file, content, *more)
        if content.height == 40:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(upscale.media.writing.encode, "write_png", full)
    outcomes = done(found, enlarger)
    assert states(outcomes) == ["done", "done", "failed", "done", "done"]
    assert "No space left" in str(outcomes[2].record.error)
    assert target.exists() == old
    assert not old or target.read_bytes() == b"old"
    assert len(list(target.parent.iterdir())) == 4 + old


def test_warnings_belong_to_their_picture(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = enlarger.bands

    def warns(image: Image, *more: Any) -> Iterator[Band]:
        if image.height == 9:
            enlarger.warnings.append("memory ran short")
        return real(image, *more)

    monkeypatch.setattr(enlarger, "bands", warns)
    outcomes = done(planned(pictures), enlarger)
    assert [outcome.record.warnings for outcome in outcomes] == [[], ["memory ran short"], [], [], []]


def test_a_scale_outside_the_limits_is_a_failure(pictures: list[Path], enlarger: Enlarger) -> None:
    found = planned(pictures[:1])
    with Decoder() as decoder:
        (outcome,) = run(found, Work(enlarger, decoder, Size(width=9 * 16 + 1)), lambda _: None)
    assert outcome.record.status == "failed"
    assert "16 times" in str(outcome.record.error)
    assert str(pictures[0]) in str(outcome.record.error)


@pytest.mark.parametrize("scale", [0.5, 0.75, 0.99])
def test_below_scale_1_the_network_does_not_run(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch, scale: float
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("the network ran")

    monkeypatch.setattr(enlarger.engine, "run", never)
    (outcome,) = done(planned(pictures[:1]), enlarger, scale)
    assert outcome.record.status == "done"
    assert outcome.record.output_size == (round(9 * scale), round(8 * scale))


def test_progress_of_each_picture_reaches_the_end(pictures: list[Path], enlarger: Enlarger) -> None:
    told: dict[Path, list[float]] = {}

    def progress(task: Task) -> Callable[[float], None]:
        return told.setdefault(task.source, []).append

    list(running(planned(pictures), enlarger, 4, progress))
    assert list(told) == pictures
    for shares in told.values():
        assert shares == sorted(shares)
        assert shares[-1] == pytest.approx(1)


def interrupted_at(height: int, enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch) -> None:
    real = enlarger.bands

    def interrupt(image: Image, *more: Any) -> Iterator[Band]:
        if image.height == height:
            raise KeyboardInterrupt
        return real(image, *more)

    monkeypatch.setattr(enlarger, "bands", interrupt)


def test_an_interrupt_keeps_what_is_finished_and_tells_of_it(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    interrupted_at(10, enlarger, monkeypatch)
    outcomes: list[Outcome] = []
    with pytest.raises(KeyboardInterrupt):
        outcomes.extend(running(planned(pictures), enlarger))  # extend keeps what came before
    assert states(outcomes) == ["done", "done"]
    kept = sorted((tmp_path / "out").iterdir())
    assert [path.name for path in kept] == ["0_x4.png", "1_x4.png"]
    for path in kept:
        size(path)


def test_closing_the_iterator_leaves_whole_files_only(pictures: list[Path], enlarger: Enlarger, tmp_path: Path) -> None:
    outcomes = running(planned(pictures), enlarger)
    next(outcomes)
    outcomes.close()  # pyright: ignore[reportAttributeAccessIssue]
    for path in (tmp_path / "out").iterdir():
        assert not path.name.startswith(".")
        size(path)


def test_no_more_than_one_picture_is_decoded_ahead(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    real = Decoder.open

    def counted(decoder: Decoder, path: Path) -> Source:
        read.append(path)
        return real(decoder, path)

    monkeypatch.setattr(Decoder, "open", counted)
    for index, _ in enumerate(running(planned(pictures), enlarger)):
        assert len(read) <= index + 5, "a folder of a thousand photographs is not held in memory"
    assert read == pictures


def test_a_failure_without_a_target_is_a_record(tmp_path: Path) -> None:
    outcome = failure(Task(tmp_path / "a.png", None, PictureError("gone")))
    assert outcome.record == Record(str(tmp_path / "a.png"), None, "failed", seconds=0.0, error="gone")


def test_16_bit_goes_in_and_16_bit_comes_out(tmp_path: Path, enlarger: Enlarger, make_photo: MakePhoto) -> None:
    import cv2

    for suffix in (".png", ".tif"):
        path = tmp_path / "in" / f"deep{suffix}"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), make_photo(24, 32, dtype=np.uint16)[..., ::-1])
        (outcome,) = done(planned([path]), enlarger)
        result = cv2.imread(str(outcome.record.output), cv2.IMREAD_UNCHANGED)
        assert result.dtype == np.uint16
        assert result.shape == (96, 128, 3)
        assert len(np.unique(result)) > 5000, "not 8 bits spread over 16"


# What the color fix did


def test_row_14_what_the_color_fix_did_is_in_the_record_and_much_of_it_is_a_warning(
    pictures: list[Path], random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    """Random weights shift colors by some 17 levels."""
    shift, fixing = Shift(), Enlarger(random_checkpoint(SPEC, 0), Wish(device="cpu"), Settings(color_fix=True))
    try:
        list(fixing.bands(Image(make_photo(8, 9, 0)), 4, None, shift))
        first, *rest = done(planned(pictures[:2]), fixing)
    finally:
        fixing.close()
    assert shift.largest > shift.mean > 8
    assert first.record.color_shift == pytest.approx(shift.mean, abs=0.001)
    assert first.record.color_shift_largest == pytest.approx(shift.largest, abs=0.001)
    for outcome in (first, *rest):
        (warning,) = outcome.record.warnings
        assert f"color fix moved colors by {outcome.record.color_shift:.0f} levels" in warning


@pytest.mark.parametrize(("levels", "warned"), [(7.9, False), (8.1, True)])
def test_a_shift_is_suspicious_past_eight_levels(
    pictures: list[Path],
    random_checkpoint: MakeCheckpoint,
    monkeypatch: pytest.MonkeyPatch,
    levels: float,
    warned: bool,
) -> None:
    fixing = Enlarger(random_checkpoint(SPEC, 0), Wish(device="cpu"), Settings(color_fix=True))
    real = fixing.bands

    def shifted(picture: Picture, size: Size, progress: Progress | None, shift: Shift) -> Iterator[Band]:
        shift.add(np.full((4, 4, 3), -levels / 255, np.float32))
        return real(picture, size, progress)

    monkeypatch.setattr(fixing, "bands", shifted)
    (outcome,) = done(planned(pictures[:1]), fixing)
    fixing.close()
    assert outcome.record.color_shift == pytest.approx(levels, abs=0.001)
    assert bool(outcome.record.warnings) == warned


def test_without_color_fix_there_is_no_shift_to_tell(pictures: list[Path], enlarger: Enlarger) -> None:
    (outcome,) = done(planned(pictures[:1]), enlarger)
    assert (outcome.record.color_shift, outcome.record.color_shift_largest) == (None, None)


# A writer that fails, and files opened for nothing


def test_a_writer_that_fails_keeps_nobody_waiting(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where much more is to come than may wait for it."""
    made: list[Handover] = []
    late = threading.Event()

    def small() -> Handover:
        made.append(Handover(1))
        return made[-1]

    def rescue() -> None:
        late.set()
        for handover in made:
            handover.abandon()

    def broken(path: Path, *more: Any) -> None:
        raise OutputError(f"{path}: no")

    real = enlarger.bands

    def rows(*given: Any) -> Iterator[Band]:
        for band in real(*given):
            yield from (Band(band.rgb[row : row + 1]) for row in range(band.rgb.shape[0]))

    monkeypatch.setattr(upscale.pipeline, "Handover", small)
    monkeypatch.setattr(upscale.pipeline, "save", broken)
    monkeypatch.setattr(enlarger, "bands", rows)
    timer = threading.Timer(5, rescue)
    timer.start()
    try:
        (outcome,) = done(planned(pictures[:1]), enlarger)
    finally:
        timer.cancel()
    assert len(made) == 1
    assert not late.is_set(), "the network waited for a writer that was gone"
    assert outcome.record.error == f"{outcome.record.output}: no"


class Opened:
    """A source that tells whether it was closed."""

    def __init__(self, real: Source) -> None:
        self._real, self.entered, self.closed = real, False, False
        self.header: Header = real.header
        self.animation: Animation | None = real.animation
        self.warnings: list[str] = real.warnings

    def pictures(self) -> Iterator[Picture]:
        return self._real.pictures()

    def __enter__(self) -> "Opened":
        self._real.__enter__()
        self.entered = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._real.__exit__(kind, error, trace)
        self.closed = True


def watched(monkeypatch: pytest.MonkeyPatch) -> list[Opened]:
    """All that is opened from now on."""
    found: list[Opened] = []
    real = Decoder.open

    def watching(decoder: Decoder, path: Path) -> Opened:
        found.append(Opened(real(decoder, path)))
        return found[-1]

    monkeypatch.setattr(Decoder, "open", watching)
    return found


def wait_for_one_ahead(found: list[Opened], before: int) -> None:
    """Until a file is open that is not in work, after `before` of them."""
    end = time.monotonic() + 10
    while len(found) <= before and time.monotonic() < end:
        time.sleep(0.01)
    assert len(found) == before + 1


def test_a_file_opened_ahead_is_closed_when_nobody_wants_more(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = watched(monkeypatch)
    outcomes = running(planned(pictures), enlarger)
    next(outcomes)
    wait_for_one_ahead(found, sum(source.entered for source in found))
    outcomes.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert 2 <= len(found) < 5
    assert all(source.closed for source in found)


def test_a_file_opened_ahead_is_closed_at_an_interrupt(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = watched(monkeypatch), enlarger.bands

    def interrupt(image: Image, *more: Any) -> Iterator[Band]:
        if image.height == 9:
            wait_for_one_ahead(found, 2)
            raise KeyboardInterrupt
        return real(image, *more)

    monkeypatch.setattr(enlarger, "bands", interrupt)
    with pytest.raises(KeyboardInterrupt):
        done(planned(pictures), enlarger)
    assert [source.closed for source in found] == [True, True, True]


# What the list of results knows


class Killed(BaseException):
    pass


def listed(paths: list[Path]) -> list[Task]:
    return tasks(map(str, paths), Places(paths[0].parents[1] / "out", resume=True))


def killed(manifest: Manifest) -> None:
    """As the system does it: nothing is put in order, and the lock is gone."""
    handle, manifest._handle = manifest._handle, None  # pyright: ignore[reportPrivateUsage]
    assert handle is not None
    os.close(handle)


def resuming(found: list[Task], manifest: Manifest, enlarger: Enlarger) -> list[Outcome]:
    root = found[0].root
    assert root is not None
    with Decoder() as decoder:
        work = Work(enlarger, decoder, Size(scale=4), resume=True, manifests={root: manifest})
        return list(run(found, work, lambda _: None))


def test_wish_9_a_run_killed_when_a_file_just_got_its_name_knows_it_again(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch
) -> None:
    found, real = listed(pictures[:2]), upscale.pipeline.save

    def save(path: Path, *more: Any) -> None:
        real(path, *more)
        if path == found[1].target:
            raise Killed

    monkeypatch.setattr(upscale.pipeline, "save", save)
    assert found[0].root is not None
    manifest = Manifest.open(found[0].root, {})
    with pytest.raises(Killed):
        resuming(found, manifest, enlarger)
    killed(manifest)
    assert all(task.target is not None and task.target.exists() for task in found)
    monkeypatch.setattr(upscale.pipeline, "save", real)
    with Manifest.open(found[0].root, {}) as manifest:
        assert [manifest.verdict(task) for task in found] == ["finished", "redo"]
        assert states(resuming(found, manifest, enlarger)) == ["skipped", "done"]
        assert [manifest.verdict(task) for task in found] == ["finished", "finished"]


def test_wish_9_a_picture_that_changes_while_it_is_enlarged_is_made_again(
    pictures: list[Path], enlarger: Enlarger, monkeypatch: pytest.MonkeyPatch, make_photo: MakePhoto
) -> None:
    """Its fingerprint is what it was before it was read."""
    found, real = listed(pictures[:1]), Decoder.open

    def changes(decoder: Decoder, path: Path) -> Source:
        source = real(decoder, path)
        Pil.fromarray(make_photo(8, 9, 77)).save(path)
        return source

    monkeypatch.setattr(Decoder, "open", changes)
    assert found[0].root is not None
    with Manifest.open(found[0].root, {}) as manifest:
        assert states(resuming(found, manifest, enlarger)) == ["done"]
        assert [manifest.verdict(task) for task in found] == ["redo"]
