"""The schedule of a banded run: which stage computes which rows when. Pure arithmetic; nothing here touches a pixel.

The picture arrives in bands. Each stage runs as soon as its main input has the rows around its next band, so it trails
the stage before it by little more than its radius: of every stream only a few rows are kept from band to band, each row of
each stage's output is computed exactly once, and from the second band on the shapes are the same. (A dense block
recomputes a few rows inside, see `extra_compute`.)
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from upscale.stages import Stage

GRAIN = 8
"""Before the picture is complete a unit ends its bands at multiples of this: few different heights, few compiled graphs."""

MIN_ROWS = 16
"""No band of the trunk is lower. Below 48 rows what a dense block recomputes costs more than 5 %."""


BLOCK_ROWS = 128
"""From bands of so many rows on whole residual blocks pay on a CPU: there they save 5 to 13 % of the time by handing on
less, and compute up to 10 % more rows again."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a picture is cut, in feature rows (see stages.py): the trunk in bands of `rows`, the tail in bands of `tail_rows`.

    With `rows` at least as many as the picture's the trunk runs in one piece.
    """

    rows: int
    tail_rows: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.tail_rows < 1:
            raise ValueError("a band has at least one row")


@dataclass(frozen=True, slots=True)
class Step:
    """One call of one stage for its output rows [start, stop).

    It reads rows `main` of the main input and rows `sides` of the others, and computes from them rows `computed`, of
    which it keeps its own. `top` and `bottom`: the reads touch the picture's rim, where convolutions pad.
    """

    stage: int
    start: int
    stop: int
    main: tuple[int, int]
    sides: tuple[tuple[int, int], ...]
    computed: tuple[int, int]
    top: bool
    bottom: bool


def make_step(index: int, stage: Stage, start: int, stop: int, height: int) -> Step:
    """What stage number `index` reads and computes for rows [start, stop) of a picture of `height` rows."""
    low, high = max(0, start - stage.radius), min(height, stop + stage.radius)
    top, bottom = low == 0, high == height
    first, last = low if top else start, high if bottom else stop
    sides = tuple((max(0, first - margin), min(height, last + margin)) for _, margin in stage.sides)
    return Step(index, start, stop, (low, high), sides, (first, last), top, bottom)


def schedule(chain: Sequence[Stage], height: int, plan: Plan, arrivals: Sequence[int]) -> Iterator[Step | int]:
    """Steps of a run, in order, for a picture that arrives in bands of `arrivals` rows (their sum is `height`).

    An int in the sequence says: take the next input band now; it has so many rows.
    """
    if sum(arrivals) != height or height < 1:
        raise ValueError("the input bands must add up to the picture's height")
    ready = {"picture": 0} | {stage.output: 0 for stage in chain}
    limits = [_band_rows(stage, height, plan) for stage in chain]
    for rows in arrivals:
        yield rows
        ready["picture"] += rows
        while (found := _runnable(chain, ready, limits, height)) is not None:
            index, stop = found
            stage = chain[index]
            yield make_step(index, stage, ready[stage.output], stop, height)
            ready[stage.output] = stop


def readers_of(chain: Sequence[Stage]) -> dict[str, list[Stage]]:
    """For each stream that is read, the stages that read it."""
    readers: dict[str, list[Stage]] = {}
    for stage in chain:
        for name in (stage.main, *(name for name, _ in stage.sides)):
            readers.setdefault(name, []).append(stage)
    return readers


def first_needed(readers: Sequence[Stage], ready: Mapping[str, int], height: int) -> int:
    """The first row of a stream that one of its readers can still read, given how many rows of each stream exist; `height`
    for none."""
    done = [ready[stage.output] for stage in readers]
    return min(
        height if rows == height else max(0, rows - stage.radius) for rows, stage in zip(done, readers, strict=True)
    )


def extra_compute(chain: Sequence[Stage], height: int, plan: Plan) -> float:
    """Multiply-adds of the plan above those of the picture in one piece, as a share of the latter."""
    spent = 0.0
    arrivals = bands_of(height, plan.rows)
    for item in schedule(chain, height, plan, arrivals):
        if isinstance(item, Step):
            for conv in chain[item.stage].convolutions:
                low, high = item.computed[0] - conv.margin, item.computed[1] + conv.margin
                spent += conv.macs * (min(height, high) - max(0, low))
    needed = height * sum(conv.macs for stage in chain for conv in stage.convolutions)
    return spent / needed - 1


def bands_of(height: int, rows: int) -> list[int]:
    """`height` rows as bands of `rows`, the last one with what is left."""
    full, rest = divmod(height, rows)
    return [rows] * full + [rest] * (rest > 0)


def _band_rows(stage: Stage, height: int, plan: Plan) -> int:
    return min(height, plan.tail_rows if stage.role == "tail" else plan.rows)


def _runnable(
    chain: Sequence[Stage], ready: dict[str, int], limits: Sequence[int], height: int
) -> tuple[int, int] | None:
    """The last stage that can run, and up to which row. Later stages first: rows leave early and little is kept."""
    for index in reversed(range(len(chain))):
        stage, limit = chain[index], limits[index]
        done, arrived = ready[stage.output], ready[stage.main]
        complete = arrived == height
        available = height if complete else arrived - stage.radius
        rows = min(limit, available - done)
        if not complete and (stage.role == "tail" or limit == height) and rows < limit:
            continue  # the tail and a trunk in one piece wait for all their rows
        if not complete and limit >= GRAIN:
            rows -= (done + rows) % GRAIN
        if rows > 0:
            return index, done + rows
    return None
