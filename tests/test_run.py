"""Bands give the whole's result, bit for bit: on a backend of exact integers, and on the real CPU engine."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.bands import Plan, Step
from upscale.checkpoint import Checkpoint
from upscale.engines.run import run_bands
from upscale.errors import NotFiniteError
from upscale.image import Array, Floats, to_float
from upscale.keys import canonical, parameter_shapes
from upscale.rows import RowReader, unshuffled
from upscale.spec import ModelSpec
from upscale.stages import Stage, hidden_convolutions, stages

Integers = npt.NDArray[np.int64]
MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]

# ---------------------------------------------------------------- exact integers

PRIME = 8191
"""All values are taken modulo this: exact in any order of sums, and one wrong row changes all that it reaches."""

EXACT = [
    ModelSpec("x4", "rrdb", 4, 2, 1, 1),
    ModelSpec("x2", "rrdb", 2, 2, 1, 2, unshuffle=2),
    ModelSpec("x1", "rrdb", 1, 2, 1, 1, unshuffle=4),
    ModelSpec("old x1", "rrdb", 1, 2, 1, 1),
    ModelSpec("old x8", "rrdb", 8, 2, 1, 1),
    ModelSpec("c4", "compact", 4, 2, blocks=5),
    ModelSpec("c1", "compact", 1, 2, blocks=1),
]
by_name = pytest.mark.parametrize("spec", EXACT, ids=lambda spec: spec.name)


def integer_weights(spec: ModelSpec) -> dict[str, Integers]:
    rng = np.random.default_rng(7)
    return {key: rng.integers(1, PRIME, shape) for key, shape in parameter_shapes(spec).items()}


def integer_picture(spec: ModelSpec, height: int, width: int = 3) -> Integers:
    return np.random.default_rng(height).integers(1, PRIME, (height, width, 3 * spec.unshuffle**2))


class Rim:
    """A network's layers on (rows, width, channels) integers; `top`, `bottom`: whether zeros lie above and below."""

    def __init__(self, weights: Mapping[str, Integers], top: bool = True, bottom: bool = True) -> None:
        self.weights, self.top, self.bottom = weights, top, bottom

    def conv(self, name: str, x: Integers) -> Integers:
        around = np.pad(x, ((int(self.top), int(self.bottom)), (1, 1), (0, 0)))
        kernel = self.weights[f"{name}.weight"]
        rows, width = around.shape[0] - 2, x.shape[1]
        total = np.zeros((rows, width, kernel.shape[0]), np.int64) + self.weights[f"{name}.bias"]
        for dy in range(3):
            for dx in range(3):
                total += around[dy : dy + rows, dx : dx + width] @ kernel[:, :, dy, dx].T
        return total % PRIME

    def act(self, x: Integers) -> Integers:
        return x * (x + 1) % PRIME

    def crop(self, x: Integers, rows: int) -> Integers:
        return x[0 if self.top else rows : x.shape[0] - (0 if self.bottom else rows)]

    def dense(self, name: str, x: Integers) -> Integers:
        features = x
        for k in range(1, 5):
            y = self.act(self.conv(f"{name}.conv{k}", features))
            features = np.concatenate((self.crop(features, 1), y), axis=2)
        return (self.crop(x, 5) + 3 * self.conv(f"{name}.conv5", features)) % PRIME


def larger(x: Integers, factor: int) -> Integers:
    return x.repeat(factor, axis=0).repeat(factor, axis=1)


def shuffled(x: Integers, factor: int) -> Integers:
    rows, width = x.shape[:2]
    cut = x.reshape(rows, width, 3, factor, factor).transpose(0, 3, 1, 4, 2)
    return cut.reshape(rows * factor, width * factor, 3)


def in_one_piece(spec: ModelSpec, weights: Mapping[str, Integers], picture: Integers) -> Integers:
    """The network as its authors wrote it down; knows nothing of stages and bands."""
    net = Rim(weights)
    if spec.arch == "compact":
        x = picture
        for k in range(spec.blocks + 1):
            x = net.act(net.conv(f"body.{2 * k}", x))
        x = net.conv(f"body.{2 * spec.blocks + 2}", x)
        return (shuffled(x, spec.scale) + larger(picture, spec.scale)) % PRIME
    first = x = net.conv("conv_first", picture)
    for block in range(spec.blocks):
        y = x
        for k in (1, 2, 3):
            y = net.dense(f"body.{block}.rdb{k}", y)
        x = (x + 3 * y) % PRIME
    x = (first + net.conv("conv_body", x)) % PRIME
    for k in range(1, spec.doublings + 1):
        x = net.act(net.conv(f"conv_up{k}", larger(x, 2)))
    return net.conv("conv_last", net.act(net.conv("conv_hr", x)))


class ExactBackend:
    """The stages of any network in integers. Slow, small, and never wrong by rounding."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Integers]) -> None:
        self.spec, self.weights = spec, weights
        self.calls = 0

    def upload(self, rows: Floats) -> Integers:
        return rows.astype(np.int64)

    def join(self, parts: list[Integers]) -> Integers:
        assert len(parts) > 1, "a read is never empty, and one piece needs no joining"
        return np.concatenate(parts)

    def crop(self, rows: Integers, start: int, stop: int) -> Integers:
        assert 0 <= start < stop <= rows.shape[0]
        return rows[start:stop]

    def copy(self, rows: Integers) -> Integers:
        return rows.copy()

    def compute(self, stage: Stage, step: Step, main: Integers, sides: list[Integers]) -> Integers:
        self.calls += 1
        assert main.shape[0] == step.main[1] - step.main[0]
        assert [side.shape[0] for side in sides] == [stop - start for start, stop in step.sides]
        result = self._stage(Rim(self.weights, step.top, step.bottom), stage, main, sides)
        assert result.shape[0] == (step.computed[1] - step.computed[0]) * stage.factor
        return result

    def download(self, rows: Integers, dtype: npt.DTypeLike) -> Array:
        return rows.astype(dtype)

    def _stage(self, net: Rim, stage: Stage, x: Integers, sides: list[Integers]) -> Integers:
        match self.spec.arch, stage.role:
            case "rrdb", "head":
                return net.conv("conv_first", x)
            case "rrdb", "unit":
                y = net.dense(f"body.{stage.unit // 3}.rdb{stage.unit % 3 + 1}", x)
                return (sides[0] + 3 * y) % PRIME if sides else y
            case "rrdb", _:
                x = (sides[0] + net.conv("conv_body", x)) % PRIME
                for k in range(1, self.spec.doublings + 1):
                    x = net.crop(net.act(net.conv(f"conv_up{k}", larger(x, 2))), 1)
                return net.conv("conv_last", net.act(net.conv("conv_hr", x)))
            case _, "head":
                return net.act(net.conv("body.0", x))
            case _, "unit":
                for k in hidden_convolutions(self.spec, stage.unit):
                    x = net.act(net.conv(f"body.{2 * k + 2}", x))
                return x
            case _:
                x = net.conv(f"body.{2 * self.spec.blocks + 2}", x)
                return (shuffled(x, self.spec.scale) + larger(sides[0], self.spec.scale)) % PRIME


def in_bands(spec: ModelSpec, picture: Integers, plan: Plan, cuts: list[int] | None = None) -> Integers:
    """The picture handed in in pieces that end at `cuts`."""
    backend = ExactBackend(spec, integer_weights(spec))
    pieces = iter(np.split(picture.astype(np.float32), cuts or []))
    bands = list(run_bands(backend, stages(spec), picture.shape[0], plan, pieces, np.int64))
    assert all(band.shape[0] > 0 for band in bands)
    return np.concatenate(bands)


@by_name
@pytest.mark.parametrize(("rows", "tail_rows"), [(5, 3), (16, 8), (100, 4)])
def test_bands_equal_the_whole_at_every_small_height(spec: ModelSpec, rows: int, tail_rows: int) -> None:
    for height in (*range(1, 14), 16, 17, 23, 33, 47):
        picture = integer_picture(spec, height)
        whole = in_one_piece(spec, integer_weights(spec), picture)
        banded = in_bands(spec, picture, Plan(rows, tail_rows))
        assert np.array_equal(banded, whole), f"{np.flatnonzero((banded != whole).any(axis=(1, 2)))} differ at {height}"


@by_name
@pytest.mark.parametrize("height", [1, 2, 9, 19])
def test_bands_of_every_height_equal_the_whole(spec: ModelSpec, height: int) -> None:
    picture = integer_picture(spec, height)
    whole = in_one_piece(spec, integer_weights(spec), picture)
    for rows in (1, 2, 3, 7, 8, 9, 18, 19, 20):
        for tail_rows in (1, 2, 5, 19):
            assert np.array_equal(in_bands(spec, picture, Plan(rows, tail_rows)), whole), (rows, tail_rows)


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_any_plan_and_any_cutting_of_the_input_equals_the_whole(data: st.DataObject) -> None:
    spec = data.draw(st.sampled_from(EXACT))
    height = data.draw(st.integers(1, 60))
    plan = Plan(data.draw(st.integers(1, 70)), data.draw(st.integers(1, 70)))
    cuts = sorted(data.draw(st.sets(st.integers(1, height), max_size=6)))
    picture = integer_picture(spec, height, width=data.draw(st.integers(1, 4)))
    whole = in_one_piece(spec, integer_weights(spec), picture)
    assert np.array_equal(in_bands(spec, picture, plan, cuts), whole)


@by_name
def test_a_pixel_changes_nothing_beyond_the_networks_radius(spec: ModelSpec) -> None:
    """And reaches as far, or nearly: `radius` is no idle bound."""
    factor, row = spec.unshuffle, 50
    weights, picture = integer_weights(spec), integer_picture(spec, 100)
    changed = picture.copy()
    changed[row] += 1
    differs = (in_one_piece(spec, weights, picture) != in_one_piece(spec, weights, changed)).any(axis=(1, 2))
    reached = np.flatnonzero(differs) // spec.scale  # in input rows; the changed ones are row·factor and on
    above, below = row * factor - reached.min(), reached.max() - (row * factor + factor - 1)
    assert max(above, below) <= spec.radius
    assert min(above, below) > spec.radius - 3 * factor


def test_bands_come_out_one_by_one_and_input_is_taken_as_late() -> None:
    spec, taken = EXACT[0], 0

    def rows() -> Iterator[Floats]:
        nonlocal taken
        for part in np.split(integer_picture(spec, 300).astype(np.float32), 100):
            taken += part.shape[0]
            yield part

    run = run_bands(ExactBackend(spec, integer_weights(spec)), stages(spec), 300, Plan(16, 8), rows(), np.int64)
    assert taken == 0, "nothing is read before it is asked for"
    first = next(run)
    assert first.shape[0] == 8 * 4
    assert taken < 100
    given_out = first.shape[0] + sum(band.shape[0] for band in run)
    assert (given_out, taken) == (300 * 4, 300)


def test_an_abandoned_run_ends_at_once() -> None:
    spec = EXACT[0]
    backend = ExactBackend(spec, integer_weights(spec))
    pieces = iter(np.split(integer_picture(spec, 200).astype(np.float32), 20))
    run = run_bands(backend, stages(spec), 200, Plan(16, 8), pieces, np.int64)
    next(run)
    calls = backend.calls
    run.close()  # type: ignore[attr-defined]
    assert next(run, None) is None
    assert backend.calls == calls
    assert next(pieces, None) is not None, "the rest of the input was left alone"


class Alive(ExactBackend):
    """Counts the rows of results that are in memory, and their largest number."""

    def __init__(self, spec: ModelSpec, weights: Mapping[str, Integers]) -> None:
        super().__init__(spec, weights)
        self._results: list[weakref.ref[Integers]] = []
        self.most = 0

    def compute(self, stage: Stage, step: Step, main: Integers, sides: list[Integers]) -> Integers:
        return self._noted(super().compute(stage, step, main, sides))

    def copy(self, rows: Integers) -> Integers:
        return self._noted(super().copy(rows))

    def _noted(self, result: Integers) -> Integers:
        owner = result if result.base is None else result.base
        self._results.append(weakref.ref(owner))
        self._results = [one for one in self._results if one() is not None]
        self.most = max(self.most, sum(one().shape[0] for one in self._results))  # type: ignore[union-attr]
        return result


@pytest.mark.parametrize(("rows", "most"), [(240, 7 * 240), (64, 7 * 240)])
def test_rows_that_nobody_will_read_are_not_kept(rows: int, most: int) -> None:
    """Through 37 stages the last rows of each were kept to the end, and with them the memory of the whole band."""
    spec = ModelSpec("deep", "rrdb", 1, 4, 2, 12, unshuffle=4)
    backend = Alive(spec, integer_weights(spec))
    picture = integer_picture(spec, 240).astype(np.float32)[:, :1]
    (whole,) = run_bands(backend, stages(spec), 240, Plan(240, 240), iter([picture]), np.int64)
    backend.most = 0
    parts = list(run_bands(backend, stages(spec), 240, Plan(rows, 240), iter([picture]), np.int64))
    assert np.array_equal(np.concatenate(parts), whole)
    assert backend.most <= most


@pytest.mark.parametrize("given_rows", [0, 1, 16, 29])
def test_missing_rows_are_an_error_and_never_a_shorter_picture(given_rows: int) -> None:
    spec = EXACT[0]
    picture = integer_picture(spec, 30).astype(np.float32)[:given_rows]
    run = run_bands(ExactBackend(spec, integer_weights(spec)), stages(spec), 30, Plan(8, 8), iter([picture]), np.int64)
    with pytest.raises(ValueError, match=f"{30 - given_rows if given_rows > 24 else ''}.*missing"):
        list(run)


# ---------------------------------------------------------------- streams of rows


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.lists(st.integers(1, 9), min_size=1, max_size=8))
def test_a_stream_is_read_in_bands_of_any_height(given_bands: list[int], wanted: list[int]) -> None:
    height = sum(wanted)
    have = [*given_bands, max(0, height - sum(given_bands))]
    picture = np.arange(sum(have) * 2 * 3, dtype=np.float32).reshape(-1, 2, 3)
    reader = RowReader(iter(np.split(picture, np.cumsum(have)[:-1])))
    bands = [reader.read(rows) for rows in wanted]
    assert [band.shape[0] for band in bands] == wanted
    assert np.array_equal(np.concatenate(bands), picture[:height])


@pytest.mark.parametrize("have", [[], [3], [3, 3, 3]])
def test_a_stream_that_ends_early_says_how_many_rows_are_missing(have: list[int]) -> None:
    reader = RowReader(iter([np.zeros((rows, 2, 3), np.float32) for rows in have]))
    with pytest.raises(ValueError, match=f"{20 - sum(have)} rows are missing"):
        reader.read(20)


@pytest.mark.parametrize("factor", [1, 2, 4])
@given(cuts=st.sets(st.integers(1, 23), max_size=6))
@settings(deadline=None)
def test_unshuffled_is_pytorchs_pixel_unshuffle_however_the_rows_are_cut(factor: int, cuts: set[int]) -> None:
    torch = pytest.importorskip("torch")
    picture = np.random.default_rng(0).random((24, 8, 3), np.float32)
    bands = list(unshuffled(iter(np.split(picture, sorted(cuts))), factor))
    whole = torch.from_numpy(picture).permute(2, 0, 1)
    expected = torch.nn.functional.pixel_unshuffle(whole, factor).permute(1, 2, 0).numpy()
    assert np.array_equal(np.concatenate(bands), expected)
    assert all(band.shape[0] for band in bands)


# ---------------------------------------------------------------- the real engine

REAL = [
    ModelSpec("x4", "rrdb", 4, 16, 8, 2),
    ModelSpec("x2", "rrdb", 2, 16, 8, 1, unshuffle=2),
    ModelSpec("x1", "rrdb", 1, 16, 8, 1, unshuffle=4),
    ModelSpec("c4 prelu 7", "compact", 4, 16, blocks=7, activation="prelu"),
    ModelSpec("c2 relu 3", "compact", 2, 16, blocks=3, activation="relu"),
    ModelSpec("c3 leaky 2", "compact", 3, 16, blocks=2, activation="leakyrelu"),
    ModelSpec("c1 prelu 1", "compact", 1, 16, blocks=1, activation="prelu"),
]


def enlarge(engine: object, picture: Array, plan: Plan, dtype: npt.DTypeLike = np.uint8, cuts: int = 1) -> Array:
    height, width = picture.shape[:2]
    rows = iter(np.array_split(to_float(picture), cuts))
    return np.concatenate(list(engine.run(rows, width, height, plan, dtype)))  # type: ignore[attr-defined]


def exposed(checkpoint: Checkpoint, precision: str) -> object:
    """The engine with its finished rows as the network gives them: fp32, neither clipped nor rounded."""
    module = pytest.importorskip("upscale.engines.openvino")

    class Exposed(module.OpenVinoEngine):  # type: ignore[misc]
        def finished(self, rows: Floats, dtype: npt.DTypeLike) -> Array:
            return rows

    return Exposed(checkpoint, precision)


def check_plans(engine: object, picture: Array, spec: ModelSpec, plans: list[Plan]) -> None:
    rows = picture.shape[0] // spec.unshuffle
    whole = enlarge(engine, picture, Plan(rows, rows))
    assert whole.shape == (picture.shape[0] * spec.scale, picture.shape[1] * spec.scale, 3)
    for plan in plans:
        banded = enlarge(engine, picture, plan, cuts=5)
        assert np.array_equal(banded, whole), f"{plan}: off by up to {np.abs(banded - whole).max()}"
    if min(picture.shape[:2]) > 8:
        assert whole.std() > 0.1, "a flat result would be equal to anything"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", REAL, ids=lambda spec: spec.name)
def test_any_plan_gives_the_wholes_result_bit_for_bit(
    spec: ModelSpec, precision: str, random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = exposed(random_checkpoint(spec, 3), precision)
    picture = make_photo(41 * spec.unshuffle, 19 * spec.unshuffle)
    check_plans(engine, picture, spec, [Plan(41, 8), Plan(16, 7)])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("spec", REAL, ids=lambda spec: spec.name)
@pytest.mark.parametrize(
    ("rows", "width"), [(41, 19), (24, 32), (63, 65), (80, 3), (17, 100), (3, 3), (1, 50), (50, 1)]
)
def test_any_plan_gives_the_wholes_result_bit_for_bit_at_any_size(
    spec: ModelSpec, precision: str, rows: int, width: int, random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = exposed(random_checkpoint(spec, 3), precision)
    picture = make_photo(rows * spec.unshuffle, width * spec.unshuffle)
    plans = [Plan(rows, 8), Plan(rows, 1), Plan(48, 32), Plan(16, 8), Plan(9, 32), Plan(4, 5), Plan(1, 1)]
    check_plans(engine, picture, spec, plans)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 9), (9, 1), (3, 3)])
@pytest.mark.parametrize(("spec", "precision"), [(REAL[1], "bf16"), (REAL[3], "fp32")], ids=["x2 bf16", "c4 fp32"])
def test_the_smallest_pictures_work_in_any_plan(
    spec: ModelSpec, precision: str, height: int, width: int, random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = exposed(random_checkpoint(spec, 4), precision)
    picture = make_photo(height * spec.unshuffle, width * spec.unshuffle)
    check_plans(engine, picture, spec, [Plan(4, 2), Plan(16, 8)])


def test_one_engine_serves_pictures_of_many_sizes_and_plans(
    random_checkpoint: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    """Its compiled graphs and their memory are shared between runs; none may see another's rows."""
    checkpoint = random_checkpoint(REAL[3], 5)
    engine = exposed(checkpoint, "fp32")
    pictures = [
        make_photo(height, width, seed) for seed, (height, width) in enumerate([(9, 7), (30, 7), (9, 7), (12, 20)])
    ]
    plans = [Plan(30, 8), Plan(8, 4)]
    first = [[enlarge(engine, picture, plan) for plan in plans] for picture in pictures]
    again = [[enlarge(engine, picture, plan) for plan in plans] for picture in pictures]
    for picture, results, later in zip(pictures, first, again, strict=True):
        alone = enlarge(exposed(checkpoint, "fp32"), picture, plans[0])
        assert all(np.array_equal(result, alone) for result in (*results, *later))
    assert not np.array_equal(first[0][0], first[2][0]), "two pictures of one size stay two"


def test_two_runs_of_one_engine_may_be_interleaved(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    engine = exposed(random_checkpoint(REAL[3], 5), "fp32")
    pictures = [make_photo(40, 9, 1), make_photo(40, 9, 2)]
    alone = [enlarge(engine, picture, Plan(8, 8)) for picture in pictures]
    runs = [engine.run(iter([to_float(picture)]), 9, 40, Plan(8, 8), np.uint8) for picture in pictures]  # type: ignore[attr-defined]
    bands = list(zip(*runs, strict=True))
    for k in (0, 1):
        assert np.array_equal(np.concatenate([pair[k] for pair in bands]), alone[k])


def test_integers_are_the_floats_rounded(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    pytest.importorskip("openvino")
    from upscale.engines.openvino import OpenVinoEngine

    checkpoint = random_checkpoint(REAL[4], 6)
    picture = make_photo(20, 20)
    raw = enlarge(exposed(checkpoint, "fp32"), picture, Plan(20, 8))
    engine = OpenVinoEngine(checkpoint, "fp32")
    for dtype, full in ((np.uint8, 255), (np.uint16, 65535)):
        stored = enlarge(engine, picture, Plan(16, 8), dtype)
        assert stored.dtype == dtype
        assert np.abs(stored - np.clip(raw.astype(np.float64), 0, 1) * full).max() <= 0.5 + full * 2.0**-23
    assert np.array_equal(enlarge(engine, picture, Plan(16, 8), np.float32), np.clip(raw, 0, 1))
    assert ((raw > 0.05) & (raw < 0.95)).mean() > 0.1, "most of it lies inside the range"


def test_nan_is_an_error_and_never_a_black_picture(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> None:
    pytest.importorskip("openvino")
    from upscale.engines.openvino import OpenVinoEngine

    checkpoint = random_checkpoint(REAL[3], 0)
    last = max(key for key in checkpoint.arrays if key.endswith(".bias"))
    checkpoint.arrays[last][:] = np.nan
    with pytest.raises(NotFiniteError, match="c4 prelu 7"):
        enlarge(OpenVinoEngine(checkpoint, "fp32"), make_photo(8, 8), Plan(8, 8))


GOLDEN = ["rrdb_x4", "rrdb_x2", "rrdb_x1", "compact_x4_prelu", "compact_x2_leakyrelu", "compact_x3_relu"]


@pytest.mark.parametrize("name", GOLDEN)
def test_the_engine_computes_what_basicsr_computes(name: str, golden: Path) -> None:
    with np.load(golden / f"{name}.npz") as file:
        arrays = {key.removeprefix("weight/"): file[key] for key in file.files if key.startswith("weight/")}
        picture, expected = file["input"][0].transpose(1, 2, 0), file["output"][0].transpose(1, 2, 0)
    spec, weights = canonical(arrays, name)
    if name.endswith("leakyrelu"):  # its slope is no parameter, so that nothing in the file shows it
        spec = replace(spec, activation="leakyrelu")
    engine = exposed(Checkpoint(spec, weights), "fp32")
    for plan in (Plan(1000, 8), Plan(4, 3)):
        result = enlarge(engine, picture, plan)
        assert result.shape == expected.shape
        assert np.abs(result - expected).max() < 1e-5
