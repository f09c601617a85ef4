"""What is the OpenVINO engine's own; the rest stands in the engines' contract."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import blocked, openvino
from upscale.engines.openvino import OpenVinoEngine
from upscale.spec import ModelSpec

SPEC = ModelSpec("small", "compact", 2, features=8, blocks=3)
BLOCKS = ModelSpec("in blocks", "rrdb", 2, features=16, growth=16, blocks=2)


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


def run(engine: OpenVinoEngine, height: int, width: int, plan: Plan | None = None) -> np.ndarray:
    picture = np.random.default_rng(height * width).random((height, width, 3), dtype=np.float32)
    return np.concatenate(list(engine.run(iter([picture]), width, height, plan or Plan(height, 8), np.float32)))


def units_of(engine: OpenVinoEngine) -> list[list[Any]]:
    """What the plugin tells of each operation of the units that an engine has compiled."""
    units = [compiled for (role, *_), (compiled, _) in engine._graphs.items() if role == "unit"]
    assert units
    return [[node.get_rt_info() for node in unit.get_runtime_model().get_ordered_ops()] for unit in units]


def kind(told: Any) -> str:
    return told["layerType"].astype(str)


def outputs(told: Any) -> str:
    return told["outputPrecisions"].astype(str)


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
    engine._in_blocks = False
    run(engine, 32, 32)
    for told in units_of(engine):
        orders = {one["outputLayouts"].astype(str) for one in told if one["layerType"].astype(str) == "Convolution"}
        if orders != {"acdb"}:
            pytest.skip(f"this processor's convolutions lie otherwise: {orders}")
        assert "Transpose" not in {one["layerType"].astype(str) for one in told}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("rows", [32, 16])
def test_features_in_blocked_memory_are_joined_without_a_copy(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint], precision: Literal["fp32", "bf16"], rows: int
) -> None:
    engine = OpenVinoEngine(random_checkpoint(BLOCKS, 0), precision)
    run(engine, 32, 24, Plan(rows, 8))
    if not engine._in_blocks:
        pytest.skip("not on this processor")
    for told in units_of(engine):
        joinings = [one["primitiveType"].astype(str) for one in told if kind(one) == "Concatenation"]
        turnings = [one for one in told if kind(one) in ("Transpose", "Reorder") and "bf16" in outputs(one)]
        assert joinings
        assert not turnings
        if rows == 32:  # the joined rows of a band are cut first
            assert not any(way.startswith("ref") for way in joinings)


@pytest.mark.parametrize("in_blocks", [True, False])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_any_number_of_residual_blocks_in_a_graph_gives_the_same_bits(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint], precision: Literal["fp32", "bf16"], in_blocks: bool
) -> None:
    engine = OpenVinoEngine(random_checkpoint(replace(BLOCKS, blocks=5), 0), precision)
    engine._in_blocks = engine._in_blocks and in_blocks
    results: list[np.ndarray] = []
    for count in (1, 2, 5, 6, 0):
        engine._blocks = lambda *_, count=count: count
        results.append(run(engine, 21, 13))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


def test_many_blocks_share_a_graph_once_a_size_has_shown_to_be_worth_it(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint],
) -> None:
    engine = OpenVinoEngine(random_checkpoint(BLOCKS, 0), "fp32")
    assert engine._blocks(320, 320, Plan(320, 32)) == openvino._MANY_BLOCKS
    assert engine._blocks(512, 512, Plan(512, 32)) == 1, "it would tell too seldom how far it is"
    assert [engine._blocks(128, 128, Plan(128, 32)) for _ in range(7)] == [1, 1, 1, 1, 1, 6, 6]
    assert engine._blocks(100, 100, Plan(100, 32)) == 1
    assert engine._blocks(128, 128, Plan(128, 32)) == 1, "another size came between"
    assert engine._blocks(4000, 4000, Plan(128, 16)) == 1
    assert engine._blocks(4000, 4000, Plan(127, 16)) == 0


def test_what_is_not_in_blocked_memory_after_all_is_compiled_as_before(
    random_checkpoint: Callable[[ModelSpec, int], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = random_checkpoint(BLOCKS, 0)
    usual, disappointed = OpenVinoEngine(checkpoint, "fp32"), OpenVinoEngine(checkpoint, "fp32")
    usual._in_blocks = False
    monkeypatch.setattr(blocked, "hoped_for", lambda *_: True)
    monkeypatch.setattr(blocked, "holds", lambda _: False)
    disappointed._in_blocks = True
    np.testing.assert_array_equal(run(disappointed, 20, 24), run(usual, 20, 24))
    assert not disappointed._in_blocks


@pytest.mark.parametrize(
    ("spec", "precision", "amx", "hoped"),
    [(BLOCKS, "bf16", False, True), (BLOCKS, "bf16", True, False), (BLOCKS, "fp32", True, True),
     (SPEC, "bf16", False, False), (ModelSpec("thin", "rrdb", 4, 16, 8, 1), "fp32", False, False)],
)  # fmt: skip
def test_blocked_memory_is_for_dense_blocks_of_sixteens_and_not_for_amx(
    monkeypatch: pytest.MonkeyPatch, spec: ModelSpec, precision: str, amx: bool, hoped: bool
) -> None:
    monkeypatch.setattr(blocked, "has_amx", lambda: amx)
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    assert blocked.hoped_for(spec, precision) is hoped
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert not blocked.hoped_for(spec, precision)


def test_a_version_of_openvino_without_the_attribute_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: object) -> None:
        raise TypeError("no such method")

    monkeypatch.setattr(blocked, "has_amx", lambda: False)
    monkeypatch.setattr(blocked, "prefer", refuse)
    blocked._known_here.cache_clear()
    assert not blocked.hoped_for(BLOCKS, "fp32")
    blocked._known_here.cache_clear()


def test_sides_that_do_not_fit_are_refused(random_checkpoint: Callable[[ModelSpec, int], Checkpoint]) -> None:
    spec = ModelSpec("x2", "rrdb", 2, features=8, growth=4, blocks=1, unshuffle=2)
    with pytest.raises(ValueError, match="multiples of 2"):
        run(OpenVinoEngine(random_checkpoint(spec, 0), "fp32"), 8, 9)


@pytest.mark.parametrize("options", [[], ["-X", "faulthandler"]])
def test_a_signal_is_handled_after_engines_are_freed(options: list[str]) -> None:
    """The plugin exchanges the stack that handlers run on, and unmaps its own when it is freed."""
    done = subprocess.run([sys.executable, *options, "-c", TWO_FREED], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
