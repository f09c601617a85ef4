"""The Triton kernels' arithmetic, by Triton's interpreter on the processor: against PyTorch's convolutions, on any size.

In fp16 only: the interpreter's products take bf16's bits for integers. The kernels know no difference.
"""

from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

pytest.importorskip("triton")

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import kernels
from upscale.engines.kernels import DenseBlocks
from upscale.engines.torch import TorchEngine
from upscale.engines.triton import TritonEngine
from upscale.errors import EngineError
from upscale.spec import ModelSpec

SPEC = ModelSpec("small", "rrdb", 4, features=32, growth=16, blocks=2)
USUAL = ModelSpec("usual", "rrdb", 4, blocks=1)
MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def interpreted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Triton decides by this when a kernel is made."""
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    kernels._kernel.cache_clear()
    yield
    kernels._kernel.cache_clear()


@pytest.fixture
def exact_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter multiplies with NumPy's sgemm, which on processors without AVX-512 adds up in an order that depends on a
    row's place. Products of fp16 added up in fp64 are exact, so what is left to differ is the kernel's own doing.
    """
    matmul = np.matmul

    def exact(one: np.ndarray, other: np.ndarray, dtype: type = np.float32) -> np.ndarray:
        return matmul(one.astype(np.float64), other.astype(np.float64)).astype(dtype)

    monkeypatch.setattr(np, "matmul", exact)


def expected(checkpoint: Checkpoint, index: int, x: Tensor, residual: Tensor | None, rims: tuple[bool, bool]) -> Tensor:
    """The same with PyTorch in fp64, rounded to fp16 where the kernels round: weights and what is handed on."""
    name, rows = f"body.{index // 3}.rdb{index % 3 + 1}", x.shape[0]
    features = x.half().double().permute(2, 0, 1)[None]
    for k in range(1, 6):
        kernel = torch.tensor(checkpoint.arrays[f"{name}.conv{k}.weight"]).half().double()
        y = F.conv2d(features, kernel, torch.tensor(checkpoint.arrays[f"{name}.conv{k}.bias"]).double(), padding=1)
        if k < 5:
            features = torch.cat((features, F.leaky_relu(y, 0.2).half().double()), 1)
    result = x.double() + 0.2 * y[0].permute(1, 2, 0)  # pyright: ignore[reportPossiblyUnbound]
    result = result[0 if rims[0] else 5 : rows if rims[1] else rows - 5]
    return result if residual is None else residual.double() + 0.2 * result


@pytest.mark.parametrize(
    ("rows", "width", "rims"),
    [(1, 1, (True, True)), (1, 9, (True, True)), (17, 1, (True, True)), (9, 13, (True, True)), (14, 5, (False, True)),
     (14, 5, (True, False)), (13, 10, (False, False))],
)  # fmt: skip
@pytest.mark.parametrize("index", [0, 5])
def test_a_dense_block_agrees_with_pytorch_on_any_size(
    random_checkpoint: MakeCheckpoint, rows: int, width: int, rims: tuple[bool, bool], index: int
) -> None:
    checkpoint, draw = random_checkpoint(SPEC, 1), torch.Generator().manual_seed(rows * width)
    x = torch.randn((rows, width, 32), generator=draw)
    left = rows - 5 * (2 - sum(rims))
    residual = torch.randn((left, width, 32), generator=draw) if index == 5 else None
    got = DenseBlocks(SPEC, checkpoint.arrays, CPU, torch.float16).unit(index, x, residual, *rims)
    assert got.shape == (left, width, 32)
    # a sum that lies just between two values of the half precision may be rounded to the other one
    step = 2.0**-10
    wanted = expected(checkpoint, index, x, residual, rims)
    torch.testing.assert_close(got.double(), wanted, atol=0.3 * step, rtol=0)
    assert float((got - wanted).abs().median()) < 0.02 * step


def test_the_usual_widths_agree_too(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(USUAL, 2)
    x = torch.randn((6, 5, 64), generator=torch.Generator().manual_seed(3))
    got = DenseBlocks(USUAL, checkpoint.arrays, CPU, torch.float16).unit(1, x, None, True, True)
    wanted = expected(checkpoint, 1, x, None, (True, True))
    torch.testing.assert_close(got.double(), wanted, atol=3e-4, rtol=0)


@pytest.mark.usefixtures("exact_products")
def test_bands_are_the_whole_bit_for_bit_and_nan_stays(random_checkpoint: MakeCheckpoint) -> None:
    blocks = DenseBlocks(SPEC, random_checkpoint(SPEC, 1).arrays, CPU, torch.float16)
    x = torch.randn((24, 7, 32), generator=torch.Generator().manual_seed(4))
    whole = blocks.unit(2, x, x, True, True)
    above = blocks.unit(2, x[:16], x[:11], True, False)
    below = blocks.unit(2, x[6:], x[11:], False, True)
    assert torch.equal(torch.cat((above, below)), whole)
    x[3, 3, 3] = torch.nan
    assert bool(blocks.unit(2, x, x, True, True).isnan().any())


def result(engine: TorchEngine, plan: Plan) -> np.ndarray:
    picture = np.random.default_rng(0).random((20, 9, 3), dtype=np.float32)
    return np.concatenate(list(engine.run(iter([picture]), 9, 20, plan, np.float32)))


def test_the_engine_is_as_exact_as_torch_in_half_precision(random_checkpoint: MakeCheckpoint) -> None:
    checkpoint = random_checkpoint(SPEC, 1)
    exact = result(TorchEngine(checkpoint, "cpu", "fp32"), Plan(20, 8))
    ours, theirs = (result(kind(checkpoint, "cpu", "fp16"), Plan(20, 8)) for kind in (TritonEngine, TorchEngine))
    assert np.abs(ours - exact).mean() <= 1.1 * np.abs(theirs - exact).mean()
    assert np.abs(ours - exact).max() < 0.01


@pytest.mark.parametrize(
    ("spec", "precision"),
    [
        (ModelSpec("video", "compact", 2, blocks=2), "fp16"),
        (ModelSpec("odd", "rrdb", 4, 24, 8, 1), "fp16"),
        (SPEC, "fp32"),
    ],
)
def test_what_the_kernels_cannot_compute_is_refused(
    random_checkpoint: MakeCheckpoint, spec: ModelSpec, precision: str
) -> None:
    with pytest.raises(EngineError, match="use --engine torch"):
        TritonEngine(random_checkpoint(spec, 0), "cpu", precision)
