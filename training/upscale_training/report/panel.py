"""The health panel: measures of the game and of the pictures against their limits, each with a sentence on what it means."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from upscale_training.health import limits
from upscale_training.health.checkerboard import against_start
from upscale_training.health.limits import Limit
from upscale_training.report.log import Line, Records
from upscale_training.report.views import Curve, curves, number
from upscale_training.report.words import amount, share

Light = Literal["good", "warn", "bad", "mute"]

_RECENT = 5
_NEAR = 0.08
"""Amber begins so near to a limit, as a share of the meter's range."""


@dataclass(frozen=True, slots=True)
class Measure:
    """`of` finds its value, NaN where it was not measured. Healthy from `low` to `high` (infinite: no such limit); the meter
    goes from `least` to `most`. `what` it is; what `too_low` and `too_high` mean."""

    title: str
    of: Callable[[Records], float]
    what: str
    least: float
    most: float
    low: float = -math.inf
    high: float = math.inf
    too_low: str = ""
    too_high: str = ""
    text: Callable[[float], str] = amount


@dataclass(frozen=True, slots=True)
class Finding:
    """A measure as it stands, with its light and the sentence that goes with it."""

    measure: Measure
    value: float
    light: Light
    sentence: str

    def place(self, value: float) -> float:
        """Where a value lies on the meter: 0 to 1."""
        return min(1.0, max(0.0, (value - self.measure.least) / (self.measure.most - self.measure.least)))

    @property
    def limits_in_words(self) -> str:
        low, high, text = self.measure.low, self.measure.high, self.measure.text
        if math.isinf(low):
            return f"up to {text(high)}"
        return f"at least {text(low)}" if math.isinf(high) else f"{text(low)} to {text(high)}"


def findings(records: Records) -> list[Finding]:
    """All measures; those of the game only where there is one."""
    played = any("game" in line for line in records.steps)
    found = [judged(measure, measure.of(records)) for measure in (*(GAME if played else ()), *PICTURES)]
    playing = bool(records.steps) and "game" in records.steps[-1]
    return found if playing else [_without_game(finding) for finding in found]


def _without_game(finding: Finding) -> Finding:
    """A network that learns from pixels alone is always smoother than the truth: no fault, and no collapse."""
    if finding.measure.of is not DIVERSITY or math.isnan(finding.value):
        return finding
    return Finding(
        finding.measure, finding.value, "mute", "Judged while an adversary plays; without one, results are smoother."
    )


def judged(measure: Measure, value: float) -> Finding:
    """Red beyond a limit, amber near it, gray where nothing was measured. A value that is no limit's business is healthy."""
    if math.isnan(value):
        return Finding(measure, value, "mute", "Not measured yet.")
    if value > measure.high:
        return Finding(measure, value, "bad", measure.too_high)
    if value < measure.low:
        return Finding(measure, value, "bad", measure.too_low)
    gap = min(measure.high - value, value - measure.low)
    if gap < _NEAR * (measure.most - measure.least):
        return Finding(measure, value, "warn", "Still healthy, but close to the limit.")
    return Finding(measure, value, "good", "Healthy.")


def overall(found: Sequence[Finding]) -> tuple[Light, str]:
    """The panel in one line."""
    lights = [finding.light for finding in found]
    if beyond := lights.count("bad"):
        return "bad", f"{_measures(beyond)} beyond the limits"
    if near := lights.count("warn"):
        return "warn", f"{_measures(near)} close to the limits"
    return ("good", "within all limits") if "good" in lights else ("mute", "nothing measured yet")


def _measures(count: int) -> str:
    return "one measure is" if count == 1 else f"{count} measures are"


def _recent(lines: Sequence[Line], group: str) -> dict[str, float]:
    """The means of the latest values, by name."""
    return {name: _tail_mean(curve) for name, curve in curves(lines[-4 * _RECENT :], group).items()}


def _tail_mean(curve: Curve) -> float:
    known = [value for value in curve.values if math.isfinite(value)][-_RECENT:]
    return sum(known) / len(known) if known else math.nan


def _accuracy(records: Records) -> float:
    game = _recent(records.steps, "game")
    return (game.get("real", math.nan) + game.get("fake", math.nan)) / 2


def _overfitting(records: Records) -> float:
    found = [line["game"] for line in records.validations if isinstance(line.get("game"), dict)]
    games = [cast("dict[str, Any]", game) for game in found if game]
    return number(games[-1].get("known")) - number(games[-1].get("held_out")) if games else math.nan


def _pull(records: Records) -> float:
    """The adversary's share of all terms' pulls at the generator's output."""
    pulls = _recent(records.steps, "gradients")
    terms = {name: value for name, value in pulls.items() if name not in ("generator", "discriminator")}
    total = sum(value for value in terms.values() if math.isfinite(value))
    return terms["adversary"] / total if total and "adversary" in terms else math.nan


def _skipped(records: Records) -> float:
    return _tail_mean(Curve([0] * len(records.steps), [number(line.get("skipped")) for line in records.steps]))


def _checked(key: str, judged: Callable[[dict[str, Any]], float] | None = None) -> Callable[[Records], float]:
    """The latest of a measure; `judged`: made of the whole checkup, else of its own number."""

    def own(held: dict[str, Any]) -> float:
        return _largest(held[key])

    return lambda records: next(((judged or own)(held) for held in _checkups(records) if key in held), math.nan)


def _checkups(records: Records) -> list[dict[str, Any]]:
    return [cast("dict[str, Any]", line["health"]) for line in reversed(records.validations) if _has_health(line)]


def _has_health(line: Line) -> bool:
    return isinstance(line.get("health"), dict)


def _largest(value: object) -> float:
    """A number, or of several the one furthest from zero, without its sign."""
    if isinstance(value, list):
        return max((abs(number(held)) for held in cast("list[object]", value)), default=math.nan)
    return number(value)


DIVERSITY = _checked("diversity")


def _words(limit: Limit) -> str:
    return f"{limit.meaning} {limit.remedy}"


def _bound(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else value


GAME = (
    Measure(
        "Balance of the game",
        _accuracy,
        "How often the discriminator is right, over real and made crops; 50 % is guessing.",
        0.0,
        1.0,
        low=_bound(limits.GENERATOR_WINS.least, -math.inf),
        high=_bound(limits.DISCRIMINATOR_WINS.most, math.inf),
        too_low=_words(limits.GENERATOR_WINS),
        too_high=_words(limits.DISCRIMINATOR_WINS),
        text=share,
    ),
    Measure(
        "The adversary's pull",
        _pull,
        "The adversary's share of all terms' gradients at the generator's output.",
        0.0,
        1.0,
        low=0.001,
        high=0.9,
        too_low="The adversary hardly moves the generator: its weight is too small to matter. Use weight=Pull(0.2).",
        too_high="The adversary outweighs all other terms: details will be invented rather than restored. Lower its weight.",
        text=share,
    ),
    Measure(
        "Memorizing",
        _overfitting,
        "How much more often real training pictures are called real than held-out ones.",
        -0.1,
        0.6,
        high=_bound(limits.MEMORIZING.most, math.inf),
        too_high=_words(limits.MEMORIZING),
        text=share,
    ),
)
"""Shown where a discriminator plays."""

PICTURES = (
    Measure(
        "Diversity",
        DIVERSITY,
        "Effective rank of deep features of what the network adds to bicubic, against the truth's.",
        0.0,
        1.5,
        low=_bound(limits.LOST_DIVERSITY.least, -math.inf),
        too_low=_words(limits.LOST_DIVERSITY),
    ),
    Measure(
        "Checkerboard",
        _checked("checkerboard", against_start),
        "Spectral peaks at the up-sampling's periods, against the truth's; a grid that the start already had is allowed.",
        0.9,
        1.15,
        high=_bound(limits.CHECKERBOARD.most, math.inf),
        too_high=_words(limits.CHECKERBOARD),
    ),
    Measure(
        "Color drift",
        _checked("drift"),
        "Largest mean shift of a color channel, in 8-bit levels.",
        0.0,
        8.0,
        high=_bound(limits.DRIFT.most, math.inf),
        too_high=_words(limits.DRIFT),
    ),
    Measure(
        "Skipped steps",
        _skipped,
        "Share of the latest steps that were left out, since their gradients were not finite.",
        0.0,
        0.5,
        high=_bound(limits.STEPS_SKIPPED.most, math.inf),
        too_high=_words(limits.STEPS_SKIPPED),
        text=share,
    ),
)
