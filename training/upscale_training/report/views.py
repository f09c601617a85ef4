"""Typed views on a run's records: curves, where it stands, how fast it is."""

import bisect
import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

from upscale_training.report.log import Line, Records, step_of

State = Literal["running", "finished", "interrupted", "stopped"]

LOWER_IS_BETTER = ("lpips", "dists", "niqe")
"""Beginnings of the names of metrics that fall as pictures get better; all others rise."""

_RECENT = 20


@dataclass(slots=True)
class Curve:
    """Values over steps, in the order of writing; NaN where a value was none. After a roll back the steps go back too."""

    steps: list[int] = field(default_factory=list[int])
    values: list[float] = field(default_factory=list[float])

    @property
    def last(self) -> float:
        return self.values[-1] if self.values else math.nan

    def branches(self) -> tuple["Curve", list["Curve"]]:
        """What stands, its steps rising; and what each roll back gave up, with the point before it, where there is one."""
        stands, given_up = Curve(), list[Curve]()
        for step, value in zip(self.steps, self.values, strict=True):
            if stands.steps and step <= stands.steps[-1]:
                kept = bisect.bisect_left(stands.steps, step)
                given_up.append(stands.part(max(0, kept - 1), len(stands.steps)))
                stands = stands.part(0, kept)
            stands.steps.append(step)
            stands.values.append(value)
        return stands, given_up

    def part(self, begin: int, end: int) -> "Curve":
        """Its points of these indices."""
        return Curve(self.steps[begin:end], self.values[begin:end])


@dataclass(frozen=True, slots=True)
class Stretch:
    """A stage: its name, the steps before it and the step after which it ends."""

    name: str
    begins: int
    ends: int


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the run is, lately: seconds a step, validations and all; pictures a second in the steps alone; what the
    device waits for data as a share of the time; bytes of memory at most; seconds that are left. NaN: not known."""

    step_seconds: float
    pictures_per_second: float
    waiting: float
    memory: float
    left_seconds: float


def curves(lines: Iterable[Line], group: str) -> dict[str, Curve]:
    """The numbers that lines hold under a key ("losses", "metrics", …), by name, in the order of appearance."""
    found: dict[str, Curve] = {}
    for line in lines:
        held = line.get(group)
        for name, value in cast("dict[str, Any]", held if isinstance(held, dict) else {}).items():
            if value is None or isinstance(value, int | float):
                curve = found.setdefault(name, Curve())
                curve.steps.append(step_of(line))
                curve.values.append(number(value))
    return found


def curve(lines: Iterable[Line], key: str) -> Curve:
    """One number of each line that has it."""
    chosen = [line for line in lines if key in line]
    return Curve([step_of(line) for line in chosen], [number(line[key]) for line in chosen])


def number(value: object) -> float:
    """A number of the log; NaN for null and for whatever is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan


def state_of(records: Records) -> tuple[State, str]:
    """Whether the run goes on, and the reason why it does not. A killed run cannot say so: it seems to run."""
    if records.end is None:
        return "running", ""
    reason = str(records.end.get("reason") or "")
    if reason == "finished" or reason == "interrupted":
        return reason, ""
    return "stopped", reason or "no reason was written"


def stages(records: Records) -> list[Stretch]:
    """The recipe's stages; where the log has no recipe, those that its steps name."""
    found: list[Stretch] = []
    for stage in _planned(records):
        begins = found[-1].ends if found else 0
        found.append(Stretch(str(stage.get("name", "")), begins, begins + step_of({"step": stage.get("steps")})))
    if found:
        return found
    for line in records.steps:
        name, step = str(line.get("stage") or ""), step_of(line)
        if not found or name != found[-1].name:
            found.append(Stretch(name, found[-1].ends if found else 0, step))
        found[-1] = Stretch(name, found[-1].begins, max(step, found[-1].ends))
    return found


def total_steps(records: Records) -> int | None:
    """How many steps the run is to have; None where the log does not say."""
    config = _config(records)
    for said in (records.start.get("steps"), config.get("steps")):
        if isinstance(said, int):
            return said
    return sum(step_of({"step": stage.get("steps")}) for stage in _planned(records)) or None


def pace(records: Records) -> Pace:
    """See Pace; measured over the latest lines since the run was last started."""
    since = number(records.start.get("time"))
    recent = [line for line in records.steps if not number(line.get("time")) < since][-_RECENT:]
    seconds = _mean(line.get("seconds") for line in recent)
    whole = _wall_seconds(recent)
    whole = seconds if math.isnan(whole) else whole
    total = total_steps(records)
    left = math.nan if total is None or records.end is not None else max(0, total - records.step) * whole
    memory = [number(line.get("memory")) for line in recent]
    return Pace(
        step_seconds=whole,
        pictures_per_second=_pictures_a_step(records, recent) / seconds if seconds > 0 else math.nan,
        waiting=_mean(line.get("waiting") for line in recent),
        memory=max((value for value in memory if value > 0), default=math.nan),
        left_seconds=left,
    )


def lower_is_better(metric: str) -> bool:
    return metric.lower().startswith(LOWER_IS_BETTER)


def best_of(name: str, values: Curve) -> int | None:
    """Index of a metric's best value; None without any number."""
    known = [(value, index) for index, value in enumerate(values.values) if math.isfinite(value)]
    if not known:
        return None
    return min(known)[1] if lower_is_better(name) else max(known, key=lambda pair: (pair[0], -pair[1]))[1]


def smooth(values: Curve, over: int, borders: Sequence[int] = ()) -> Curve:
    """The mean of medians over `over` neighbors: a game's losses jump, and one jump is no trend. Steps up to a border and
    those beyond it are no neighbors: another stage is meant to differ."""
    cuts = sorted({0, *(bisect.bisect_right(values.steps, border) for border in borders), len(values.steps)})
    smoothed = Curve(values.steps)
    for begin, end in itertools.pairwise(cuts):
        medians = _over_neighbors(values.values[begin:end], over, statistics.median)
        smoothed.values += _over_neighbors(medians, over, statistics.fmean)
    return smoothed


def coarse(values: Curve, most: int) -> Curve:
    """At most `most` points, each the mean of a group; a group without any number is NaN."""
    group = -(-len(values.steps) // most)
    if group <= 1:
        return values
    begins = range(0, len(values.steps), group)
    middles = [values.steps[min(begin + group // 2, len(values.steps) - 1)] for begin in begins]
    return Curve(middles, [_mean(values.values[begin : begin + group]) for begin in begins])


def _over_neighbors(values: list[float], over: int, mean: Callable[[list[float]], float]) -> list[float]:
    half = over // 2
    windows = (values[max(0, index - half) : index + half + 1] for index in range(len(values)))
    known = ([value for value in window if math.isfinite(value)] for window in windows)
    return [mean(window) if window else math.nan for window in known]


def _wall_seconds(lines: list[Line]) -> float:
    """Seconds a step by the clock, so that validations count; NaN where the steps do not go on evenly."""
    if len(lines) < 3:
        return math.nan
    steps = [step_of(line) for line in lines]
    passed = number(lines[-1].get("time")) - number(lines[0].get("time"))
    rising = all(late > early for early, late in itertools.pairwise(steps))
    return passed / (steps[-1] - steps[0]) if rising and passed > 0 else math.nan


def _pictures_a_step(records: Records, recent: list[Line]) -> float:
    for line in reversed(recent):
        if "images" in line:
            return number(line["images"])
        for stage in _planned(records):
            if stage.get("name") == line.get("stage") and "batch" in stage:
                return number(stage["batch"])
    return number(_config(records).get("batch"))


def _config(records: Records) -> dict[str, Any]:
    config = records.start.get("config")
    return cast("dict[str, Any]", config) if isinstance(config, dict) else {}


def _planned(records: Records) -> list[dict[str, Any]]:
    said = _config(records).get("stages")
    listed = cast("list[Any]", said) if isinstance(said, list) else []
    return [cast("dict[str, Any]", stage) for stage in listed if isinstance(stage, dict)]


def _mean(values: Iterable[object]) -> float:
    known = [value for value in map(number, values) if math.isfinite(value)]
    return statistics.fmean(known) if known else math.nan
