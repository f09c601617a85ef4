"""What every engine promises, on every engine. The functions named check_… are used by test_gpu.py on a GPU too."""

from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from upscale.bands import Plan
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine, amx_library
from upscale.engines.choose import open_engine
from upscale.engines.reference import ReferenceEngine, forward
from upscale.enlarge import Enlarger, Wish
from upscale.errors import NotFiniteError
from upscale.image import Array, Floats, Image, to_float
from upscale.rows import unshuffled
from upscale.spec import ModelSpec
from upscale.zoo import load

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]
Open = Callable[[Checkpoint], Engine]

ENGINES = [("amx", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("torch", "fp32"), ("torch", "bf16")]

ONEDNN = {"fp32": 1e-5, "bf16": 5e-3}
"""The one exception from "bit for bit", for torch on a CPU: for another height of a band oneDNN, its library for
convolutions, may choose another fp32 kernel, which sums in another order. In bf16 mode the first and last convolutions
are fp32 as well, and where a sum lies just between two bf16 values, the next layers see the other one."""

ONEDNN_LEVELS = {"fp32": 1, "bf16": 2}
"""The same in 8-bit levels, for which the tail is in bf16 too, whose own steps are up to a level."""

FP32 = 1e-5
"""fp32 against numpy: another order of summation through up to 60 layers."""

AGREEMENT_DB = {"bf16": 35.0, "fp16": 65.0}
"""Against numpy in fp32: what half precision costs small random networks at most."""

SPECS = [
    ModelSpec("x4", "rrdb", 4, 16, 8, 2),
    ModelSpec("x2", "rrdb", 2, 16, 8, 3, unshuffle=2),
    ModelSpec("x1", "rrdb", 1, 16, 8, 4, unshuffle=4),
    ModelSpec("c4 prelu", "compact", 4, 16, blocks=5, activation="prelu"),
    ModelSpec("c3 relu", "compact", 3, 8, blocks=2, activation="relu"),
    ModelSpec("c2 leaky", "compact", 2, 8, blocks=7),
    ModelSpec("c1 prelu", "compact", 1, 8, blocks=1, activation="prelu"),
    ModelSpec("c8 relu", "compact", 8, 8, blocks=3, activation="relu"),
    ModelSpec("x4 alias-free", "rrdb", 4, 16, 8, 1, upsampling="alias-free"),
    ModelSpec("x1 alias-free", "rrdb", 1, 16, 8, 1, unshuffle=2, upsampling="alias-free"),
    ModelSpec("x8 alias-free", "rrdb", 8, 8, 4, 1, upsampling="alias-free"),
    ModelSpec("x4 in blocks of 16", "rrdb", 4, 16, 16, 2),
]
FEW = [SPECS[1], SPECS[3], SPECS[8], SPECS[11]]
by_spec = pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
by_few = pytest.mark.parametrize("spec", FEW, ids=lambda spec: spec.name)

WHOLE = Plan(10_000, 10_000)
ALL_PLANS = [Plan(rows, tail) for rows in (16, 24, 48, 10_000) for tail in (1, 5, 8, 32)]
SHARE = {spec.name: ALL_PLANS[k % 8 :: 8] for k, spec in enumerate(SPECS)}
"""One plan for each network and precision, so that all have their turn; -m slow runs every network in every plan."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """On a busy machine torch's threads wait for each other far longer than such small pictures take."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(params=ENGINES, ids=lambda pair: " ".join(pair))
def open_(request: pytest.FixtureRequest) -> Open:
    """Opens a checkpoint on one of the engines."""
    name, precision = request.param
    if name == "openvino":
        pytest.importorskip("openvino")
    if name == "amx" and not amx_library.usable():
        pytest.skip("no AMX here")

    def opened(checkpoint: Checkpoint) -> Engine:
        if name == "amx" and not amx_library.fits(checkpoint.spec):
            pytest.skip("amx does not compute such networks")
        return open_engine(checkpoint, name, "cpu", precision)

    return opened


# ---------------------------------------------------------------- running engines


@pytest.fixture(scope="session")
def small_network(random_checkpoint: MakeCheckpoint, make_photo: MakePhoto) -> MakeCheckpoint:
    """small_network(spec, seed): see `within_range`."""
    return lambda spec, seed: within_range(random_checkpoint(spec, seed), make_photo(24, 24))


def within_range(checkpoint: Checkpoint, photo: Array) -> Checkpoint:
    """Random weights whose last convolution is scaled such that a photograph's result lies mostly within [0, 1]: clipped
    values would agree with anything, and far larger ones need larger tolerances."""
    spec, arrays = checkpoint.spec, dict(checkpoint.arrays)
    last = "conv_last" if spec.arch == "rrdb" else f"body.{2 * spec.blocks + 2}"
    (picture,) = unshuffled(iter([to_float(photo)]), spec.unshuffle)
    raw = forward(spec, arrays, picture)
    added = 0 if spec.arch == "rrdb" else picture.repeat(spec.scale, axis=0).repeat(spec.scale, axis=1)
    factor = np.float32(0.2 / (raw - added).std())
    arrays[f"{last}.weight"] = arrays[f"{last}.weight"] * factor
    shift = np.float32((0.5 if spec.arch == "rrdb" else 0) - (raw - added).mean() * factor)
    arrays[f"{last}.bias"] = arrays[f"{last}.bias"] * factor + shift
    return Checkpoint(spec, arrays, checkpoint.notes)


def bands_of_heights(picture: Floats, heights: list[int]) -> Iterator[Floats]:
    """The picture in bands of these heights, over and over."""
    row = 0
    while row < picture.shape[0]:
        for height in heights:
            if row < picture.shape[0]:
                yield picture[row : row + height]
            row += height


def result(
    engine: Engine,
    picture: Array,
    plan: Plan = WHOLE,
    dtype: npt.DTypeLike = np.float32,
    heights: list[int] | None = None,
) -> Array:
    pixels = to_float(picture)
    height, width = pixels.shape[:2]
    rows = bands_of_heights(pixels, heights or [height])
    parts = list(engine.run(rows, width, height, plan, dtype))
    assert all(part.dtype == dtype and part.shape[1:] == (width * engine.spec.scale, 3) for part in parts)
    whole = np.concatenate(parts)
    assert whole.shape[0] == height * engine.spec.scale
    return whole


def check_equal(engine: Engine, got: Array, wanted: Array) -> None:
    """Bit for bit, but for torch on a CPU."""
    if (engine.name, engine.device) != ("torch", "cpu"):
        np.testing.assert_array_equal(got, wanted)
    elif got.dtype == np.float32:
        np.testing.assert_allclose(got, wanted, atol=ONEDNN[engine.precision], rtol=0)
        assert np.abs(got - wanted).mean() < 1e-4
    else:
        assert np.abs(got.astype(int) - wanted.astype(int)).max() <= ONEDNN_LEVELS[engine.precision]


def psnr(got: Array, wanted: Array) -> float:
    error = float(np.mean((got.astype(np.float64) - wanted) ** 2))
    return -10 * np.log10(max(error, 1e-30))


# ---------------------------------------------------------------- the promises


def check_plans_equal_whole(engine: Engine, picture: Array, plans: list[Plan], eight_bit: int = 1) -> None:
    """As floats; and as 8 bits, for which the tail is another, in the first few plans."""
    for dtype, some in ((np.float32, plans), (np.uint8, plans[:eight_bit])):
        if not some:
            continue
        whole = result(engine, picture, WHOLE, dtype)
        for plan in some:
            check_equal(engine, result(engine, picture, plan, dtype), whole)


def check_agrees_with_numpy(engine: Engine, checkpoint: Checkpoint, picture: Array) -> None:
    wanted = result(ReferenceEngine(checkpoint), picture)
    got = result(engine, picture)
    if engine.precision == "fp32":
        np.testing.assert_allclose(got, wanted, atol=FP32, rtol=0)
    else:
        assert psnr(got, wanted) >= AGREEMENT_DB[engine.precision]
    inside = (wanted > 0.02) & (wanted < 0.98)
    assert inside.mean() > 0.7, "a result that is clipped everywhere would agree with anything"


def check_input_bands_do_not_matter(engine: Engine, picture: Array) -> None:
    for plan in (Plan(16, 8), WHOLE):
        whole = result(engine, picture, plan, np.uint8)
        for heights in ([1], [1, 30, 2]):
            np.testing.assert_array_equal(result(engine, picture, plan, np.uint8, heights), whole)


def check_dtypes_agree(engine: Engine, picture: Array) -> None:
    """16-bit results are the floats rounded; 8-bit ones too, but their tail may be in half precision."""
    floats = result(engine, picture, Plan(16, 8))
    assert floats.min() >= 0
    assert floats.max() <= 1
    deep = result(engine, picture, Plan(16, 8), np.uint16)
    assert np.abs(deep - floats.astype(np.float64) * 65535).max() <= 0.51
    shallow = result(engine, picture, Plan(16, 8), np.uint8)
    if engine.precision == "fp32":
        assert np.abs(shallow - floats.astype(np.float64) * 255).max() <= 0.51
    else:
        assert psnr(shallow / 255, floats) >= AGREEMENT_DB["bf16"]


def check_closing_midway_leaves_the_engine_as_new(engine: Engine, picture: Array) -> None:
    wanted = result(engine, picture, Plan(16, 8), np.uint8)
    for taken in (0, 2):
        rows = bands_of_heights(to_float(picture), [8])
        run: Any = engine.run(rows, picture.shape[1], picture.shape[0], Plan(16, 8), np.uint8)
        for _ in range(taken):
            next(run)
        run.close()
        np.testing.assert_array_equal(result(engine, picture, Plan(16, 8), np.uint8), wanted)


def check_sizes_alternate(engine: Engine, pictures: list[Array]) -> None:
    """Compiled graphs and their memory are shared between runs."""
    alone = [result(engine, picture, Plan(16, 8), np.uint8) for picture in pictures]
    for _ in range(2):
        for picture, wanted in zip(pictures, alone, strict=True):
            np.testing.assert_array_equal(result(engine, picture, Plan(16, 8), np.uint8), wanted)


def check_interleaved_runs(engine: Engine, picture: Array) -> None:
    """Two passes over one picture run at once: the first for floats, the second for 8 bits."""
    pixels, (height, width) = to_float(picture), picture.shape[:2]
    wanted = [result(engine, picture, Plan(16, 8), dtype) for dtype in (np.float32, np.uint8)]
    runs = [engine.run(iter([pixels]), width, height, Plan(16, 8), dtype) for dtype in (np.float32, np.uint8)]
    pairs = list(zip(*runs, strict=True))
    for k in (0, 1):
        np.testing.assert_array_equal(np.concatenate([pair[k] for pair in pairs]), wanted[k])


def check_nan_is_an_error(open_: Open, checkpoint: Checkpoint, picture: Array) -> None:
    for key in (min(checkpoint.arrays), max(checkpoint.arrays)):
        arrays = {name: values.copy() for name, values in checkpoint.arrays.items()}
        arrays[key].flat[0] = np.nan
        engine = open_(Checkpoint(checkpoint.spec, arrays))
        for dtype in (np.uint8, np.float32):
            with pytest.raises(NotFiniteError) as caught:
                result(engine, picture, Plan(16, 8), dtype)
            assert "\n" not in str(caught.value)


# ---------------------------------------------------------------- on the engines of this machine


@by_spec
def test_any_plan_gives_the_wholes_result(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = open_(small_network(spec, 1))
    eight_bit = 1 if engine.precision != "fp32" and spec.arch == "rrdb" else 0
    picture = make_photo(57 * spec.unshuffle, 13 * spec.unshuffle)
    plan = SHARE[spec.name][engine.precision != "fp32"]
    check_plans_equal_whole(engine, picture, [plan], eight_bit)


@pytest.mark.slow
@by_spec
@pytest.mark.parametrize("size", [(61, 19), (48, 33), (50, 7), (97, 20)], ids=str)
def test_every_plan_gives_the_wholes_result(
    open_: Open, spec: ModelSpec, size: tuple[int, int], small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = open_(small_network(spec, 2))
    check_plans_equal_whole(
        engine, make_photo(size[0] * spec.unshuffle, size[1] * spec.unshuffle), ALL_PLANS, len(ALL_PLANS)
    )


@pytest.mark.parametrize(
    "spec", [ModelSpec("thin", "rrdb", 2, 8, 4, 1, unshuffle=2), SPECS[3], SPECS[8]], ids=lambda spec: spec.name
)
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (3, 3)], ids=str)
def test_thin_and_tiny_pictures_are_equal_in_any_plan(
    open_: Open, spec: ModelSpec, size: tuple[int, int], small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = open_(small_network(spec, 3))
    check_plans_equal_whole(engine, make_photo(size[0] * spec.unshuffle, size[1] * spec.unshuffle), [Plan(48, 32)], 0)


@by_spec
def test_engine_agrees_with_plain_numpy(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    checkpoint = small_network(spec, 4)
    check_agrees_with_numpy(open_(checkpoint), checkpoint, make_photo(23 * spec.unshuffle, 17 * spec.unshuffle))


@by_few
def test_input_may_come_in_any_bands(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_input_bands_do_not_matter(open_(small_network(spec, 5)), make_photo(34, 10))


@by_few
def test_results_of_all_dtypes_are_of_one_picture(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_dtypes_agree(open_(small_network(spec, 6)), make_photo(20 * spec.unshuffle, 16 * spec.unshuffle))


@by_few
def test_closing_midway_leaves_the_engine_as_new(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_closing_midway_leaves_the_engine_as_new(open_(small_network(spec, 7)), make_photo(36, 10))


@by_few
def test_pictures_of_different_sizes_alternate(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_sizes_alternate(open_(small_network(spec, 8)), [make_photo(36, 8), make_photo(44, 6)])


@by_few
def test_runs_of_different_depth_may_be_interleaved(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_interleaved_runs(open_(small_network(spec, 9)), make_photo(24, 12))


@by_few
def test_nan_in_the_weights_is_an_error_and_never_a_picture(
    open_: Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    check_nan_is_an_error(open_, small_network(spec, 10), make_photo(16, 16))


def test_sides_that_do_not_suit_the_network_are_refused(open_: Open, small_network: MakeCheckpoint) -> None:
    """With a pixel-unshuffle in front the result would be silently wrong."""
    engine = open_(small_network(SPECS[2], 0))
    for height, width in ((8, 9), (9, 8)):
        with pytest.raises(ValueError, match="multiples of 4"):
            list(engine.run(iter([np.zeros((height, width, 3), np.float32)]), width, height, Plan(16, 8), np.uint8))


def test_progress_rises_to_one(open_: Open, small_network: MakeCheckpoint, make_photo: MakePhoto) -> None:
    told: list[float] = []
    engine = open_(small_network(SPECS[0], 11))
    list(engine.run(iter([to_float(make_photo(50, 9))]), 9, 50, Plan(16, 8), np.uint8, told.append))
    assert all(before < after for before, after in pairwise(told))
    assert 0 < told[0] < 0.2
    assert told[-1] == pytest.approx(1)


# ---------------------------------------------------------------- with real weights


@cache
def _tiled(model: str, tile: Any, height: int, width: int, photo: bytes) -> bytes:
    picture = np.frombuffer(photo, np.uint8).reshape(height, width, 3)
    enlarger = Enlarger(load(model), Wish(device="cpu"), Settings(tile=tile))
    whole = enlarger.enlarge(Image(picture), 4).rgb
    enlarger.close()
    return whole.tobytes()


@pytest.mark.parametrize("tile", [16, 48, "auto"])
def test_no_seam_with_real_weights(tile: Any, make_photo: MakePhoto) -> None:
    """animevideov3 in the precision that this machine takes by itself."""
    photo = make_photo(75, 100).tobytes()
    assert _tiled("animevideov3", tile, 75, 100, photo) == _tiled("animevideov3", "whole", 75, 100, photo)


@pytest.mark.slow
@pytest.mark.parametrize("tile", [16, 64])
@pytest.mark.parametrize("model", ["x4plus", "x4plus-anime", "animevideov3"])
def test_no_seam_in_a_real_photograph(model: str, tile: int, shared: Any) -> None:
    from upscale.media.still import read_image

    pictures = sorted((shared / "data").rglob("lr/*.png"))
    if not pictures:
        pytest.skip("no photographs there")
    picture = np.ascontiguousarray(read_image(pictures[0]).rgb[:150, :120])
    assert picture.dtype == np.uint8
    facts = *picture.shape[:2], picture.tobytes()
    assert _tiled(model, tile, *facts) == _tiled(model, "whole", *facts)
