"""Which plans exist, in which order, and that what they are said to need is what they take."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upscale.bands import MIN_ROWS, Plan, Step, bands_of, extra_compute, schedule
from upscale.engines import amx_library
from upscale.errors import UpscaleError
from upscale.plans import Tile, bytes_needed, check_tile, fitting, ladder, passes
from upscale.spec import ModelSpec
from upscale.stages import stages

REPOSITORY = Path(__file__).resolve().parents[1]

X4PLUS = ModelSpec("x4plus", "rrdb", 4)
X2PLUS = ModelSpec("x2plus", "rrdb", 2, unshuffle=2)
X1PLUS = ModelSpec("x1plus", "rrdb", 1, unshuffle=4)
COMPACT = ModelSpec("compact", "compact", 4, blocks=16, activation="prelu")
OURS = [X4PLUS, X2PLUS, X1PLUS, COMPACT]
by_spec = pytest.mark.parametrize("spec", OURS, ids=lambda spec: spec.name)

TILES: list[Tile] = ["auto", "whole", 16, 17, 50, 64, 100, 1000]
SIZES = [(8, 8), (100, 16), (100, 17 * 4), (256, 256), (300, 1000), (4000, 6000)]


def trunk_bands(spec: ModelSpec, height: int, plan: Plan) -> int:
    """The most feature rows that a step of the trunk makes."""
    rows, chain = height // spec.unshuffle, stages(spec)
    steps = schedule(chain, rows, plan, bands_of(rows, min(rows, plan.rows)))
    return max(step.stop - step.start for step in steps if isinstance(step, Step) and chain[step.stage].role != "tail")


@by_spec
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("size", SIZES)
def test_every_plan_is_valid_and_fits_the_picture(spec: ModelSpec, tile: Tile, size: tuple[int, int]) -> None:
    plans = ladder(spec, *size, tile)
    rows = size[1] // spec.unshuffle
    assert plans
    assert all(1 <= plan.rows <= max(rows, MIN_ROWS) and plan.tail_rows >= 1 for plan in plans)


@by_spec
@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("size", SIZES)
def test_ladder_goes_from_one_piece_to_smaller_and_smaller_bands(
    spec: ModelSpec, tile: Tile, size: tuple[int, int]
) -> None:
    plans = ladder(spec, *size, tile)
    assert [plan.rows for plan in plans] == sorted((plan.rows for plan in plans), reverse=True)
    for rows in {plan.rows for plan in plans}:
        tails = [plan.tail_rows for plan in plans if plan.rows == rows]
        assert tails == sorted(tails, reverse=True)
    if size[1] // spec.unshuffle > 64 and tile in ("auto", "whole"):
        assert plans[0].rows == size[1] // spec.unshuffle
        assert plans[-1].rows == MIN_ROWS


@by_spec
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("engine", ["amx", "openvino", "torch"])
@pytest.mark.parametrize("deep", [False, True])
def test_no_rung_with_the_same_trunk_needs_more_than_the_one_before(
    spec: ModelSpec, size: tuple[int, int], engine: str, deep: bool
) -> None:
    plans = ladder(spec, *size, "auto")
    needs = [bytes_needed(spec, *size, plan, 2, engine=engine, device="cpu", deep=deep) for plan in plans]
    banded = [plan.rows < size[1] // spec.unshuffle for plan in plans]
    for k in range(1, len(plans)):
        if banded[k] == banded[k - 1]:
            assert needs[k] <= needs[k - 1], (plans[k - 1], plans[k])


@by_spec
@pytest.mark.parametrize("engine", ["amx", "openvino", "torch"])
def test_bands_need_far_less_of_a_large_picture_than_one_piece(spec: ModelSpec, engine: str) -> None:
    plans = ladder(spec, 4000, 6000, "auto")
    needs = [bytes_needed(spec, 4000, 6000, plan, 2, engine=engine, device="cpu", deep=False) for plan in plans]
    assert needs[-1] < 0.2 * needs[0]  # 0.15 while one piece still kept what nobody read any more
    assert min(needs) == needs[-1]


@by_spec
@pytest.mark.parametrize("engine", ["amx", "openvino", "torch"])
def test_bands_of_a_taller_picture_need_no_more(spec: ModelSpec, engine: str) -> None:
    """Only what is cut off at the bottom of a low picture makes it cheaper."""
    needs = [
        bytes_needed(spec, 1000, h, Plan(64, 8), 2, engine=engine, device="cpu", deep=False)
        for h in (8000, 16000, 64000)
    ]
    assert len(set(needs)) == 1


def test_low_precision_never_needs_more_and_deep_results_never_less() -> None:
    for spec in OURS:
        for engine in ("amx", "openvino", "torch"):
            need = {
                (value, deep): bytes_needed(
                    spec, 512, 512, Plan(512, 32), value, engine=engine, device="cpu", deep=deep
                )
                for value in (2, 4)
                for deep in (False, True)
            }
            assert need[2, False] <= need[4, False]
            assert need[2, False] <= need[2, True]


@by_spec
@pytest.mark.parametrize("height", [64, 200, 1000, 3000])
def test_plans_of_48_rows_or_more_cost_5_percent_at_most(spec: ModelSpec, height: int) -> None:
    most = 0.05 if spec is X4PLUS else 0.055  # a little more where 200 picture rows are but 50 or 100 of features
    for plan in ladder(spec, 640, height, "auto"):
        if plan.rows >= 48:
            assert extra_compute(stages(spec), height // spec.unshuffle, plan) < most, plan


@by_spec
@pytest.mark.parametrize("tile", [tile for tile in TILES if isinstance(tile, int)])
def test_tile_bounds_the_rows_of_every_step(spec: ModelSpec, tile: int) -> None:
    height = 240
    for plan in ladder(spec, 64, height, tile):
        assert trunk_bands(spec, height, plan) <= max(MIN_ROWS, tile // spec.unshuffle)


@by_spec
def test_tile_larger_than_the_picture_is_one_piece(spec: ModelSpec) -> None:
    assert ladder(spec, 64, 240, 240) == ladder(spec, 64, 240, "whole")
    assert ladder(spec, 64, 240, 240)[0].rows == 240 // spec.unshuffle


@pytest.mark.parametrize(("size", "first"), [((128, 128), 128), ((181, 181), 181), ((182, 181), 32), ((500, 30), 30)])
def test_a_small_pictures_tail_runs_in_one_piece_first(size: tuple[int, int], first: int) -> None:
    plans = ladder(X4PLUS, *size, "auto")
    assert plans[0] == Plan(size[1], first)
    assert Plan(size[1], min(size[1], 32)) in plans


@pytest.mark.parametrize("tile", ["auto", "whole", MIN_ROWS, 1000])
def test_possible_tiles_pass(tile: Tile) -> None:
    assert check_tile(tile) == tile


@pytest.mark.parametrize("tile", [MIN_ROWS - 1, 1, 0, -32])
def test_tiles_that_make_no_band_are_refused_in_one_line(tile: int) -> None:
    with pytest.raises(UpscaleError, match=rf"--tile {tile}: .* at least {MIN_ROWS} rows") as caught:
        check_tile(tile)
    assert "\n" not in str(caught.value)


FOREIGN = ModelSpec("swin", "foreign", 4)


def test_foreign_networks_get_windows_that_become_smaller() -> None:
    assert [plan.rows for plan in ladder(FOREIGN, 800, 600, "auto")] == [256, 128, 64]
    assert [plan.rows for plan in ladder(FOREIGN, 800, 600, "whole")] == [800, 256, 128, 64]
    assert [plan.rows for plan in ladder(FOREIGN, 800, 600, 100)] == [100, 64]
    assert [plan.rows for plan in ladder(FOREIGN, 40, 30, "auto")] == [40]
    needs = [
        bytes_needed(FOREIGN, 800, 600, plan, 4, engine="torch", device="cpu", deep=False)
        for plan in ladder(FOREIGN, 800, 600, "whole")
    ]
    assert needs == sorted(needs, reverse=True)


def rungs(*needs: int) -> list[tuple[Plan, int]]:
    return [(Plan(64 - k, 8), need) for k, need in enumerate(needs)]


@pytest.mark.parametrize(("budget", "taken"), [(100, 40), (40, 40), (39, 30), (30, 30), (29, 20), (10, 10), (5, 10)])
def test_the_fastest_plan_within_the_budget_is_taken_else_the_smallest(budget: int, taken: int) -> None:
    assert fitting([rungs(40, 30, 20, 10)], budget) == [rung for rung in rungs(40, 30, 20, 10) if rung[1] == taken]
    assert fitting([rungs(40, 10, 20, 30)], 5)[0][1] == 10
    assert fitting([], budget) == []


def test_passes_that_run_at_once_share_the_budget_and_the_largest_chooses_first() -> None:
    ladders = [rungs(8, 4, 2), rungs(80, 40, 20)]

    def needs(budget: int) -> list[int]:
        return [need for _, need in fitting(ladders, budget)]

    assert needs(88) == [8, 80]
    assert needs(87) == [4, 80]
    assert needs(81) == [8, 40]
    assert needs(43) == [2, 40]
    assert needs(0) == [2, 20]


@given(st.lists(st.lists(st.integers(1, 100), min_size=1, max_size=5), min_size=1, max_size=4))
def test_a_budget_below_what_failed_always_leads_on_until_nothing_is_smaller(needs: list[list[int]]) -> None:
    ladders = [rungs(*sorted(some, reverse=True)) for some in needs]
    smallest = sum(min(some) for some in needs)
    total = sum(need for _, need in fitting(ladders, 10**9))
    while total > smallest:
        lower = sum(need for _, need in fitting(ladders, total - 1))
        assert lower < total
        total = lower
    assert total == smallest


@pytest.mark.parametrize(
    ("scale", "native", "count"),
    [
        (0.5, 4, 0), (0.99, 4, 0), (1, 4, 1), (2, 4, 1), (4, 4, 1), (4.01, 4, 2), (5, 4, 2), (16, 4, 2),
        (2, 2, 1), (3, 2, 2), (4, 2, 2), (8, 2, 3), (16, 2, 4), (9, 3, 2), (16, 3, 3), (16, 8, 2), (4, 1, 1), (0.7, 1, 0),
    ],
)  # fmt: skip
def test_network_runs_until_the_picture_is_large_enough(scale: float, native: int, count: int) -> None:
    assert passes(scale, native) == count


@given(st.floats(1, 16), st.sampled_from([2, 3, 4, 8]))
def test_no_pass_is_one_too_many(scale: float, native: int) -> None:
    count = passes(scale, native)
    assert native**count >= scale * (1 - 1e-6)
    assert count == 1 or native ** (count - 1) < scale


# ---------------------------------------------------------------- what plans really take

MEASURED = """
import sys, os, resource
import numpy as np
from upscale.bands import Plan
from upscale.engines.choose import open_engine
from upscale.zoo import load

model, name, precision, side, rows, tail, dtype = sys.argv[1:]
engine, side = open_engine(load(model), name, "cpu", precision), int(side)
picture = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)

def run(side, plan):
    bands = (picture[row : min(side, row + 64), :side] for row in range(0, side, 64))
    for _ in engine.run(bands, side, side, plan, dtype):
        pass

run(16, Plan(16, 16))  # what libraries take once and for all
pages = int(open("/proc/self/statm").read().split()[1])
before = pages * os.sysconf("SC_PAGE_SIZE")
run(side, Plan(int(rows), int(tail)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""

HEAP = 64 << 20
"""By so much differs from run to run what a process keeps of the memory that it has freed."""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="ru_maxrss and /proc as on Linux")
@pytest.mark.parametrize(
    ("engine", "precision"),
    [(engine, precision) for engine in ("openvino", "torch") for precision in ("fp32", "bf16")] + [("amx", "bf16")],
)
@pytest.mark.parametrize(
    ("model", "side", "rows", "tail"),
    [("x4plus-anime", 384, 384, 32), ("x4plus-anime", 384, 64, 8), ("animevideov3", 768, 768, 32),
     ("animevideov3", 768, 64, 8)],
)  # fmt: skip
def test_bytes_needed_are_what_a_run_takes(
    engine: str, precision: str, model: str, side: int, rows: int, tail: int
) -> None:
    from upscale.zoo import load

    if engine == "amx" and not amx_library.usable():
        pytest.skip("no AMX here")
    run = [sys.executable, "-c", MEASURED, model, engine, precision, str(side), str(rows), str(tail), "uint8"]
    done = subprocess.run(run, cwd=REPOSITORY, env=dict(os.environ), capture_output=True, text=True, check=True)
    value_bytes = 4 if precision == "fp32" else 2
    said = bytes_needed(
        load(model).spec, side, side, Plan(rows, tail), value_bytes, engine=engine, device="cpu", deep=False
    )
    took = int(done.stdout)
    assert took - HEAP <= said <= 2 * took + HEAP, f"said {said >> 20} MB, took {took >> 20} MB"
