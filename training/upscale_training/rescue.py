"""Between the watch, the guard and the players: alarms are told, and what the guard decides is done."""

import math
from typing import Any, Protocol

from upscale_training.adversary import Adversary
from upscale_training.health.guard import (
    Action,
    Guard,
    Rebalance,
    RestartDiscriminator,
    RollBack,
    SlowDiscriminator,
    Stop,
)
from upscale_training.health.watch import Alarm, Watch
from upscale_training.players import Players


class Say(Protocol):
    """Tells a line of the log, and returns it."""

    def __call__(self, kind: str, **values: Any) -> dict[str, Any]: ...


class RollBackError(Exception):
    """Unwinds to where the last healthy checkpoint is loaded; `slower` multiplies the learning rates from there."""

    def __init__(self, slower: float) -> None:
        super().__init__()
        self.slower = slower


class Rescuer:
    """`acts`: whether alarms are acted on, or only raised. `rollbacks`: how many there were. `healthy`: step of the last
    checkpoint at which nothing was wrong. `ill`: why the run must end, once it must."""

    def __init__(self, acts: bool) -> None:
        self._acts = acts
        self._watch, self._guard, self._new = Watch(), Guard(), list[Alarm]()
        self._pulls: dict[str, float] = {}
        self._paused_until = 0
        self.rollbacks = 0
        self.healthy: int | None = None

    def entered(self) -> None:
        """A stage begins: what was normal before is no measure for it."""
        self._watch = Watch()
        self._paused_until = 0

    def observe(self, line: dict[str, Any], say: Say) -> None:
        """Looks at a line and tells the alarms that it raises."""
        self._pulls = line.get("gradients", self._pulls)
        for alarm in self._watch.observe(line):
            limit = alarm.limit
            say(
                "alarm",
                alarm=limit.name,
                value=alarm.value,
                limit=limit.limit,
                meaning=limit.meaning,
                remedy=limit.remedy,
            )
            self._new.append(alarm)

    def decided(self, adversarial: bool) -> tuple[Action, str, str] | None:
        """What is to be done about the alarms since the last call: the measure, and the alarm's name and meaning."""
        new, self._new = self._new, []
        decision = self._guard.decide(new, adversarial) if self._acts else None
        return None if decision is None else (decision[0], decision[1].name, decision[1].limit.meaning)

    def carry_out(self, action: Action, name: str, number: int, players: Players, say: Say) -> None:
        """Does it, at step `number`. Raises RollBackError where the trainer must."""
        self._watch.acted(name)
        match action:
            case SlowDiscriminator(factor, pause):
                assert players.adversary is not None
                players.adversary.speed *= factor
                self._paused_until = number + pause
                detail = f"paused for {pause} steps, then at {players.adversary.speed:.3g} of its learning rate"
                say("action", action="slow discriminator", detail=detail, reason=name)
            case Rebalance():
                factor = players.factors["adversary"] = players.factors.get("adversary", 1.0) * self._lighter(action)
                say(
                    "action",
                    action="rebalance",
                    detail=f"the adversary weighs {factor:.3g} of the recipe's",
                    reason=name,
                )
            case RestartDiscriminator(factor):
                old = players.adversary
                assert old is not None
                players.adversary = Adversary(old.recipe, old.device, old.seed + _OTHER)
                players.adversary.speed = old.speed * factor
                detail = f"anew, at {players.adversary.speed:.3g} of its learning rate"
                say("action", action="restart discriminator", detail=detail, reason=name)
            case RollBack(slower):
                detail = f"to step {self.healthy}, {slower:.3g} of the learning rates"
                say("action", action="roll back", detail=detail, reason=name)
                raise RollBackError(slower)
            case Stop():
                say("action", action="stop", detail=f"{self.rollbacks} roll backs did not help", reason=name)

    @property
    def spoiled(self) -> bool:
        """Whether the pictures of the last validation are beyond a limit that no metric makes up for."""
        return self._watch.spoiled

    def paused(self, number: int) -> bool:
        """Whether the discriminator rests at this step."""
        return number < self._paused_until

    def saved(self, number: int, judged: bool) -> int | None:
        """Told of each checkpoint, and whether its pictures were just judged; the step of the last healthy one."""
        if judged and self._watch.healthy:
            self.healthy = number
        return self.healthy

    def rolled_back(self) -> None:
        """After the checkpoint was loaded: the watch begins anew, the guard remembers."""
        self.rollbacks += 1
        self.entered()

    def state(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return {
            "watch": self._watch.to_state(),
            "guard": self._guard.to_state(),
            "rollbacks": self.rollbacks,
            "healthy": self.healthy,
            "paused_until": self._paused_until,
        }

    def load(self, state: dict[str, Any]) -> None:
        """What `state` gave."""
        self._watch, self._guard = Watch.from_state(state["watch"]), Guard.from_state(state["guard"])
        self.rollbacks, self.healthy = state["rollbacks"], state["healthy"]
        self._paused_until = state["paused_until"]

    def _lighter(self, action: Rebalance) -> float:
        others = math.hypot(*(pull for name, pull in self._pulls.items() if name not in _NOT_TERMS))
        own = self._pulls.get("adversary", 0.0)
        return min(action.factor, action.most * others / own) if own > 0 else action.factor


_OTHER = 1000
"""Added to the seed of a discriminator that begins anew, so that it begins elsewhere."""

_NOT_TERMS = ("adversary", "generator", "discriminator")
