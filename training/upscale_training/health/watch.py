"""Looks at the log's lines as they come and raises alarms, each once until what it is about is well again."""

import math
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, cast

from upscale_training.health import limits
from upscale_training.health.checkerboard import against_start
from upscale_training.health.limits import LIMITS, Limit

_WARM_UP = 3
"""Step lines of a stage that are seen, but not judged: a new game begins with large losses and an untrained discriminator."""

_HISTORY = 50
_GONE = 1 / 50
"""A discriminator whose gradient is smaller than this share of its largest has stopped learning, if it is not right."""

_SPOILING = (limits.NOT_FINITE, limits.CONSTANT, limits.CHECKERBOARD, limits.LOST_DIVERSITY)


@dataclass(frozen=True, slots=True)
class Alarm:
    """A limit that was crossed long enough, and by what."""

    limit: Limit
    step: int
    value: float

    @property
    def name(self) -> str:
        return self.limit.name


class Watch:
    """What has been seen of a stage. `active`: names of alarms that were raised and not acted on, while their cause stays;
    `beyond`: of limits that were crossed when last looked at, acted on or not."""

    def __init__(self) -> None:
        self.active: set[str] = set()
        self.beyond: set[str] = set()
        self._crossed: dict[str, int] = {}
        self._seen = 0
        self._best_loss = math.inf
        self._best: dict[str, float] = {}
        self._drift = 0.0
        self._steepest = 0.0
        self._pulls: deque[float] = deque(maxlen=_HISTORY)

    @property
    def healthy(self) -> bool:
        """Nothing is over its limit, not even for the first time, and not if something was just done about it."""
        return not self.beyond

    @property
    def spoiled(self) -> bool:
        """The pictures last looked at were nothing that anybody wants, whatever their LPIPS."""
        return any(limit.name in self.beyond for limit in _SPOILING)

    def observe(self, line: Mapping[str, Any]) -> list[Alarm]:
        """Alarms that this line of the log raises: "step" and "validation" lines are looked at, others are not."""
        match line["kind"]:
            case "step":
                self._seen += 1
                values = dict(self._of_step(line)) if self._seen > _WARM_UP else dict[Limit, float]()
                self._learn(line)
            case "validation":
                seen = dict(self._of_pictures(line))
                values = seen if line["step"] > 0 else dict[Limit, float]()  # the start is nobody's fault
            case _:
                return []
        return [alarm for limit, value in values.items() if (alarm := self._judged(limit, value, int(line["step"])))]

    def acted(self, name: str) -> None:
        """Something was done about an alarm: it is raised again when its cause stays for as long as the first time."""
        self.active.discard(name)
        self._crossed[name] = 0
        if name == limits.DISCRIMINATOR_LOST.name:
            self._steepest = 0.0  # there is a new one, whose gradients have yet to grow

    def to_state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "active": sorted(self.active),
            "beyond": sorted(self.beyond),
            "crossed": self._crossed,
            "seen": self._seen,
            "best_loss": self._best_loss,
            "best": self._best,
            "drift": self._drift,
            "steepest": self._steepest,
            "pulls": list(self._pulls),
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Watch":
        """What `to_state` gave."""
        watch = cls()
        watch.active, watch.beyond, watch._crossed = set(state["active"]), set(state["beyond"]), dict(state["crossed"])
        watch._seen, watch._best_loss, watch._best = state["seen"], state["best_loss"], dict(state["best"])
        watch._drift, watch._steepest = state["drift"], state["steepest"]
        watch._pulls.extend(state["pulls"])
        return watch

    def _judged(self, limit: Limit, value: float, step: int) -> Alarm | None:
        if not limit.crossed(value):
            self._crossed[limit.name] = 0
            self.active.discard(limit.name)
            self.beyond.discard(limit.name)
            return None
        self.beyond.add(limit.name)
        self._crossed[limit.name] = self._crossed.get(limit.name, 0) + 1
        if self._crossed[limit.name] < limit.patience or limit.name in self.active:
            return None
        self.active.add(limit.name)
        return Alarm(limit, step, value)

    def _of_step(self, line: Mapping[str, Any]) -> Iterator[tuple[Limit, float]]:
        game, pulls = (_numbers(line.get(group)) for group in ("game", "gradients"))
        if {"real", "fake"} <= game.keys() and not game.get("paused"):
            right = (game["real"] + game["fake"]) / 2
            yield limits.DISCRIMINATOR_WINS, right
            yield limits.GENERATOR_WINS, right
            gone = pulls.get("discriminator", math.inf) < _GONE * self._steepest
            yield limits.DISCRIMINATOR_LOST, right if gone else math.nan
        if "adversary" in pulls and len(self._pulls) >= _WARM_UP:
            yield limits.NO_ADVERSARIAL_GRADIENT, pulls["adversary"] / max(median(self._pulls), 1e-30)
        if self._best_loss > 0:
            yield limits.LOSS_EXPLODES, _own_loss(line) / self._best_loss
        yield limits.STEPS_SKIPPED, float(line.get("skipped") or 0.0)

    def _learn(self, line: Mapping[str, Any]) -> None:
        """What later lines are compared with."""
        total = _own_loss(line)
        if total > 0:
            self._best_loss = min(self._best_loss, total)
        steep = _numbers(line.get("gradients")).get("discriminator", 0.0)
        self._steepest = max(self._steepest, steep if math.isfinite(steep) else 0.0)
        pull = _numbers(line.get("gradients")).get("adversary")
        if pull is not None and math.isfinite(pull):
            self._pulls.append(pull)

    def _of_pictures(self, line: Mapping[str, Any]) -> Iterator[tuple[Limit, float]]:
        metrics, health = _numbers(line.get("metrics")), cast("Mapping[str, Any]", line.get("health") or {})
        game = _numbers(line.get("game"))
        if {"known", "held_out"} <= game.keys():
            yield limits.MEMORIZING, game["known"] - game["held_out"]
        yield limits.NOT_FINITE, float(health.get("finite") is False)
        yield limits.CONSTANT, _number(health.get("constant"))
        yield limits.CHECKERBOARD, against_start(health)
        yield limits.DRIFT, self._drifting(health.get("drift"))
        if line.get("adversarial"):  # who learns from pixels alone is smoother than the truth, and rightly so
            yield limits.LOST_DIVERSITY, _number(health.get("diversity"))
        yield limits.WORSE, self._worse(metrics)

    def _drifting(self, shifts: Sequence[object] | None) -> float:
        """The largest shift, NaN while it falls by a tenth or more: that training brings it down needs no alarm."""
        before, self._drift = self._drift, max((abs(_number(shift)) for shift in shifts or ()), default=math.nan)
        return math.nan if self._drift < 0.9 * before else self._drift

    def _worse(self, metrics: Mapping[str, float]) -> float:
        """How many times as far from the truth as at the best validation of the stage: by LPIPS, else by PSNR, of which 3 dB
        count as 1.25 times."""
        ratios = list[float]()
        if (lpips := metrics.get("lpips_alex")) is not None:
            best = self._best["lpips_alex"] = min(lpips, self._best.get("lpips_alex", lpips))
            ratios.append(lpips / max(best, 1e-6))
        elif (psnr := metrics.get("psnr_y")) is not None:
            best = self._best["psnr_y"] = max(psnr, self._best.get("psnr_y", psnr))
            ratios.append(1.25 ** ((best - psnr) / 3))
        return ratios[0] if ratios else math.nan


def _own_loss(line: Mapping[str, Any]) -> float:
    """The weighted sum without the adversary's part, which rises and falls with the game. NaN where there is none."""
    losses, weights = _numbers(line.get("losses")), _numbers(line.get("weights"))
    return losses.get("total", math.nan) - losses.get("adversary", 0.0) * weights.get("adversary", 0.0)


def _numbers(values: Any) -> dict[str, float]:
    """The entries that are numbers; a loss that is none counts as infinite."""
    found = cast("Mapping[str, Any]", values or {})
    return {name: _number(value) for name, value in found.items() if isinstance(value, int | float)}


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


__all__ = ["LIMITS", "Alarm", "Watch"]
