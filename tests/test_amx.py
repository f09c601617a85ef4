"""amx.c and what is around it: every kind of operation against plain numpy, on any size and any number of threads. On processors
without AMX its tiles are emulated in plain C, where a compiler is there and the processor knows AVX512-BF16.

That the engine keeps every engine's promises is tested in test_engine_contract.py, on processors with AMX.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import amx_library, amx_program, amx_rows
from upscale.engines.amx import AmxEngine
from upscale.engines.amx_layers import chunks, doubling, exact, layer
from upscale.engines.amx_program import Program, Rows
from upscale.engines.amx_rows import Store, joined
from upscale.engines.bf16 import bf16, split, thirds
from upscale.engines.choose import Wish, choose, open_engine
from upscale.engines.machine import _has_flag  # pyright: ignore[reportPrivateUsage]
from upscale.engines.reference import ReferenceEngine
from upscale.errors import EngineError, OutOfMemoryError
from upscale.image import Array, Floats
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parent / "upscale" / "engines" / "amx.c"
ON_LINUX = sys.platform.startswith("linux") and platform.machine() == "x86_64"

RRDB = ModelSpec("blocks", "rrdb", 4, 32, 32, 2)
COMPACT = ModelSpec("hidden", "compact", 4, 32, blocks=4, activation="prelu")

WIDER = 2.0**-8
"""bf16 has 8 bits: a rounded value is off by so much of itself at most."""


@pytest.fixture(scope="session")
def emulation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """amx.c with emulated tiles."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not (ON_LINUX and compiler and _has_flag("avx512_bf16")):
        pytest.skip("no C compiler, or a processor without AVX512-BF16")
    built = tmp_path_factory.mktemp("emulation") / "amx.so"
    flags = ["-O3", "-fPIC", "-shared", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512bf16", "-pthread"]
    tiles = f'-DEMULATED_TILES="{HERE / "emulated_tiles.h"}"'
    subprocess.run([compiler, *flags, tiles, str(SOURCE), "-o", str(built)], check=True)
    return built


@pytest.fixture(params=["real", "emulated"])
def tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The library that operations run on."""
    if request.param == "real":
        if not amx_library.usable():
            pytest.skip("no AMX here")
    else:
        emulated = amx_library.opened(request.getfixturevalue("emulation"))
        monkeypatch.setattr(amx_library, "library", lambda: emulated)
        monkeypatch.setattr(amx_library, "usable", lambda: True)
    return request.param


@pytest.fixture
def threads(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    return lambda count: monkeypatch.setattr(amx_program, "cores", lambda: count)


# ---------------------------------------------------------------- operations


def features(values: Floats, parts: int = 1) -> Rows:
    """(rows, width, channels) as the rows of a whole picture; with two parts what rounding left over lies behind."""
    height, width, channels = values.shape
    planes = amx_rows.planes_for(channels)
    store = Store(parts * planes, width)
    taken = store.take(height)
    for part, bits in enumerate(split(values, parts)):
        for view, row in zip(store.views(taken), bits, strict=True):
            for channel in range(channels):
                plane, lane = divmod(channel, 32)
                view[part * planes + plane, 1 : width + 1, lane] = row[:, channel]
    return Rows(taken, 0, store)


def values(rows: Rows, channels: int, parts: int = 1) -> Floats:
    """The opposite."""
    planes, width = amx_rows.planes_for(channels), rows.store.width
    view = (np.stack(rows.store.views(rows.features)).astype(np.uint32) << 16).view(np.float32)[:, :, 1 : width + 1]
    found = sum(view[:, part * planes : (part + 1) * planes] for part in range(parts))
    return np.moveaxis(found, 1, 2).reshape(len(view), width, -1)[..., :channels]  # type: ignore[union-attr]


def rounded(given: Floats) -> Floats:
    return (bf16(given).astype(np.uint32) << 16).view(np.float32)


def convolved(x: Floats, kernel: Floats, bias: Floats) -> Floats:
    around = np.pad(x, ((1, 1), (1, 1), (0, 0))).astype(np.float64)
    height, width = x.shape[:2]
    return bias + sum(
        around[i : i + height, j : j + width] @ kernel[:, :, i, j].T.astype(np.float64)
        for i in range(3)
        for j in range(3)
    )


def drawn(*shape: int, seed: int = 0) -> Floats:
    return np.random.default_rng((seed, *shape)).standard_normal(shape, np.float32)


def new(like: Rows, channels: int, rows: int | None = None, parts: int = 1, scale: int = 1) -> Rows:
    store = Store(parts * amx_rows.planes_for(channels), like.store.width * scale)
    return Rows(store.take(scale * (rows or len(like.features))), 0, store)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (3, 16), (4, 17), (5, 33), (2, 97), (7, 31)], ids=str)
@pytest.mark.parametrize(("inputs", "outputs"), [(32, 16), (64, 32), (40, 24), (8, 64)])
def test_a_convolution_of_any_size(size: tuple[int, int], inputs: int, outputs: int) -> None:
    x, kernel, bias = drawn(*size, inputs), drawn(outputs, inputs, 3, 3) / (3 * inputs**0.5), drawn(outputs)
    program, given = Program(), features(x)
    out = new(given, outputs)
    program.to_rows(layer(kernel, bias, chunks(0, range(inputs)), 0.2), [given], out, (0, size[0]))
    program.run()
    wanted = convolved(rounded(x), rounded(kernel), bias)
    wanted = np.where(wanted < 0, 0.2 * wanted, wanted)
    np.testing.assert_allclose(values(out, outputs), wanted, rtol=WIDER, atol=1e-5)


@pytest.mark.usefixtures("tiles")
def test_beside_the_picture_stays_zero_whatever_was_computed() -> None:
    given = features(drawn(5, 21, 32))
    out, program = new(given, 32), Program()
    program.to_rows(layer(drawn(32, 32, 3, 3), drawn(32) + 9, chunks(0, range(32))), [given], out, (0, 5))
    program.run()
    view = np.stack(out.store.views(out.features))
    assert view[:, :, 1:22].all()
    assert not view[:, :, 0].any()
    assert not view[:, :, 22:].any()


@pytest.mark.usefixtures("tiles")
def test_exact_layers_are_nearly_fp32_and_keep_what_rounding_left_over() -> None:
    x, kernel, bias = drawn(6, 19, 48), drawn(48, 48, 3, 3) / 20, drawn(48)
    given = features(x, 2)
    out, program = new(given, 48, parts=2), Program()
    program.to_rows(layer(kernel, bias, exact(0, range(48))), [given], out, (0, 6), low=2)
    program.run()
    np.testing.assert_allclose(values(out, 48, 2), convolved(x, kernel, bias), atol=3e-4)
    assert np.abs(values(out, 48) - convolved(x, kernel, bias)).max() > 3e-3, "one part alone is not"


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("count", [1, 2])
def test_sums_are_added_one_after_the_other_and_may_be_overwritten(count: int) -> None:
    x, kernel, bias = drawn(5, 37, 64), drawn(64, 64, 3, 3) / 24, drawn(64)
    given, sums = features(x, 2), [features(drawn(5, 37, 64, seed=k), 2) for k in range(count)]
    wanted = convolved(rounded(x), rounded(kernel), bias)
    for one in sums:
        wanted = values(one, 64, 2) + np.float32(0.2) * wanted
    program = Program()
    made = layer(kernel, bias, chunks(0, range(64)), scale=0.2)
    program.to_rows(made, [given], sums[-1], (0, 5), low=2, sums=sums)
    program.run()
    np.testing.assert_allclose(values(sums[-1], 64, 2), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("size", [(1, 1), (5, 9), (3, 40)], ids=str)
def test_a_doubling_is_a_convolution_of_repeated_pixels(size: tuple[int, int]) -> None:
    x, weights = drawn(*size, 32), {"up.weight": drawn(32, 32, 3, 3) / 17, "up.bias": drawn(32)}
    program, given = Program(), features(x)
    out = new(given, 32, scale=2)
    for one in doubling(weights, "up", chunks(0, range(32)), 0.2):
        program.to_rows(one, [given], out, (0, size[0]))
    program.run()
    wanted = convolved(rounded(x).repeat(2, 0).repeat(2, 1), weights["up.weight"], weights["up.bias"])
    wanted = np.where(wanted < 0, 0.2 * wanted, wanted)
    # sums of weights are rounded instead of weights
    np.testing.assert_allclose(values(out, 32), wanted, rtol=WIDER, atol=3 * WIDER)
    assert float(np.abs(values(out, 32) - wanted).mean()) < WIDER / 2


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("channels", [3, 12, 27])
def test_pixels_are_put_where_the_pixel_shuffle_wants_them(channels: int) -> None:
    x, kernel, bias = drawn(4, 18, 32), drawn(channels, 32, 3, 3) / 17, drawn(channels)
    given, program, result = features(x), Program(), np.full((4, 18, channels), np.nan, np.float32)
    place = np.arange(channels)[::-1].astype(np.int32)
    made = layer(kernel, bias, chunks(0, range(32)))
    operation = program.operations
    program.to_pixels(made, [given], result, (0, 4), place, 1)
    operation[0].step = channels
    program.run()
    wanted = convolved(rounded(x), rounded(kernel), bias)[..., ::-1]
    assert ((wanted < 0).any(), (wanted > 1).any(), ((wanted > 0) & (wanted < 1)).sum() > 20) == (True, True, True)
    np.testing.assert_allclose(result, wanted.clip(0, 1), atol=1e-4)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("spec", [RRDB, COMPACT, ModelSpec("three", "compact", 3, 8, blocks=1)], ids=lambda s: s.name)
def test_bytes_are_the_floats_clipped_and_rounded(random_checkpoint: MakeCheckpoint, spec: ModelSpec) -> None:
    engine = AmxEngine(in_range(random_checkpoint(spec, 5)))
    picture = 1.6 * np.random.default_rng(0).random((7, 19, 3), dtype=np.float32) - 0.3
    floats, found = (
        np.concatenate(list(engine.run(iter([picture]), 19, 7, Plan(7, 4), dtype))) for dtype in (np.float16, np.uint8)
    )
    np.testing.assert_array_equal(found, np.rint(floats.astype(np.float32) * np.float32(255)))
    assert len(np.unique(found)) > 20


SOME = np.array([0.0, -0.0, 1.0, 1 / 255, 254 / 255, -3.14159, 1e-20, 3e38, 65504.0], np.float32)


def total(parts: list[npt.NDArray[np.uint16]]) -> npt.NDArray[np.float64]:
    return sum((part.astype(np.uint32) << 16).view(np.float32).astype(np.float64) for part in parts)  # type: ignore[return-value]


@pytest.mark.parametrize("parts", [1, 2])
def test_a_value_is_nearly_the_sum_of_its_parts(parts: int) -> None:
    np.testing.assert_allclose(total(split(SOME, parts)), SOME, rtol=2.0 ** (-8 * parts))
    assert np.isnan(total([bf16(np.array([np.nan], np.float32))])).all()


def test_a_pictures_value_is_exactly_the_sum_of_its_thirds() -> None:
    np.testing.assert_array_equal(total(thirds(SOME)), SOME)
    levels = np.arange(65536, dtype=np.float32) / 65535
    np.testing.assert_array_equal(total(thirds(levels)), levels)
    assert np.isnan(total(thirds(np.array([np.nan], np.float32)))).all()


# ---------------------------------------------------------------- networks


def enlarged(engine: AmxEngine | ReferenceEngine, picture: Floats, plan: Plan | None = None) -> Array:
    height, width = picture.shape[:2]
    runs = engine.run(iter([picture]), width, height, plan or Plan(height, height), np.float32)
    return np.concatenate(list(runs))


def in_range(checkpoint: Checkpoint) -> Checkpoint:
    """With a last convolution that gives colors about 0.5."""
    arrays = dict(checkpoint.arrays)
    last = "conv_last" if checkpoint.spec.arch == "rrdb" else f"body.{2 * checkpoint.spec.blocks + 2}"
    arrays[f"{last}.weight"] = arrays[f"{last}.weight"] * np.float32(0.05)
    arrays[f"{last}.bias"] = np.full_like(arrays[f"{last}.bias"], 0.5 if checkpoint.spec.arch == "rrdb" else 0)
    return Checkpoint(checkpoint.spec, arrays)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("spec", [RRDB, COMPACT], ids=lambda spec: spec.name)
@pytest.mark.parametrize("size", [(1, 1), (9, 20), (2, 150)], ids=str)
def test_networks_agree_with_numpy(random_checkpoint: MakeCheckpoint, spec: ModelSpec, size: tuple[int, int]) -> None:
    checkpoint = in_range(random_checkpoint(spec, 1))
    picture = np.random.default_rng(size).random((*size, 3), dtype=np.float32)
    got, wanted = (enlarged(engine, picture) for engine in (AmxEngine(checkpoint), ReferenceEngine(checkpoint)))
    assert float(np.abs(got - wanted).max()) < 0.02
    assert float(np.abs(got - wanted).mean()) < 0.002
    assert wanted.std() > 0.01


@pytest.mark.skipif(not amx_library.usable(), reason="no AMX here")
@pytest.mark.parametrize("size", [(70, 300), (131, 41), (40, 129)], ids=str)
def test_strips_bands_and_threads_do_not_change_a_bit(
    random_checkpoint: MakeCheckpoint, threads: Callable[[int], None], size: tuple[int, int]
) -> None:
    """Wider than a strip, higher than a thread's band; with more threads than rows, even."""
    checkpoint = in_range(random_checkpoint(RRDB, 2))
    picture = np.random.default_rng(size).random((*size, 3), dtype=np.float32)
    threads(1)
    whole = enlarged(AmxEngine(checkpoint), picture)
    for count in (2, 3, 7, 150):
        threads(count)
        np.testing.assert_array_equal(enlarged(AmxEngine(checkpoint), picture), whole)
    threads(3)
    for plan in (Plan(24, 8), Plan(64, 16), Plan(size[0], 5)):
        np.testing.assert_array_equal(enlarged(AmxEngine(checkpoint), picture, plan), whole)
    # a column far to the right sees nothing of the left, strip or no strip
    right = enlarged(AmxEngine(checkpoint), np.ascontiguousarray(picture[:, 16:]))
    reach = 4 * (2 * 15 + 16)
    np.testing.assert_array_equal(right[:, reach:], whole[:, 4 * 16 + reach :])


@pytest.mark.usefixtures("tiles")
def test_nobody_waits_for_a_thread_that_comes_late_and_it_does_no_harm(threads: Callable[[int], None]) -> None:
    """With far more threads than processors most come when all is done, and what they were called for is gone."""
    given, kernel = features(drawn(30, 20, 32)), layer(drawn(16, 32, 3, 3) / 17, drawn(16), chunks(0, range(32)))
    results: list[Floats] = []
    for count in [1, *[24] * 60]:
        threads(count)
        out, program = new(given, 16), Program()
        program.to_rows(kernel, [given], out, (0, 30))
        program.run()
        results.append(values(out, 16))
    for one in results[1:]:
        np.testing.assert_array_equal(one, results[0])


GUARDED = """
import ctypes, mmap, sys
from types import SimpleNamespace
import numpy as np
from upscale.bands import Plan
from upscale.engines import amx_rows
from upscale.engines.amx import AmxEngine
from upscale.zoo import load

libc, real, kept = ctypes.CDLL(None, use_errno=True), np.zeros, []

def zeros(size, dtype):
    # memory that ends where a page begins that nobody may read
    bytes_ = size * np.dtype(dtype).itemsize
    pages = -(-bytes_ // mmap.PAGESIZE)
    whole = mmap.mmap(-1, (pages + 1) * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(whole))
    assert libc.mprotect(ctypes.c_void_p(start + pages * mmap.PAGESIZE), mmap.PAGESIZE, 0) == 0
    kept.append(whole)
    return np.frombuffer(whole, np.uint8, bytes_, pages * mmap.PAGESIZE - bytes_).view(dtype)

amx_rows.np = SimpleNamespace(**{**vars(np), "zeros": zeros})
engine = AmxEngine(load("x4plus-anime"))
for width in map(int, sys.argv[1:]):
    for _ in engine.run(iter([real((8, width, 3), np.float32)]), width, 8, Plan(8, 8), np.uint8):
        pass
print("read nothing beyond", flush=True)
"""


@pytest.mark.skipif(not amx_library.usable(), reason="no AMX here")
def test_nothing_is_read_beyond_the_memory_that_was_taken() -> None:
    """In strips tiles begin some pixels before a sixteenth, and end as many behind the picture, the last row's behind all."""
    done = subprocess.run(
        [sys.executable, "-c", GUARDED, "1", "16", "130", "144", "304"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "read nothing beyond\n"), done.stderr[-2000:]


@pytest.mark.usefixtures("tiles")
def test_memory_that_is_used_again_shows_nothing_of_the_picture_before(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = in_range(random_checkpoint(RRDB, 3))
    engine, dark = AmxEngine(checkpoint), np.zeros((13, 18, 3), np.float32)
    before = enlarged(engine, dark)
    enlarged(engine, np.full((20, 18, 3), 9.0, np.float32))
    np.testing.assert_array_equal(enlarged(engine, dark), before)


def test_a_few_rows_of_a_band_do_not_keep_the_memory_of_all() -> None:
    store = Store(2, 33)
    band = store.take(64)
    memory = set(band.addresses.tolist())
    kept = joined([band[50:58], band[61:64]])
    del band
    again = store.take(48)  # the rows 50 to 64 lie in two blocks of eight
    assert set(again.addresses.tolist()) < memory
    assert not set(again.addresses.tolist()) & set(kept.addresses.tolist())
    assert not set(store.take(8).addresses.tolist()) & memory


# ---------------------------------------------------------------- the engine among others


def test_memory_that_is_short_is_said_as_every_engine_says_it(
    random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(amx_library, "usable", lambda: True)
    monkeypatch.setattr(amx_program, "run", refuse)
    with pytest.raises(OutOfMemoryError):
        enlarged(AmxEngine(random_checkpoint(COMPACT, 0)), np.zeros((4, 4, 3), np.float32))


def test_ctrl_c_is_looked_for_between_chains_and_none_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[int] = []
    monkeypatch.setattr(amx_program, "run", lambda operations, threads: ran.append(len(operations)))
    monkeypatch.setattr(amx_program, "_AT_ONCE", 1000)
    program, given = Program(), features(drawn(3, 5, 32))
    made, out = layer(drawn(16, 32, 3, 3), drawn(16), chunks(0, range(32))), new(given, 16)
    for _ in range(7):
        program.to_rows(made, [given], out, (0, 3))
    program.chained(4)
    program.run()
    assert ran == [1, 1, 1, 4]


def test_the_library_is_built_where_it_can_be() -> None:
    if not (ON_LINUX and shutil.which("gcc")):
        pytest.skip("not on x86-64 Linux with a compiler")
    assert amx_library.library().amx_op_size() > 0


def test_a_library_of_another_version_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if not compiler or sys.platform == "win32":
        pytest.skip("no C compiler")
    (tmp_path / "old.c").write_text("int amx_op_size(void) { return 8; }\nint amx_ready(void) { return 0; }\n")
    subprocess.run([compiler, "-shared", "-fPIC", str(tmp_path / "old.c"), "-o", str(tmp_path / "old.so")], check=True)
    with pytest.raises(OSError, match="install upscale again"):
        amx_library.opened(tmp_path / "old.so")
    monkeypatch.setattr(amx_library, "has_amx", lambda: True)
    monkeypatch.setattr(amx_library, "library", lambda: amx_library.opened(tmp_path / "old.so"))
    assert not amx_library.usable()


@pytest.mark.parametrize(("wish", "wanted"), [("", 4), ("2", 2), ("9", 4), ("0", 1), ("many", 4), ("3,1", 3)])
def test_threads_are_the_processors_that_may_be_used(monkeypatch: pytest.MonkeyPatch, wish: str, wanted: int) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 2, 4, 6}, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", wish)
    assert amx_library.cores() == wanted


def test_auto_takes_it_on_such_a_processor_and_passes_on_where_its_pictures_are_wrong(
    random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    from upscale.engines import choose as module

    monkeypatch.setattr(amx_library, "usable", lambda: True)
    monkeypatch.setattr(module, "has_bf16", lambda: True)
    monkeypatch.setattr(module, "accelerator", lambda: None)
    monkeypatch.setattr(module, "trusted", lambda engine, checkpoint: True)
    checkpoint = random_checkpoint(COMPACT, 0)
    choice = choose(checkpoint, Wish())
    assert (choice.engine.name, choice.engine.precision) == ("amx", "bf16")
    assert "amx is the fastest where a processor has AMX" in choice.reason
    assert choose(checkpoint, Wish(precision="fp32")).engine.name != "amx"
    assert choose(checkpoint, Wish(engine="torch")).engine.name == "torch"
    assert choose(checkpoint, Wish(engine="amx")).engine.name == "amx"
    monkeypatch.setattr(module, "trusted", lambda engine, checkpoint: engine.name != "amx")
    choice = choose(checkpoint, Wish())
    assert choice.engine.name != "amx"
    assert choice.warnings == ("amx on cpu in bf16 gives wrong pictures with hidden: not used",)


@pytest.mark.parametrize(
    ("spec", "has", "device", "precision", "why"),
    [
        (COMPACT, True, "cpu", "fp32", "amx runs on the CPU in bf16, not on cpu in fp32; use --engine auto"),
        (COMPACT, True, "cuda", "bf16", "not on cuda in bf16"),
        (COMPACT, False, "cpu", "bf16", "has no AMX"),
        (ModelSpec("soft", "rrdb", 4, 32, 16, 1, upsampling="alias-free"), True, "cpu", "bf16", "soft: amx does not"),
        (ModelSpec("wide", "compact", 4, 512, blocks=1), True, "cpu", "bf16", "wide: amx does not"),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(
    random_checkpoint: MakeCheckpoint,
    monkeypatch: pytest.MonkeyPatch,
    spec: ModelSpec,
    has: bool,
    device: str,
    precision: str,
    why: str,
) -> None:
    monkeypatch.setattr(amx_library, "usable", lambda: has)
    with pytest.raises(EngineError, match=why) as caught:
        open_engine(random_checkpoint(spec, 0), "amx", device, precision)
    assert "\n" not in str(caught.value)


def test_a_network_with_other_doublings_gets_another_engine(
    random_checkpoint: MakeCheckpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(amx_library, "usable", lambda: True)
    soft = random_checkpoint(ModelSpec("soft", "rrdb", 4, 16, 16, 1, upsampling="alias-free"), 0)
    choice = choose(soft, Wish(device="cpu"))
    assert choice.engine.name in ("openvino", "torch")
    assert choice.warnings == ()
