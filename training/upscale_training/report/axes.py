"""The axes of a chart: the range that is worth showing, where a value lies on it, and round numbers to write beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_LOG_FROM = 12.0
"""Positive values are drawn on a logarithmic axis when the largest is so many times the smallest."""

_OUTLYING = 6.0
"""Values that would stretch the axis so many times beyond the middle 96 of 100 are cut off."""


@dataclass(frozen=True, slots=True)
class Axis:
    """From `low` to `high`, low < high; both positive where `log`."""

    low: float
    high: float
    log: bool = False

    def place(self, value: float) -> float:
        """0 at `low`, 1 at `high`; what cannot lie on a logarithmic axis lies at its low end."""
        if self.log:
            return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def ticks(self, count: int = 5) -> list[float]:
        """About `count` round values, in order."""
        return self._log_ticks(count) if self.log else self._even_ticks(count)

    def _even_ticks(self, count: int) -> list[float]:
        rough = (self.high - self.low) / count
        power = 10.0 ** math.floor(math.log10(rough))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.99)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [index * step for index in range(first, last + 1)]

    def _log_ticks(self, count: int) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        every = max(1, round((last - first) / count))
        factors = (1, 2, 5) if last - first <= 2 else (1, 3) if last - first <= 3 else (1,)
        every = 1 if len(factors) > 1 else every
        values = [factor * 10.0**power for power in range(first, last + 1, every) for factor in factors]
        return [value for value in values if self.low * 0.999 <= value <= self.high * 1.001]


def axis_for(values: Sequence[float], shown: Sequence[float] = (), may_log: bool = True) -> Axis:
    """An axis on which the finite `values` can be seen, and all of `shown` (limits) as well."""
    known = sorted(value for value in values if math.isfinite(value))
    if not known:
        return Axis(0.0, 1.0)
    positive = [value for value in known if value > 0]
    if may_log and known[0] >= 0 and positive and positive[-1] / positive[0] > _LOG_FROM:
        low = max(positive[0], positive[len(positive) // 2] * 1e-6)
        return Axis(low / 1.15, positive[-1] * 1.15, log=True)
    low, high = _middle(known)
    low, high = min(low, *shown, low), max(high, *shown, high)
    spare = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(low - spare, high + spare)


def _middle(known: list[float]) -> tuple[float, float]:
    """The range of sorted values, without the few that would hide all others."""
    low, high = known[0], known[-1]
    if len(known) < 25:
        return low, high
    few = max(1, len(known) // 50)
    inner_low, inner_high = known[few], known[-1 - few]
    inner = inner_high - inner_low
    if inner and inner_low - low > _OUTLYING * inner:
        low = inner_low - 0.5 * inner
    if inner and high - inner_high > _OUTLYING * inner:
        high = inner_high + 0.5 * inner
    return low, high
