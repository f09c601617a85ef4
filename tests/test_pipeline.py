"""Many pictures through one enlarger: each by itself, in order, and none takes another with it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from PIL import Image as Pil

import upscale.media.writing.encode
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.errors import NotFiniteError, OutOfMemoryError, OutputError, PictureError
from upscale.image import Array, Band, Image
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
