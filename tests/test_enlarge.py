"""One picture larger: sizes, depth, rim, alpha, passes, and that short memory or NaN never changes or loses a pixel."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from upscale import enlarge as module
from upscale.bands import Plan
from upscale.chain import WRAP_PADDING, Settings
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine, Progress
from upscale.engines.choose import Choice, Wish, open_engine
from upscale.engines.reference import ReferenceEngine
from upscale.enlarge import PADDING, Enlarger, Report
from upscale.errors import NotFiniteError, OutOfMemoryError
from upscale.image import Array, Color, Floats, Image, Metadata, from_float, to_float
from upscale.plans import ladder
from upscale.resample import catmull_rom, resampled
from upscale.rows import bands
from upscale.spec import ModelSpec
from upscale.zoo import load

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]

RRDB = ModelSpec("small", "rrdb", 2, 8, 4, 1)
COMPACT = ModelSpec("tiny", "compact", 4, 8, blocks=2, activation="prelu")
X2 = ModelSpec("x2", "rrdb", 2, 8, 4, 1, unshuffle=2)

NETWORK = Settings(color_fix=False)
"""What the network gives."""

GB = 1 << 30
ROUNDING = 1e-5
"""fp32 sums in another order."""


class Moody:
    """A real engine, passed off as `device`, that may run out of memory or return NaN.

    `fits` tells whether a plan fits; where it does not, the error comes after `late` bands. Notes each plan it is given.
    """

    def __init__(
        self, inner: Engine, device: str = "cuda", fits: Callable[[Plan], bool] = lambda plan: True, late: int = 0,
        nan_after: int | None = None,
    ) -> None:  # fmt: skip
        self.inner, self.fits, self.late, self.nan_after = inner, fits, late, nan_after
        self.spec, self.version, self.precision = inner.spec, inner.version, inner.precision
        self.name, self.device = "torch", device
        self.plans: list[Plan] = []
        self.closed = False

    def run(
        self, rows: Iterator[Floats], width: int, height: int, plan: Plan, dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:  # fmt: skip
        self.plans.append(plan)
        for number, band in enumerate(self.inner.run(rows, width, height, plan, dtype, progress)):
            if number >= self.late and not self.fits(plan):
                raise OutOfMemoryError(f"{self.device} is out of memory")
            if self.nan_after is not None and number >= self.nan_after:
                raise NotFiniteError(f"the network returned NaN or infinity in {self.precision}")
            yield band
        if not self.fits(plan):
            raise OutOfMemoryError(f"{self.device} is out of memory")

    def close(self) -> None:
        self.closed = True


@pytest.fixture(autouse=True)
def plenty(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """plenty(bytes): so much memory is free from now on. At first far more than anything here needs."""

    def free(count: int) -> None:
        monkeypatch.setattr(module, "free_bytes", lambda device: count)

    free(1000 * GB)
    return free


@pytest.fixture
def with_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Enlarger]:
    """with_engine(checkpoint, engine, …): an Enlarger for which choose() takes this engine, and else the numpy one."""

    def make(checkpoint: Checkpoint, engine: Engine, report: Report | None = None, **options: Any) -> Enlarger:
        def chosen(checkpoint: Checkpoint, wish: Wish) -> Choice:
            return Choice(engine if wish.device == "auto" else exact(checkpoint), "because")

        monkeypatch.setattr(module, "choose", chosen)
        return Enlarger(checkpoint, settings=Settings(**{"color_fix": False} | options), report=report)

    return make


class Banded(ReferenceEngine):
    """Plain numpy, given out in the plan's bands: equal in any plan by its nature, and quick."""

    def run(
        self, rows: Iterator[Floats], width: int, height: int, plan: Plan, dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:  # fmt: skip
        (whole,) = super().run(rows, width, height, plan, dtype, progress)
        step = plan.tail_rows * self.spec.unshuffle * self.spec.scale
        for start in range(0, whole.shape[0], step):
            yield whole[start : start + step]


def exact(checkpoint: Checkpoint) -> Engine:
    return Banded(checkpoint)


def real(checkpoint: Checkpoint) -> Engine:
    """An engine that computes in bands, and whose bands are equal bit for bit."""
    pytest.importorskip("openvino")
    return open_engine(checkpoint, "openvino", "cpu", "fp32")


def numpys(checkpoint: Checkpoint, with_engine: Callable[..., Enlarger], **options: Any) -> Enlarger:
    return with_engine(checkpoint, ReferenceEngine(checkpoint), **options)


@pytest.fixture(autouse=True)
def reference_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """Estimates know the real engines only."""
    monkeypatch.setattr(ReferenceEngine, "name", "torch")


# ---------------------------------------------------------------- sizes and scales


@pytest.mark.parametrize("scale", [0.5, 0.77, 1, 1.5, 2, 3, 4, 5, 7.3, 16])
@pytest.mark.parametrize("size", [(7, 5), (1, 9)], ids=str)
def test_each_side_becomes_round_of_side_times_scale(
    scale: float, size: tuple[int, int], random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto,
) -> None:  # fmt: skip
    enlarger = numpys(random_checkpoint(COMPACT, 1), with_engine)
    image = Image(make_photo(*size), np.full(size, 7, np.uint8))
    wanted = max(1, round(size[0] * scale)), max(1, round(size[1] * scale))
    got = enlarger.enlarge(image, scale)
    assert got.rgb.shape == (*wanted, 3)
    assert got.alpha is not None
    assert got.alpha.shape == wanted
    job = enlarger.job(image.width, image.height, scale)
    assert (job.out_height, job.out_width) == wanted


@pytest.mark.parametrize("scale", [0, 0.49, 16.01, -2, float("nan"), float("inf")])
def test_other_scales_are_refused(
    scale: float, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger]
) -> None:
    enlarger = numpys(random_checkpoint(COMPACT, 1), with_engine)
    with pytest.raises(ValueError, match=r"0\.5\.\.16"):
        enlarger.job(10, 10, scale)


@pytest.mark.parametrize(("scale", "count"), [(0.5, 0), (0.9, 0), (1, 1), (2, 1), (4, 1), (5, 2), (16, 2)])
def test_network_runs_as_often_as_needed_and_never_for_a_smaller_picture(
    scale: float, count: int, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto,
) -> None:  # fmt: skip
    checkpoint = random_checkpoint(COMPACT, 1)
    engine = Moody(ReferenceEngine(checkpoint))
    with_engine(checkpoint, engine).enlarge(Image(make_photo(6, 5)), scale)
    assert len(engine.plans) == count


def test_scale_of_the_network_is_the_networks_own_result(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """Padded by replication, enlarged, cut, rounded: written out by hand."""
    checkpoint, photo = random_checkpoint(COMPACT, 2), make_photo(21, 14)
    around = np.pad(to_float(photo), ((PADDING, PADDING), (PADDING, PADDING), (0, 0)), "edge")
    plan = Plan(1000, 1000)
    (whole,) = ReferenceEngine(checkpoint).run(iter([around]), around.shape[1], around.shape[0], plan, np.uint8)
    rim = PADDING * 4
    got = numpys(checkpoint, with_engine).enlarge(Image(photo), 4)
    np.testing.assert_array_equal(got.rgb, whole[rim:-rim, rim:-rim])


def test_other_scales_are_one_resampling_of_the_passes_floats(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """No rounding to 8 bits in between."""
    checkpoint, photo = random_checkpoint(RRDB, 2), make_photo(20, 14)
    enlarger = numpys(checkpoint, with_engine)
    once = enlarger.enlarge(Image(to_float(photo)), 2).rgb
    twice = enlarger.enlarge(Image(once), 2).rgb  # type: ignore[arg-type]
    got = enlarger.enlarge(Image(photo), 3).rgb
    wanted = np.concatenate(list(resampled(bands(twice, 99), (80, 56), (60, 42))))
    np.testing.assert_array_equal(got, from_float(wanted, np.uint8))


def test_smaller_pictures_are_resampled_and_nothing_else(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    photo = make_photo(40, 30)
    got = numpys(random_checkpoint(COMPACT, 0), with_engine).enlarge(Image(photo), 0.5).rgb
    wanted = np.concatenate(list(resampled(bands(to_float(photo), 40), (40, 30), (20, 15))))
    np.testing.assert_array_equal(got, from_float(wanted, np.uint8))


def test_sides_that_are_no_multiples_of_the_unshuffle_factor_work_without_a_shift(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """What is added for the factor lies to the right and below: where the rest ends changes nothing at the upper left."""
    enlarger = numpys(random_checkpoint(X2, 3), with_engine)
    photo = make_photo(90, 91)
    odd, even = (enlarger.enlarge(Image(photo[:, :width]), 2).rgb for width in (91, 90))
    assert odd.shape == (180, 182, 3)
    inner = 2 * (90 - X2.radius)
    np.testing.assert_array_equal(odd[:, :inner], even[:, :inner])


@pytest.mark.parametrize("scale", [3, 4, 16])
def test_progress_never_goes_back_and_ends_at_one(
    scale: float, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """Also where two passes run at once."""
    checkpoint = random_checkpoint(COMPACT, 1)
    told: list[float] = []
    enlarger = with_engine(checkpoint, real(checkpoint), tile=16)
    enlarger.enlarge(Image(make_photo(60, 5)), scale, told.append)
    assert len(told) > 5
    assert all(before <= after for before, after in pairwise(told))
    assert told[0] > 0
    assert told[-1] == pytest.approx(1)


# ---------------------------------------------------------------- what is carried along


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_dtype_color_and_metadata_are_those_of_the_input(
    dtype: type[np.generic], random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:  # fmt: skip
    pixels = from_float(to_float(make_photo(9, 8)), dtype)
    image = Image(pixels, pixels[..., 0].copy(), Color(gray=True, icc=b"profile"), Metadata(b"exif", b"xmp", (72, 72)))
    got = numpys(random_checkpoint(COMPACT, 1), with_engine).enlarge(image, 4)
    assert got.rgb.dtype == dtype
    assert got.alpha is not None
    assert got.alpha.dtype == dtype
    assert (got.color, got.metadata) == (image.color, image.metadata)


@pytest.mark.parametrize("scale", [0.5, 1, 2.3, 4])
def test_alpha_that_is_data_is_catmull_rom_of_the_whole_whatever_the_bands(
    scale: float, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, photo = random_checkpoint(COMPACT, 1), make_photo(150, 11)
    alpha = make_photo(150, 11, 1)[..., 1].copy()
    got = with_engine(checkpoint, exact(checkpoint), tile=16, bleed=False).enlarge(Image(photo, alpha), scale).alpha
    size = round(150 * scale), round(11 * scale)
    wanted = np.concatenate(list(resampled(iter([to_float(alpha)[..., None]]), (150, 11), size, catmull_rom)))
    np.testing.assert_array_equal(got, from_float(wanted[..., 0], np.uint8))


@pytest.mark.parametrize("scale", [0.6, 1, 1.7, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_opaque_stays_opaque_and_clear_stays_clear(
    scale: float, dtype: type[np.unsignedinteger[Any]], random_checkpoint: MakeCheckpoint,
    with_engine: Callable[..., Enlarger], make_photo: MakePhoto,
) -> None:  # fmt: skip
    enlarger = numpys(random_checkpoint(COMPACT, 1), with_engine)
    photo = make_photo(20, 11, dtype=dtype)
    for level in (0, np.iinfo(dtype).max):
        alpha = enlarger.enlarge(Image(photo, np.full((20, 11), level, dtype)), scale).alpha
        assert alpha is not None
        assert np.unique(alpha).tolist() == [level]


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_smooth_16_bit_ramp_keeps_its_levels(precision: Any) -> None:
    """Real weights; a tail in bf16 would leave 1,300 levels."""
    y, x = np.mgrid[0:64, 0:64]
    ramp = np.rint((0.1 + 0.8 * (x + y / 64) / 64) * 65535).astype(np.uint16)
    image = Image(np.repeat(ramp[..., None], 3, axis=2))
    assert np.unique(image.rgb).size > 4000
    got = Enlarger(load("animevideov3"), Wish(device="cpu", precision=precision), NETWORK).enlarge(image, 4).rgb
    assert got.dtype == np.uint16
    assert np.unique(got).size >= 20_000


# ---------------------------------------------------------------- rim and wrapping


def test_rim_is_that_of_a_picture_extended_by_replication(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """Extending a picture by hand changes nothing where the network sees no further than the padding."""
    spec = replace(COMPACT, blocks=1)
    assert spec.radius <= PADDING
    enlarger, photo = numpys(random_checkpoint(spec, 4), with_engine), make_photo(20, 17)
    extended = np.pad(photo, ((9, 9), (9, 9), (0, 0)), "edge")
    got = enlarger.enlarge(Image(photo), 4).rgb.astype(int)
    wanted = enlarger.enlarge(Image(extended), 4).rgb[36:-36, 36:-36].astype(int)
    assert np.abs(got - wanted).max() <= 1  # sums in another order
    assert (got == wanted).mean() > 0.999


@pytest.mark.parametrize(("wrap", "shift"), [("xy", (5, -9)), ("x", (0, 7)), ("y", (-6, 0))])
@pytest.mark.parametrize("spec", [COMPACT, RRDB], ids=["compact", "rrdb"])
def test_pictures_that_tile_stay_seamless_so_that_rolling_commutes(
    wrap: Any, shift: tuple[int, int], spec: ModelSpec, random_checkpoint: MakeCheckpoint,
    with_engine: Callable[..., Enlarger], make_photo: MakePhoto,
) -> None:  # fmt: skip
    assert spec.radius < WRAP_PADDING
    enlarger = numpys(random_checkpoint(spec, 5), with_engine, wrap=wrap)
    photo = to_float(make_photo(37, 29))
    rolled = np.roll(photo, shift, axis=(0, 1))
    whole, other = (enlarger.enlarge(Image(pixels), spec.scale).rgb for pixels in (photo, rolled))
    back = np.roll(other, (-shift[0] * spec.scale, -shift[1] * spec.scale), axis=(0, 1))
    np.testing.assert_allclose(back, whole, atol=ROUNDING, rtol=0)


def test_without_wrapping_rolling_does_not_commute(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """So that the test before can fail."""
    enlarger, photo = numpys(random_checkpoint(COMPACT, 5), with_engine), to_float(make_photo(37, 29))
    whole, other = (enlarger.enlarge(Image(pixels), 4).rgb for pixels in (photo, np.roll(photo, 5, axis=0)))
    assert np.abs(np.roll(other, -20, axis=0) - whole).max() > 0.01


def test_wrapping_a_picture_smaller_than_its_padding_repeats_it(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    enlarger, photo = numpys(random_checkpoint(COMPACT, 5), with_engine, wrap="xy"), to_float(make_photo(3, 5))
    once = enlarger.enlarge(Image(photo), 4).rgb
    tiled = enlarger.enlarge(Image(np.tile(photo, (4, 3, 1))), 4).rgb
    np.testing.assert_allclose(tiled, np.tile(once, (4, 3, 1)), atol=ROUNDING, rtol=0)


# ---------------------------------------------------------------- how it is cut


@pytest.mark.parametrize("tile", ["auto", "whole", 16, 24, 50, 100])
@pytest.mark.parametrize("spec", [RRDB, COMPACT, X2], ids=lambda spec: spec.name)
def test_every_tile_gives_one_picture_and_bounds_the_rows(
    tile: Any, spec: ModelSpec, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto,
) -> None:  # fmt: skip
    checkpoint, image = random_checkpoint(spec, 6), Image(make_photo(111, 9))
    engine = Moody(real(checkpoint))
    got = with_engine(checkpoint, engine, tile=tile).enlarge(image, spec.scale).rgb
    whole = with_engine(checkpoint, real(checkpoint), tile="whole").enlarge(image, spec.scale).rgb
    np.testing.assert_array_equal(got, whole)
    (plan,) = engine.plans
    if isinstance(tile, int):
        assert plan.rows <= max(16, tile // spec.unshuffle)
    else:
        assert plan.rows >= 111 // spec.unshuffle


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_little_free_memory_means_bands_and_the_same_picture(
    dtype: type[np.generic], random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto, plenty: Callable[[int], None],
) -> None:  # fmt: skip
    checkpoint, image = random_checkpoint(RRDB, 7), Image(make_photo(120, 9, dtype=dtype))
    engine = Moody(real(checkpoint))
    enlarger = with_engine(checkpoint, engine)
    whole = enlarger.enlarge(image, 2).rgb
    plenty(1 << 20)
    got = enlarger.enlarge(image, 2).rgb
    np.testing.assert_array_equal(got, whole)
    assert engine.plans[0].rows >= 120
    assert engine.plans[1].rows == 16
    assert enlarger.warnings == [], "planned from the start: nothing failed"


def test_budget_follows_the_free_memory_from_picture_to_picture(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], plenty: Callable[[int], None]
) -> None:
    enlarger = numpys(random_checkpoint(ModelSpec("x4plus", "rrdb", 4, 8, 4, 1), 0), with_engine)
    rows: list[int] = []
    for free in (100 * GB, 800 << 20, 640 << 20, 100 * GB):
        plenty(free)
        job = enlarger.job(4000, 3000, 4)
        rows.append(job.plans[0].rows)
        assert job.bytes_needed <= 0.6 * free
    assert 3000 > rows[0] > rows[1] > rows[2]  # past some 800 MB on a CPU, more memory brings nothing
    assert rows[3] == rows[0]


def test_passes_that_run_at_once_share_the_memory(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], plenty: Callable[[int], None]
) -> None:
    enlarger = numpys(random_checkpoint(RRDB, 0), with_engine)
    plenty(8 * GB)
    job = enlarger.job(1000, 800, 8)
    assert job.passes == 3
    assert job.bytes_needed <= 0.6 * 8 * GB


# ---------------------------------------------------------------- when memory runs short


def needs_of(checkpoint: Checkpoint, height: int) -> list[Plan]:
    return ladder(checkpoint.spec, 9 + 2 * PADDING, height + 2 * PADDING, "auto")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("late", [0, 1, 3], ids=["at once", "after a band", "in the middle"])
@pytest.mark.parametrize("spec", [RRDB, COMPACT], ids=lambda spec: spec.name)
def test_memory_ladder_is_taken_rung_by_rung_and_the_picture_stays_the_same(
    dtype: type[np.generic], late: int, spec: ModelSpec, random_checkpoint: MakeCheckpoint,
    with_engine: Callable[..., Enlarger], make_photo: MakePhoto,
) -> None:  # fmt: skip
    """Smaller tail bands, then bands of the trunk, then smaller ones; rows that were given already come once."""
    checkpoint = random_checkpoint(spec, 8)
    image = Image(make_photo(140, 9, dtype=dtype), make_photo(140, 9, 1, dtype)[..., 0].copy())
    wanted = with_engine(checkpoint, exact(checkpoint), bleed=False).enlarge(image, spec.scale)
    engine = Moody(exact(checkpoint), fits=lambda plan: plan.rows <= 32, late=late)
    said: list[str] = []
    enlarger = with_engine(checkpoint, engine, report=said.append, bleed=False)
    got = enlarger.enlarge(image, spec.scale)
    np.testing.assert_array_equal(got.rgb, wanted.rgb)
    np.testing.assert_array_equal(got.alpha, wanted.alpha)
    every = [plan for plan in needs_of(checkpoint, 140) if plan.rows >= 32]
    assert engine.plans[0] == every[0]
    assert engine.plans[-1] == every[-1]
    places = [every.index(plan) for plan in engine.plans]
    assert all(before < after for before, after in pairwise(places)), "in order, each once"
    assert {plan.rows for plan in engine.plans} >= {128, 64, 48, 32}, "and no height left out"
    assert [plan.tail_rows for plan in engine.plans[:3]] == [148, 32, 16]
    assert len(said) == len(engine.plans) - 1
    assert all("out of memory: going on in bands of" in line and "\n" not in line for line in said)
    assert said == enlarger.warnings
    assert "32+8" in said[-1]


def test_short_memory_with_two_runs_at_once_changes_nothing(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    """Colors and transparency are under way together."""
    checkpoint = random_checkpoint(RRDB, 8)
    image = Image(make_photo(140, 9), make_photo(140, 9, 1)[..., 0].copy())
    wanted = with_engine(checkpoint, exact(checkpoint)).enlarge(image, 2)
    engine = Moody(exact(checkpoint), fits=lambda plan: plan.rows <= 32, late=2)
    got = with_engine(checkpoint, engine).enlarge(image, 2)
    np.testing.assert_array_equal(got.rgb, wanted.rgb)
    np.testing.assert_array_equal(got.alpha, wanted.alpha)
    assert max(plan.rows for plan in engine.plans[-2:]) <= 32


def test_the_ladder_is_taken_with_the_mean_of_eight_too(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, image = random_checkpoint(RRDB, 8), Image(make_photo(140, 9))
    wanted = with_engine(checkpoint, exact(checkpoint), tta=True).enlarge(image, 2)
    engine = Moody(exact(checkpoint), fits=lambda plan: plan.rows <= 64)
    got = with_engine(checkpoint, engine, tta=True).enlarge(image, 2)
    np.testing.assert_array_equal(got.rgb, wanted.rgb)


def test_what_fitted_is_remembered_for_the_next_picture(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, image = random_checkpoint(RRDB, 8), Image(make_photo(140, 9))
    engine = Moody(exact(checkpoint), fits=lambda plan: plan.rows <= 48)
    enlarger = with_engine(checkpoint, engine)
    first = enlarger.enlarge(image, 2)
    tried, said = len(engine.plans), len(enlarger.warnings)
    second = enlarger.enlarge(image, 2)
    np.testing.assert_array_equal(first.rgb, second.rgb)
    assert engine.plans[tried:] == [engine.plans[tried - 1]]
    assert len(enlarger.warnings) == said


def test_last_rung_is_the_cpu(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, image = random_checkpoint(RRDB, 8), Image(make_photo(140, 9))
    wanted = with_engine(checkpoint, exact(checkpoint)).enlarge(image, 2).rgb
    for late in (0, 2):
        engine = Moody(exact(checkpoint), fits=lambda plan: False, late=late)
        enlarger = with_engine(checkpoint, engine)
        np.testing.assert_array_equal(enlarger.enlarge(image, 2).rgb, wanted)
        assert engine.closed
        assert enlarger.engine.device == "cpu"
        assert engine.plans[-1].rows == 16, "not before the smallest bands have failed"
        assert "even in the smallest bands: going on with the CPU" in enlarger.warnings[-1]
        tried = len(engine.plans)
        np.testing.assert_array_equal(enlarger.enlarge(image, 2).rgb, wanted)
        assert len(engine.plans) == tried, "the CPU is remembered too"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("scale", [1.5, 2, 5])
def test_where_even_the_cpu_has_too_little_the_error_says_so_and_nothing_loops(
    dtype: type[np.generic], scale: float, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto,
) -> None:  # fmt: skip
    checkpoint = random_checkpoint(RRDB, 8)
    engine = Moody(exact(checkpoint), device="cpu", fits=lambda plan: False)
    image = Image(from_float(to_float(make_photo(140, 9)), dtype))
    enlarger = with_engine(checkpoint, engine)
    with pytest.raises(OutOfMemoryError, match="cpu is out of memory"):
        enlarger.enlarge(image, scale)
    assert len(enlarger.warnings) < 40


@pytest.mark.parametrize("scale", [3, 8])
def test_ladder_works_for_several_passes_too(
    scale: float, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, image = random_checkpoint(RRDB, 9), Image(make_photo(50, 6))
    wanted = with_engine(checkpoint, exact(checkpoint)).enlarge(image, scale).rgb
    engine = Moody(exact(checkpoint), fits=lambda plan: plan.rows <= 48, late=1)
    enlarger = with_engine(checkpoint, engine)
    np.testing.assert_array_equal(enlarger.enlarge(image, scale).rgb, wanted)
    assert enlarger.engine is engine


def test_closing_the_bands_midway_leaves_the_enlarger_as_new(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint, image = random_checkpoint(RRDB, 9), Image(make_photo(100, 9))
    enlarger = with_engine(checkpoint, real(checkpoint), tile=16)
    wanted = enlarger.enlarge(image, 2).rgb
    run: Any = enlarger.bands(image, 2)
    next(run)
    run.close()
    np.testing.assert_array_equal(enlarger.enlarge(image, 2).rgb, wanted)


# ---------------------------------------------------------------- when a result is not finite


@pytest.fixture
def reopened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What was opened instead; always the exact engine."""
    asked: list[tuple[str, str, str]] = []

    def reopen(checkpoint: Checkpoint, name: str, device: str, precision: str) -> Engine:
        asked.append((name, device, precision))
        return exact(checkpoint)

    monkeypatch.setattr(module, "open_engine", reopen)
    return asked


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize("after", [0, 2])
def test_nan_in_half_precision_is_redone_in_fp32_reported_and_remembered(
    precision: str, after: int, random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger],
    make_photo: MakePhoto, reopened: list[tuple[str, str, str]],
) -> None:  # fmt: skip
    checkpoint, image = random_checkpoint(RRDB, 10), Image(make_photo(100, 9))
    wanted = with_engine(checkpoint, exact(checkpoint)).enlarge(image, 2).rgb
    engine = Moody(exact(checkpoint), nan_after=after)
    engine.precision = precision
    said: list[str] = []
    enlarger = with_engine(checkpoint, engine, tile=16, report=said.append)
    np.testing.assert_array_equal(enlarger.enlarge(image, 2).rgb, wanted)
    assert reopened == [("torch", "cuda", "fp32")]
    assert engine.closed
    (line,) = said
    assert f"NaN or infinity in {precision}: going on in fp32" in line
    np.testing.assert_array_equal(enlarger.enlarge(image, 2).rgb, wanted)
    assert len(engine.plans) == 1, "remembered: the next picture starts in fp32"
    assert len(said) == 1


def test_nan_even_in_fp32_is_an_error_that_says_what_may_be_wrong(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint = random_checkpoint(RRDB, 10)
    enlarger = with_engine(checkpoint, Moody(exact(checkpoint), nan_after=1), tile=16)
    with pytest.raises(NotFiniteError, match="the weights are damaged, or the picture holds NaN") as caught:
        enlarger.enlarge(Image(make_photo(100, 9)), 2)
    assert "\n" not in str(caught.value)


def test_damaged_weights_end_in_this_error_on_a_real_engine(
    random_checkpoint: MakeCheckpoint, with_engine: Callable[..., Enlarger], make_photo: MakePhoto
) -> None:
    checkpoint = random_checkpoint(RRDB, 10)
    checkpoint.arrays["conv_first.weight"].flat[3] = np.nan
    enlarger = with_engine(checkpoint, open_engine(checkpoint, "torch", "cpu", "bf16"))
    with pytest.raises(NotFiniteError, match="damaged"):
        enlarger.enlarge(Image(make_photo(20, 9)), 2)
    assert len(enlarger.warnings) == 1, "bf16 was tried and left first"


def test_what_choose_warns_of_is_reported(monkeypatch: pytest.MonkeyPatch, random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(RRDB, 10)
    choice = Choice(ReferenceEngine(checkpoint), "the only one left", ("bf16 gives wrong pictures: not used",))
    monkeypatch.setattr(module, "choose", lambda checkpoint, wish: choice)
    said: list[str] = []
    enlarger = Enlarger(checkpoint, report=said.append)
    assert said == enlarger.warnings == ["bf16 gives wrong pictures: not used"]
    assert enlarger.reason == "the only one left"
