"""Decides what is to be done about alarms: gently first, then a roll back, and at last an end with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upscale_training.health import limits
from upscale_training.health.limits import Limit
from upscale_training.health.watch import Alarm

MOST_ROLLBACKS = 3
_GENTLE = 3
"""So many gentle measures for one alarm; then a roll back."""


@dataclass(frozen=True, slots=True)
class SlowDiscriminator:
    """It does not learn for `pause` steps, while the generator does; then with its learning rate multiplied by `factor`."""

    factor: float
    pause: int


@dataclass(frozen=True, slots=True)
class Rebalance:
    """The adversary's weight is lowered until its pull on the output is `most` times that of all other terms, and multiplied by
    `factor` at least (gradient norms as in VQGAN's adaptive weight, Esser et al. 2021, arXiv:2012.09841, section 3.2)."""

    most: float
    factor: float


@dataclass(frozen=True, slots=True)
class RestartDiscriminator:
    """It begins anew, from other first parameters, with its learning rate multiplied by `factor`."""

    factor: float


@dataclass(frozen=True, slots=True)
class RollBack:
    """Back to the last healthy checkpoint; all learning rates are multiplied by `slower` from there on."""

    slower: float


@dataclass(frozen=True, slots=True)
class Stop:
    """The run cannot be rescued."""


Action = SlowDiscriminator | RestartDiscriminator | Rebalance | RollBack | Stop

_SEVERE: tuple[Limit, ...] = (limits.NOT_FINITE, limits.CONSTANT, limits.LOSS_EXPLODES, limits.WORSE)
_VISIBLE: tuple[Limit, ...] = (limits.LOST_DIVERSITY, limits.CHECKERBOARD)
_ADVERSARYS: tuple[Limit, ...] = (limits.LOST_DIVERSITY, limits.CHECKERBOARD, limits.MEMORIZING)

_SHOWN = 0.25
"""What the adversary's weight is multiplied by for what shows in pictures. An adversary 15 times too heavy, in eight runs of 500
steps: after a half the grid came back in five, the last validation measured 1.00 to 1.14; after a quarter in one, 0.99 to 1.04, at
LPIPS 2 % higher. A half of such a weight is still far too much."""


class Guard:
    """Remembers what was tried. `decide` may be called after every look; without new alarms it does nothing."""

    def __init__(self) -> None:
        self._gentle: dict[str, int] = {}
        self._values: dict[str, float] = {}
        self._rollbacks = 0

    def decide(self, alarms: Sequence[Alarm], adversarial: bool) -> tuple[Action, Alarm] | None:
        """The one measure for the worst of these alarms, and that alarm; `adversarial`: an adversary plays.

        Where pictures have become worse since a gentle measure, that was not it: a roll back.
        """
        if not alarms:
            return None
        alarm = min(alarms, key=_rank)
        if alarm.limit in _SEVERE:
            return self._back(), alarm
        if not adversarial or alarm.limit in (limits.DRIFT, limits.STEPS_SKIPPED, limits.GENERATOR_WINS):
            return None  # only a person can change what causes it
        tried = self._gentle[alarm.name] = self._gentle.get(alarm.name, 0) + 1
        before, self._values[alarm.name] = self._values.get(alarm.name), alarm.value
        worse = (
            alarm.limit in _VISIBLE
            and before is not None
            and alarm.limit.beyond(before) < alarm.limit.beyond(alarm.value)
        )
        if tried > _GENTLE or worse:
            return self._back(), alarm
        if alarm.limit is limits.DISCRIMINATOR_LOST:
            return RestartDiscriminator(0.1), alarm
        if alarm.limit in _ADVERSARYS:
            return Rebalance(0.25, _SHOWN if alarm.limit in _VISIBLE else 0.5), alarm
        return SlowDiscriminator(0.1, 50), alarm

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {"gentle": self._gentle, "values": self._values, "rollbacks": self._rollbacks}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Guard":
        """What `to_state` gave."""
        guard = cls()
        guard._gentle, guard._values, guard._rollbacks = (
            dict(state["gentle"]),
            dict(state["values"]),
            state["rollbacks"],
        )
        return guard

    def _back(self) -> Action:
        """A tenth of the learning rates each time: three roll backs are a factor of 1000, which cures any slip of a decimal."""
        self._values.clear()
        self._rollbacks += 1
        return RollBack(0.1) if self._rollbacks <= MOST_ROLLBACKS else Stop()


def _rank(alarm: Alarm) -> int:
    return _SEVERE.index(alarm.limit) if alarm.limit in _SEVERE else len(_SEVERE)
