"""What is the OpenVINO engine's own; the rest stands in the engines' contract."""

import subprocess
import sys
from collections.abc import Callable
from typing import Literal

import numpy as np
import pytest

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import openvino
from upscale.engines.openvino import OpenVinoEngine
from upscale.spec import ModelSpec

SPEC = ModelSpec("small", "compact", 2, features=8, blocks=3)


TWO_FREED = """
import gc, signal
import numpy as np
import upscale
signal.signal(signal.SIGTERM, lambda number, frame: print("handled"))
models = [upscale.load("animevideov3", device="cpu", engine="openvino") for _ in range(2)]
for model in models:
    model(np.zeros((5, 7, 3), np.uint8))
del model
while models:
    del models[0]  # the one made first goes first
    gc.collect()
signal.raise_signal(signal.SIGTERM)
"""


def run(engine: OpenVinoEngine, height: int, width: int) -> np.ndarray:
    picture = np.random.default_rng(height * width).random((height, width, 3), dtype=np.float32)
    return np.concatenate(list(engine.run(iter([picture]), width, height, Plan(height, 8), np.float32)))


def test_a_folder_of_many_sizes_does_not_fill_the_memory(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint],
) -> None:
    engine = OpenVinoEngine(random_checkpoint(SPEC, 0), "fp32")
    sizes = [(height, width) for height in range(9, 17) for width in (10, 11)]
    first = [run(engine, *size) for size in sizes]
    kept = engine._graphs.values()
    assert len(kept) <= openvino._KEPT_GRAPHS
    assert sum(request is not None for _, request in kept) <= openvino._WORKING_GRAPHS
    for size, result in zip(sizes, first, strict=True):
        np.testing.assert_array_equal(run(engine, *size), result)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("arch", ["compact", "rrdb"])
def test_units_copy_nothing_to_name_the_channels_first(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint],
    arch: Literal["compact", "rrdb"],
    precision: Literal["fp32", "bf16"],
) -> None:
    spec = ModelSpec("usual", arch, 4, blocks=3 if arch == "compact" else 1, activation="prelu")
    engine = OpenVinoEngine(random_checkpoint(spec, 0), precision)
    run(engine, 32, 32)
    units = [compiled for (role, *_), (compiled, _) in engine._graphs.items() if role == "unit"]
    assert units
    for compiled in units:
        told = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
        orders = {one["outputLayouts"].astype(str) for one in told if one["layerType"].astype(str) == "Convolution"}
        if orders != {"acdb"}:
            pytest.skip(f"this processor's convolutions lie otherwise: {orders}")
        assert "Transpose" not in {one["layerType"].astype(str) for one in told}


def test_sides_that_do_not_fit_are_refused(random_checkpoint: Callable[[ModelSpec, int], Checkpoint]) -> None:
    spec = ModelSpec("x2", "rrdb", 2, features=8, growth=4, blocks=1, unshuffle=2)
    with pytest.raises(ValueError, match="multiples of 2"):
        run(OpenVinoEngine(random_checkpoint(spec, 0), "fp32"), 8, 9)


@pytest.mark.parametrize("options", [[], ["-X", "faulthandler"]])
def test_a_signal_is_handled_after_engines_are_freed(options: list[str]) -> None:
    """The plugin exchanges the stack that handlers run on, and unmaps its own when it is freed."""
    done = subprocess.run([sys.executable, *options, "-c", TWO_FREED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
