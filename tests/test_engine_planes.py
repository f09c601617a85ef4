"""Planes ↔ RGB by torch: the same codes as numpy gives."""

import os
from collections.abc import Sequence
from itertools import product
from typing import Any, get_args

import numpy as np
import pytest
import torch

from upscale.engines.planes import TorchArrays, to_device, to_host
from upscale.frame import Layout
from upscale.image import Array, Color
from upscale.media.video.colors import Location
from upscale.yuv import LUMA_WEIGHTS, planes_of, rgb_of

SUBSAMPLINGS = ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 2))
PLACES = tuple(place for place in get_args(Location) if place != "unspecified")
SIZES = ((37, 21), (16, 8), (1, 1), (2, 7), (61, 40))
"""(width, height), given in turn to a layout's colors."""

DEPTHS = (8, 9, 10, 12, 14, 16)
LAYOUTS = [
    *(Layout("yuv", depth, *sub, alpha=depth == 12) for depth in DEPTHS for sub in SUBSAMPLINGS),
    *(Layout("rgb", depth, 0, 0, alpha=depth == 10) for depth in DEPTHS),
    *(Layout("gray", depth, 0, 0) for depth in DEPTHS),
]


def colors_for(layout: Layout) -> list[Color]:
    if layout.kind != "yuv":
        return [Color(matrix="rgb", full_range=full) for full in (False, True)]
    places = PLACES if layout.sub_x or layout.sub_y else ("left",)
    matrices = [*LUMA_WEIGHTS, "ycgco"]
    return [
        Color(matrix=matrix, full_range=full, chroma_location=place)
        for place, matrix, full in product(places, matrices, (False, True))
    ]


def random_planes(layout: Layout, size: tuple[int, int], seed: int) -> tuple[Array, ...]:
    rng = np.random.default_rng(seed)
    return tuple(rng.integers(0, 1 << layout.depth, shape).astype(layout.dtype) for shape in layout.shapes(*size))


def differences(ours: Sequence[Array], theirs: Sequence[Array]) -> tuple[int, int, int]:
    """The largest difference in codes, how many samples differ, and how many there are."""
    apart = [np.abs(one.astype(np.int64) - two) for one, two in zip(ours, theirs, strict=True)]
    assert all(one.dtype == two.dtype for one, two in zip(ours, theirs, strict=True))
    return max(int(a.max()) for a in apart), sum(int((a > 0).sum()) for a in apart), sum(a.size for a in apart)


def check_same_codes(layout: Layout, device: str) -> None:
    """Random planes to RGB and back to codes, as on the processor; at most 1 in 1000 samples may be one code off, where a tie
    is rounded otherwise."""
    arrays, total, others = TorchArrays(), 0, 0
    for number, color in enumerate(colors_for(layout)):
        size = SIZES[number % len(SIZES)]
        planes = random_planes(layout, size, number)
        rgb, alpha = rgb_of(planes, layout, color)
        ours, our_alpha = rgb_of(to_device(planes, device), layout, color, arrays)
        assert ours.dtype == torch.float32
        assert ours.device.type == torch.device(device).type
        np.testing.assert_allclose(ours.cpu().numpy(), rgb, rtol=0, atol=2e-6)
        assert (our_alpha is None) == (alpha is None)
        if alpha is not None:
            np.testing.assert_allclose(our_alpha.cpu().numpy(), alpha, rtol=0, atol=1e-7)
        picture = np.random.default_rng(number).uniform(-0.1, 1.1, (size[1], size[0], 3)).astype(np.float32)
        for wanted in (rgb, picture):
            there = torch.from_numpy(wanted.copy()).to(device)
            codes = to_host(planes_of(there, our_alpha, layout, color, arrays), layout)
            most, wrong, count = differences(codes, planes_of(wanted.copy(), alpha, layout, color))
            assert most <= 1, (layout, color, size)
            total, others = total + count, others + wrong
    assert others <= 1e-3 * total, f"{others} of {total} codes differ"


def check_codes_survive(device: str) -> None:
    """Every code there is goes to the device and back."""
    for layout in (Layout("gray", 8, 0, 0), Layout("gray", 16, 0, 0)):
        every = np.arange(1 << layout.depth).astype(layout.dtype).reshape(16, -1)
        there = to_device((every,), device)
        assert int(there[0].min()) == 0
        assert int(there[0].max()) == (1 << layout.depth) - 1
        np.testing.assert_array_equal(to_host(there, layout)[0], every)


def check_whole_picture_equals(device: str, arrays: Any) -> None:
    """10 bits, 4:2:0: a flat color comes back as the code that it was."""
    layout, color = Layout("yuv", 10), Color(matrix="bt2020", full_range=False)
    flat = tuple(np.full(s, c, np.uint16) for s, c in zip(layout.shapes(13, 9), (600, 400, 700), strict=True))
    rgb, _ = rgb_of(to_device(flat, device), layout, color, arrays)
    for ours, wanted in zip(to_host(planes_of(rgb, None, layout, color, arrays), layout), flat, strict=True):
        np.testing.assert_array_equal(ours, wanted)


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_codes_are_those_of_numpy(layout: Layout) -> None:
    check_same_codes(layout, "cpu")


def test_every_code_goes_there_and_back() -> None:
    check_codes_survive("cpu")
    check_whole_picture_equals("cpu", TorchArrays())


def test_padded_and_read_only_planes_may_be_given() -> None:
    """As decoders give them: rows with a rest, in memory that nobody may write to."""
    for dtype in (np.uint8, np.uint16):
        stored = np.arange(48, dtype=dtype).reshape(4, 12)
        stored.flags.writeable = False
        for plane in (stored, stored[:, :7]):
            np.testing.assert_array_equal(to_device((plane,), "cpu")[0].numpy(), plane)


def test_a_callers_picture_is_left_as_it_is() -> None:
    rgb = torch.full((4, 4, 3), 1.5)
    planes_of(rgb, None, Layout(), Color(matrix="bt709"), TorchArrays())
    assert bool((rgb == 1.5).all())


def test_ties_go_to_even_and_the_ends_hold() -> None:
    values = torch.tensor([[0.5, 1.5, 2.5, -3.0, 300.0, 70000.0]])
    arrays = TorchArrays()
    assert arrays.codes(values, 8).tolist() == [[0, 2, 2, 0, 255, 255]]
    assert to_host((arrays.codes(values, 16),), Layout("gray", 16, 0, 0))[0].tolist() == [[0, 2, 2, 0, 300, 65535]]


@pytest.mark.gpu
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_codes_on_a_gpu_are_those_of_numpy(layout: Layout) -> None:
    """Also where somebody has allowed TF32."""
    if not torch.cuda.is_available():
        if os.environ.get("UPSCALE_REQUIRE_GPU") == "1":
            pytest.fail("UPSCALE_REQUIRE_GPU is 1, but torch finds no CUDA device")
        pytest.skip("torch finds no CUDA device on this machine")
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        check_same_codes(layout, "cuda")
        check_codes_survive("cuda")
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
