"""The engines' contract on a real GPU: run with `-m gpu`. With UPSCALE_REQUIRE_GPU=1 a missing GPU is a failure."""

import gc
import os
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import test_engine_contract as contract
import torch
from test_engine_contract import small_network as small_network  # the fixture

from upscale.bands import Plan
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine
from upscale.engines.choose import Wish, choose, open_engine
from upscale.engines.machine import free_bytes
from upscale.engines.race import fits_kernels
from upscale.engines.torch import TorchEngine
from upscale.enlarge import Enlarger
from upscale.image import Array, Image, to_float
from upscale.spec import ModelSpec
from upscale.zoo import load

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
MakePhoto = Callable[..., Array]

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True, scope="module")
def gpu() -> Iterator[None]:
    if not torch.cuda.is_available():
        if os.environ.get("UPSCALE_REQUIRE_GPU") == "1":
            pytest.fail("UPSCALE_REQUIRE_GPU is 1, but torch finds no CUDA device")
        pytest.skip("torch finds no CUDA device on this machine")
    before = torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark
    torch.backends.cudnn.allow_tf32 = False  # fp32 is to be fp32 here, and one kernel the same every time
    torch.backends.cudnn.benchmark = False
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark = before


@pytest.fixture(params=["torch fp32", "torch fp16", "torch bf16", "triton fp16", "triton bf16"])
def open_(request: pytest.FixtureRequest) -> contract.Open:
    name, precision = request.param.split()

    def opened(checkpoint: Checkpoint) -> Engine:
        if name == "triton" and not fits_kernels(checkpoint.spec):
            pytest.skip("our kernels do not compute dense blocks of such widths")
        return open_engine(checkpoint, name, "cuda", precision)

    return opened


# ---------------------------------------------------------------- the contract


@contract.by_spec
def test_any_plan_gives_the_wholes_result_bit_for_bit(
    open_: contract.Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine = open_(small_network(spec, 1))
    picture = make_photo(61 * spec.unshuffle, 19 * spec.unshuffle)
    contract.check_plans_equal_whole(engine, picture, contract.ALL_PLANS, len(contract.ALL_PLANS))


@contract.by_few
@pytest.mark.parametrize("size", [(1, 500), (500, 1), (3, 3)], ids=str)
def test_thin_and_tiny_pictures_are_equal_in_any_plan(
    open_: contract.Open, spec: ModelSpec, size: tuple[int, int], small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    picture = make_photo(size[0] * spec.unshuffle, size[1] * spec.unshuffle)
    contract.check_plans_equal_whole(open_(small_network(spec, 3)), picture, contract.ALL_PLANS)


@contract.by_spec
def test_engine_agrees_with_plain_numpy(
    open_: contract.Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    """fp32 to 1e-5, fp16 to 65 dB, bf16 to 35 dB."""
    checkpoint = small_network(spec, 4)
    picture = make_photo(23 * spec.unshuffle, 17 * spec.unshuffle)
    contract.check_agrees_with_numpy(open_(checkpoint), checkpoint, picture)


@contract.by_few
def test_the_rest_of_the_contract(
    open_: contract.Open, spec: ModelSpec, small_network: MakeCheckpoint, make_photo: MakePhoto
) -> None:
    engine, picture = open_(small_network(spec, 5)), make_photo(74, 18)
    contract.check_input_bands_do_not_matter(engine, picture)
    contract.check_dtypes_agree(engine, picture)
    contract.check_closing_midway_leaves_the_engine_as_new(engine, picture)
    contract.check_sizes_alternate(engine, [make_photo(40, 20), make_photo(64, 12)])
    contract.check_interleaved_runs(engine, picture)
    contract.check_nan_is_an_error(open_, small_network(spec, 6), picture)


@contract.by_spec
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float16])
def test_a_recorded_run_is_the_plain_one_bit_for_bit(
    open_: contract.Open,
    spec: ModelSpec,
    dtype: type[np.generic],
    small_network: MakeCheckpoint,
    make_photo: MakePhoto,
) -> None:
    recording, plain = (open_(small_network(spec, 7)) for _ in range(2))
    assert isinstance(recording, TorchEngine)
    assert isinstance(plain, TorchEngine)
    plain._record = None  # pyright: ignore[reportPrivateUsage]
    pictures = [np.roll(make_photo(40 * spec.unshuffle, 18 * spec.unshuffle), k, axis=0) for k in range(4)]
    for plan in (Plan(40, 40), Plan(16, 8)):
        for picture in pictures:
            one, other = (
                np.concatenate(list(engine.run(iter([to_float(picture)]), *picture.shape[1::-1], plan, dtype)))
                for engine in (recording, plain)
            )
            np.testing.assert_array_equal(one, other)
        assert recording._recording is not None, "else nothing was tested"  # pyright: ignore[reportPrivateUsage]


# ---------------------------------------------------------------- with real weights


def enlarged(model: str, picture: Array, tile: object, precision: str = "auto") -> tuple[Array, Enlarger]:
    enlarger = Enlarger(load(model), Wish(device="cuda", precision=precision), Settings(tile=tile))  # type: ignore[arg-type]
    return enlarger.enlarge(Image(picture), 4).rgb, enlarger


@pytest.mark.parametrize("model", ["x4plus", "animevideov3"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_no_seam_with_real_weights(model: str, dtype: type[np.generic], make_photo: MakePhoto) -> None:
    picture = make_photo(300, 201, dtype=dtype)
    whole, _ = enlarged(model, picture, "whole")
    for tile in (16, 64, 100, "auto"):
        np.testing.assert_array_equal(enlarged(model, picture, tile)[0], whole)


@pytest.mark.parametrize("model", ["x4plus", "x4plus-anime", "animevideov3"])
def test_fp16_is_65_db_from_fp32(model: str, make_photo: MakePhoto) -> None:
    picture = make_photo(200, 160).astype(np.float32) / 255
    low, high = (enlarged(model, picture, "auto", precision)[0] for precision in ("fp16", "fp32"))
    assert contract.psnr(low, high) >= 65


def test_a_gpu_is_found_and_takes_fp16() -> None:
    choice = choose(load("animevideov3"), Wish())
    assert (choice.engine.name, choice.engine.precision) == ("torch", "fp16")
    assert choice.engine.device.startswith("cuda")
    assert choice.warnings == (), "the probe trusts it"


# ---------------------------------------------------------------- memory


@pytest.fixture
def little_memory() -> Iterator[Callable[[float], None]]:
    """little_memory(GB): torch may take no more, while the driver still reports all as free."""

    def limit(gigabytes: float) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(gigabytes * 2**30 / torch.cuda.mem_get_info()[1])

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def test_too_little_memory_leads_down_the_ladder_to_the_same_picture(
    little_memory: Callable[[float], None], make_photo: MakePhoto
) -> None:
    picture = make_photo(1000, 1000)
    whole, first = enlarged("x4plus-anime", picture, "auto")
    assert first.warnings == []
    first.close()
    del first
    little_memory(1.0)
    got, enlarger = enlarged("x4plus-anime", picture, "auto")
    assert enlarger.engine.device == "cuda"
    assert enlarger.warnings
    assert all("out of memory" in warning and "\n" not in warning for warning in enlarger.warnings)
    np.testing.assert_array_equal(got, whole)
    said = len(enlarger.warnings)
    np.testing.assert_array_equal(enlarger.enlarge(Image(picture), 4).rgb, whole)
    assert len(enlarger.warnings) == said, "remembered: the next picture starts with what fitted"


def test_hopelessly_little_memory_leads_to_the_cpu(
    little_memory: Callable[[float], None], make_photo: MakePhoto
) -> None:
    picture = make_photo(16, 4000)
    enlarger = Enlarger(load("animevideov3"), Wish(device="cuda"))
    little_memory(0.05)
    result = enlarger.enlarge(Image(picture), 4).rgb
    assert result.shape == (64, 16000, 3)
    assert enlarger.engine.device == "cpu"
    assert "going on with the CPU" in enlarger.warnings[-1]


def test_estimates_are_not_below_what_torch_takes(small_network: MakeCheckpoint) -> None:
    """And what is said to be free does not shrink by what torch keeps for itself."""
    from upscale.plans import bytes_needed

    for model, side in (("x4plus-anime", 512), ("animevideov3", 1024)):
        engine = TorchEngine(load(model), "cuda", "fp16")
        free = free_bytes("cuda")
        for plan in (Plan(side, 32), Plan(128, 16), Plan(48, 8)):
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            for _ in engine.run(iter([np.zeros((side, side, 3), np.float32)]), side, side, plan, np.uint8):
                pass
            took = torch.cuda.max_memory_allocated() - before
            said = bytes_needed(engine.spec, side, side, plan, 2, engine="torch", device="cuda", deep=False)
            assert said >= took, f"{model}, {plan}: said {said >> 20} MB, took {took >> 20} MB"
        assert free_bytes("cuda") >= free - (1 << 30)
