"""Every promise of a schedule, checked by playing it through: nothing twice, nothing missing, nothing kept for long."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from upscale.bands import GRAIN, Plan, Step, bands_of, extra_compute, first_needed, make_step, readers_of, schedule
from upscale.spec import ModelSpec
from upscale.stages import Stage, stages

X4PLUS = ModelSpec("x4plus", "rrdb", 4)
SMALL = [
    ModelSpec("x4", "rrdb", 4, 8, 4, 1),
    ModelSpec("x2", "rrdb", 2, 8, 4, 2, unshuffle=2),
    ModelSpec("old x1", "rrdb", 1, 8, 4, 1),
    ModelSpec("video", "compact", 4, 8, blocks=16),
    ModelSpec("one", "compact", 2, 8, blocks=1),
    ModelSpec("two units", "compact", 1, 8, blocks=4),
]
CHAINS = [
    *(pytest.param(stages(spec), id=spec.name) for spec in SMALL),
    *(pytest.param(stages(spec, k), id=f"{spec.name}, {k} blocks at once") for spec in SMALL[:2] for k in (1, 2)),
]
MAX_ROWS = 200


@dataclass
class Played:
    """What a schedule did: its steps, and the most rows that were alive at once, by stream."""

    steps: list[Step] = field(default_factory=list)
    alive: dict[str, int] = field(default_factory=dict)

    def of(self, index: int) -> list[Step]:
        return [step for step in self.steps if step.stage == index]


def play(chain: Sequence[Stage], height: int, plan: Plan, arrivals: Sequence[int]) -> Played:
    """Runs the schedule on row numbers alone, drops what `first_needed` says, and checks each step on the way."""
    ready = {"picture": 0} | {stage.output: 0 for stage in chain}
    kept = dict.fromkeys(ready, 0)
    waiting = list(arrivals)
    played = Played(alive={name: 0 for name in ready if name != chain[-1].output})
    for item in schedule(chain, height, plan, arrivals):
        if isinstance(item, int):
            assert item == waiting.pop(0), "input bands are taken in order"
            ready["picture"] += item
        else:
            stage = chain[item.stage]
            check_step(stage, item, height, plan)
            assert item.start == ready[stage.output], "each row once, in order"
            for name, (start, stop) in reads(stage, item):
                assert kept[name] <= start < stop <= ready[name], f"{name} {start}:{stop} is there when it is read"
            ready[stage.output] = item.stop
            played.steps.append(item)
        for name, stages_ in readers_of(chain).items():
            kept[name] = max(kept[name], first_needed(stages_, ready, height))
        for name in played.alive:
            played.alive[name] = max(played.alive[name], ready[name] - kept[name])
    assert waiting == []
    assert set(ready.values()) == {height}, "every row of every stream was made"
    assert {kept[name] for name in played.alive} == {height}, "what all have read is kept for nobody"
    return played


def reads(stage: Stage, step: Step) -> Iterator[tuple[str, tuple[int, int]]]:
    yield stage.main, step.main
    yield from zip((name for name, _ in stage.sides), step.sides, strict=True)


def check_step(stage: Stage, step: Step, height: int, plan: Plan) -> None:
    """The step's own promises: its size, what it reads, and where it takes the picture's rim to be."""
    assert 0 <= step.start < step.stop <= height
    assert step.stop - step.start <= (plan.tail_rows if stage.role == "tail" else plan.rows)
    low, high = step.main
    assert (low, high) == (max(0, step.start - stage.radius), min(height, step.stop + stage.radius))
    # A rim taken for an inner edge loses rows, an inner edge taken for the rim gets zeros in the middle.
    assert (step.top, step.bottom) == (low == 0, high == height)
    # Convolutions lose `radius` rows on each side that is not the rim: what is left is what the step says.
    first, last = low + stage.radius * (not step.top), high - stage.radius * (not step.bottom)
    assert step.computed == (first, last)
    assert first <= step.start < step.stop <= last
    for (_, margin), side in zip(stage.sides, step.sides, strict=True):
        assert side == (max(0, first - margin), min(height, last + margin))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("rows", "tail_rows"), [(7, 3), (16, 8), (48, 32), (1000, 32)])
def test_every_height_is_computed_once_in_order_from_rows_that_exist(
    chain: Sequence[Stage], rows: int, tail_rows: int
) -> None:
    plan = Plan(rows, tail_rows)
    for height in range(1, MAX_ROWS + 1):
        play(chain, height, plan, bands_of(height, rows))


@pytest.mark.parametrize("chain", CHAINS)
def test_every_small_plan_works_down_to_single_rows(chain: Sequence[Stage]) -> None:
    for height in (1, 2, 3, 4, 6, 11, 12, 23):
        for rows in range(1, height + 2):
            for tail_rows in range(1, height + 2):
                play(chain, height, Plan(rows, tail_rows), bands_of(height, rows))


@st.composite
def runs(draw: st.DrawFn) -> tuple[ModelSpec, int, Plan, list[int]]:
    spec = draw(st.sampled_from([*SMALL, ModelSpec("deep", "rrdb", 8, blocks=4)]))
    height = draw(st.integers(1, 90))
    plan = Plan(draw(st.integers(1, 100)), draw(st.integers(1, 100)))
    cuts = sorted(draw(st.sets(st.integers(1, max(1, height - 1)), max_size=8)) | {height})
    arrivals = [stop - start for start, stop in zip([0, *cuts], cuts, strict=False)]
    return spec, height, plan, arrivals


@given(runs())
@settings(max_examples=300, deadline=None)
def test_any_network_plan_and_cutting_of_the_input_works(run: tuple[ModelSpec, int, Plan, list[int]]) -> None:
    spec, height, plan, arrivals = run
    play(stages(spec), height, plan, arrivals)


@pytest.mark.parametrize("height", [1, 47, 48, 49, 333])
@pytest.mark.parametrize("rows", [16, 48, 400])
def test_the_real_network_of_23_blocks_works(height: int, rows: int) -> None:
    play(stages(X4PLUS), height, Plan(rows, 32), bands_of(height, min(rows, height)))


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("arrivals", [[50], [1] * 50, [20, 20, 10]], ids=["whole", "row by row", "bands"])
def test_a_trunk_in_one_piece_is_one_step_for_each_stage(chain: Sequence[Stage], arrivals: list[int]) -> None:
    for rows in (50, 51, 1000):
        played = play(chain, 50, Plan(rows, 8), arrivals)
        for index, stage in enumerate(chain):
            steps = played.of(index)
            if stage.role == "tail":
                assert [step.stop - step.start for step in steps] == [8, 8, 8, 8, 8, 8, 2]
            else:
                assert [(step.start, step.stop, step.top, step.bottom) for step in steps] == [(0, 50, True, True)]


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize(("rows", "tail_rows"), [(16, 8), (48, 32), (64, 64)])
def test_memory_does_not_grow_with_the_picture(chain: Sequence[Stage], rows: int, tail_rows: int) -> None:
    plan = Plan(rows, tail_rows)
    alive = [play(chain, height, plan, bands_of(height, rows)).alive for height in (600, 1200, 1800)]
    assert alive[0] == alive[1] == alive[2]


@pytest.mark.parametrize("spec", [*SMALL, X4PLUS], ids=lambda spec: spec.name)
@pytest.mark.parametrize(("rows", "tail_rows"), [(7, 3), (48, 32), (64, 8), (100, 32)])
def test_no_stream_keeps_more_than_a_band_and_the_halo_of_its_readers(
    spec: ModelSpec, rows: int, tail_rows: int
) -> None:
    chain = stages(spec)
    alive = play(chain, 1500, Plan(rows, tail_rows), bands_of(1500, rows)).alive
    for name, most in alive.items():
        made = next((index for index, stage in enumerate(chain) if stage.output == name), -1)
        last = max(index for index, stage in enumerate(chain) if name in inputs(stage))
        halo = sum(lag(stage, tail_rows) for stage in chain[made + 1 : last + 1]) + chain[last].radius
        assert most <= rows + halo, name


def inputs(stage: Stage) -> set[str]:
    return {stage.main, *(name for name, _ in stage.sides)}


def lag(stage: Stage, tail_rows: int) -> int:
    """How far a stage that cannot run trails its main input: its radius, and rows too few for a band."""
    return stage.radius + (tail_rows if stage.role == "tail" else GRAIN) - 1


@pytest.mark.parametrize("spec", [*SMALL, X4PLUS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("rows", [16, 48, 64, 100])
def test_rows_leave_early_so_that_huge_pictures_stream_through(spec: ModelSpec, rows: int) -> None:
    chain, arrived, finished = stages(spec), 0, 0
    most = sum(lag(stage, 8) for stage in chain)
    for item in schedule(chain, 1500, Plan(rows, 8), bands_of(1500, rows)):
        if isinstance(item, int):  # all that can run with what has arrived has run
            assert arrived - finished <= most
            arrived += item
        elif chain[item.stage].role == "tail":
            finished = item.stop
    assert finished == 1500


@pytest.mark.parametrize("spec", [*SMALL, X4PLUS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("height", [600, 777, 1003, 2000])
@pytest.mark.parametrize(("rows", "tail_rows"), [(16, 8), (48, 32), (64, 64), (128, 16)])
def test_shapes_repeat_so_that_few_graphs_are_compiled(spec: ModelSpec, height: int, rows: int, tail_rows: int) -> None:
    chain = stages(spec)
    items = schedule(chain, height, Plan(rows, tail_rows), bands_of(height, rows))
    steps = [item for item in items if isinstance(item, Step)]
    for index in range(len(chain)):
        own = [shape(step) for step in steps if step.stage == index]
        # first, inner and last band, and a last but one that has not all its rows around it
        assert len(set(own)) <= 4
        assert len(set(own[1:-2])) <= 1, "from the second band on all are alike, but for the end"
    # Units of one kind share their graphs: over all units only the first and the last band come in several heights.
    kinds = [(stage.role, len(stage.convolutions), len(stage.sides)) for stage in chain]
    graphs = {(kinds[step.stage], shape(step)) for step in steps}
    assert len(graphs) <= 4 * rows // GRAIN + 12


def shape(step: Step) -> tuple[int, bool, bool]:
    return step.main[1] - step.main[0], step.top, step.bottom


@pytest.mark.parametrize("spec", [*SMALL, X4PLUS], ids=lambda spec: spec.name)
@pytest.mark.parametrize("height", [1, 7, 100, 1000])
def test_the_whole_picture_in_one_piece_recomputes_nothing(spec: ModelSpec, height: int) -> None:
    assert extra_compute(stages(spec), height, Plan(height, height)) == 0
    assert extra_compute(stages(spec), height, Plan(height + 5, height + 5)) == 0


@pytest.mark.parametrize("height", [100, 700, 2000])
def test_a_tail_in_bands_costs_a_quarter_percent(height: int) -> None:
    assert 0 < extra_compute(stages(X4PLUS), height, Plan(height, 32)) < 0.0025


@pytest.mark.parametrize(("rows", "most"), [(16, 0.14), (32, 0.07), (48, 0.05), (64, 0.036), (128, 0.02), (256, 0.011)])
def test_seam_free_bands_cost_a_few_percent(rows: int, most: float) -> None:
    """Against the 1.9 times of windows with a halo of 48 pixels around 256."""
    chain = stages(X4PLUS)
    for height in (rows + 1, 200, 555, 2000):
        extra = extra_compute(chain, height, Plan(rows, 32))
        assert 0 < extra < most, height


def test_taller_bands_cost_less() -> None:
    extras = [extra_compute(stages(X4PLUS), 1024, Plan(rows, 32)) for rows in (16, 32, 64, 128, 256, 1024)]
    assert extras == sorted(extras, reverse=True)
    assert len(set(extras)) == len(extras)


def test_extra_compute_counts_what_a_cut_through_a_dense_block_computes_twice() -> None:
    """By hand: at each cut every convolution but the last computes 1–4 rows twice, above and below it."""
    head, unit, *_ = stages(ModelSpec("one", "rrdb", 4, 8, 4, 1))
    chain, plan = (head, unit), Plan(20, 20)
    steps = [item for item in schedule(chain, 60, plan, bands_of(60, 20)) if isinstance(item, Step)]
    cuts = sum(1 for step in steps if step.stage == 1) - 1
    # growth 4, features 8: 8, 12, 16 and 20 channels to 4, then 24 to 8
    macs = [9 * 8 * 4, 9 * 12 * 4, 9 * 16 * 4, 9 * 20 * 4, 9 * 24 * 8]
    twice = cuts * sum(2 * rows * cost for rows, cost in zip((4, 3, 2, 1, 0), macs, strict=True))
    whole = 60 * (9 * 3 * 8 + sum(macs))
    assert cuts >= 2
    assert extra_compute(chain, 60, plan) == pytest.approx(twice / whole)


@given(st.integers(1, 500), st.integers(1, 500))
def test_bands_of_is_equal_bands_and_a_rest(height: int, rows: int) -> None:
    bands = bands_of(height, rows)
    assert sum(bands) == height
    assert all(band == rows for band in bands[:-1])
    assert 1 <= bands[-1] <= rows


@pytest.mark.parametrize("arrivals", [[], [9], [11], [5, 4], [5, 5, 5], [20]])
def test_input_bands_that_do_not_make_the_picture_are_refused(arrivals: list[int]) -> None:
    with pytest.raises(ValueError, match="add up"):
        list(schedule(stages(SMALL[0]), 10, Plan(16, 8), arrivals))


def test_empty_pictures_are_refused() -> None:
    with pytest.raises(ValueError, match="add up"):
        list(schedule(stages(SMALL[0]), 0, Plan(16, 8), []))


@pytest.mark.parametrize(("rows", "tail_rows"), [(0, 1), (1, 0), (-1, 8), (8, -1)])
def test_empty_bands_are_refused(rows: int, tail_rows: int) -> None:
    with pytest.raises(ValueError, match="at least one row"):
        Plan(rows, tail_rows)


def test_rows_at_the_rim_are_computed_up_to_it() -> None:
    """Row 2 of a stage with radius 5 needs rows from the rim on: computed from row 0 with padding, kept from row 2."""
    unit = stages(SMALL[0])[1]
    step = make_step(1, unit, 2, 20, 100)
    assert (step.main, step.computed, step.top, step.bottom) == ((0, 25), (0, 20), True, False)
    step = make_step(1, unit, 60, 97, 100)
    assert (step.main, step.computed, step.top, step.bottom) == ((55, 100), (60, 100), False, True)
