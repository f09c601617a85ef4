"""The training run: stages of steps, and what happens between them. Read `Trainer.run` from the top."""

import json
import math
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import torch

from upscale.checkpoint import write_safetensors
from upscale_training.data.feed import Batch, Make, feed
from upscale_training.distributed import Group
from upscale_training.errors import RecipeError, RunError, StoppedError
from upscale_training.generator import checkpoint_of
from upscale_training.health.guard import Action, Stop
from upscale_training.judge import Judge, Verdict, learns_to_see
from upscale_training.meter import Meter
from upscale_training.players import Ground, Players, empty_players, first_players, next_players
from upscale_training.recipe import Recipe, Stage
from upscale_training.rescue import Rescuer, RollBackError
from upscale_training.run_folder import RunFolder, State, writing
from upscale_training.step import Facts, Pictures, train_step
from upscale_training.strips import write_made

Tell = Callable[[dict[str, Any]], object]
"""Takes a line of the log; see report.log."""

_FORMAT = 3
_NOTHING = True, math.inf
"""The rank of what stands in model.safetensors, whether spoiled and its score, before anything stands there."""

_SEEN = 4
"""Batches of originals that are kept, to ask the discriminator whether it knows them."""

_MOST_SKIPPED = 50
"""First steps that could not be made, after which a run ends; fp16 skips a dozen until its scale is found."""

_RETRY = 1_000_003
"""After a roll back the samples come from another seed: those that led to the fall need not come again."""


@dataclass(frozen=True, slots=True, eq=False)
class Setting:
    """What surrounds a run. `samples`: (index of a stage, seed) → how its samples are made. `judge`: index of a stage →
    who judges there. `listeners`: who takes the log's lines. `about`: the start line. `notes`: into the model's metadata.
    `parts`: for each stage, into how many micro-batches to cut a batch to begin with. `identity`: what a resumed run must
    have in common with its beginning, `script`: what it may have changed. `stop`: asked after each step whether to end.
    """

    ground: Ground
    folder: RunFolder
    samples: Callable[[int, int], Make]
    judge: Callable[[int], Judge]
    listeners: tuple[Tell, ...] = ()
    about: dict[str, Any] = field(default_factory=dict[str, Any])
    notes: dict[str, str] = field(default_factory=dict[str, str])
    parts: tuple[int, ...] = ()
    identity: dict[str, str] = field(default_factory=dict[str, str])
    script: str = ""
    workers: int = 0
    guard: bool = True
    stop: Callable[[], bool] = lambda: False


class Trainer:
    """One run of a recipe. What changes: `number` (steps done), the players of the stage, and what the guard remembers."""

    def __init__(self, recipe: Recipe, setting: Setting) -> None:
        self.recipe, self.setting = recipe, setting
        self.number = 0
        self._stage = -1
        self._players: Players | None = None
        self._judge: Judge | None = None
        self._best = _NOTHING
        self._changed = False
        self._unmoved: int | None = 0
        self._known: dict[str, float] = {}
        self._grid = math.nan
        self._seen: deque[torch.Tensor] = deque(maxlen=_SEEN)
        self._meter, self._clock = Meter(), time.perf_counter()
        self._rescuer = Rescuer(acts=setting.guard)

    def run(self, resume: bool = False) -> str:
        """Trains to the end; returns why it ended: "finished" or "interrupted". Raises StoppedError, OutputError, DataError."""
        if resume:
            self._restore(self.setting.folder.latest())
        self._say("start", **self.setting.about)
        if self._changed:
            detail = f"from step {self.number} on as the changed recipe says"
            self._say("action", action="another recipe", detail=detail, reason="it was changed since the run began")
        if not resume:
            self._enter(0)
            self._validate()
            self._save(judged=True)
        while self.number < self.recipe.steps:
            index, first = self.recipe.stage_at(self.number)
            if index != self._stage:
                self._enter(index)
            try:
                if not self._stretch(self.recipe.stages[index], first):
                    return self._ended("interrupted")
            except RollBackError as back:
                self._roll_back(back.slower)
        return self._ended("finished")

    def _stretch(self, stage: Stage, first: int) -> bool:
        """Steps to the stage's end; False when the run is to stop before it."""
        steps = range(self.number, first + stage.steps)
        make = self.setting.samples(self._stage, self.recipe.seed + _RETRY * self._rescuer.rollbacks)
        self._clock = time.perf_counter()
        for number, batch in zip(
            steps, feed(make, steps, stage.batch, self._group.share, self.setting.workers), strict=True
        ):
            self._meter.add(self._step(stage, number - first, number, batch))
            self.number = number + 1
            stops = self._group.agreed(self.setting.stop(), self._device)
            self._between(saves=stops or self.number == steps.stop)
            if stops:
                return False
        return True

    def _step(self, stage: Stage, step: int, number: int, batch: Batch) -> Facts:
        """One step; where memory runs short, again with smaller micro-batches, whose gradients add up to the same."""
        for bad in batch.bad:
            self._say("bad picture", path=str(bad.path), reason=bad.reason)
        players, pictures = self.players, _on(self._device, batch)
        if players.adversary is not None:
            players.adversary.paused = self._rescuer.paused(number)
            self._seen.append(pictures.hr)
        while True:
            try:
                return train_step(players, pictures, stage, step) | {
                    "waited": batch.waited,
                    "seconds": self._lap(),
                }
            except torch.OutOfMemoryError:
                if players.parts >= len(pictures.hr):
                    raise RecipeError(
                        f"stage {stage.name}: not even one crop of {stage.crop} pixels fits into memory; lower its crop"
                    ) from None
            players.parts *= 2
            self._say(
                "action", action="smaller micro-batches", detail=f"{players.parts} in a batch", reason="out of memory"
            )

    def _between(self, saves: bool) -> None:
        """What is due after a step, in this order: log, validation, the guard, checkpoint."""
        judges = self.number % self.recipe.validate_every == 0 or self.number == self.recipe.steps
        saves = saves or judges or self.number % self.recipe.checkpoint_every == 0
        logs = saves or self.number % self.recipe.log_every == 0
        if logs:
            self._log()
        if judges:
            self._validate()
        if logs:
            self._rescue()
        if saves:
            self._save(judges)

    def _rescue(self) -> None:
        """The leading process decides, all do it. Raises RollBackError; StoppedError where nothing helped."""
        decision = self._rescuer.decided(self.players.adversary is not None)
        told = cast("tuple[Action, str, str] | None", self._group.told(decision))
        if told is None:
            return
        action, name, meaning = told
        self._rescuer.carry_out(action, name, self.number, self.players, self._say)
        if isinstance(action, Stop):
            self._ended(f"stopped: {name}")
            raise StoppedError(
                f"{self.setting.folder.path}: stopped at step {self.number}, {name}: {meaning} "
                f"{self._rescuer.rollbacks} roll backs did not help; {self.setting.folder.report} shows what happened"
            )

    def _roll_back(self, slower: float) -> None:
        """To the last healthy checkpoint, more slowly; the guard remembers, all else is as it was."""
        rescuer, step = self._rescuer, self._rescuer.healthy
        assert step is not None, "the start is healthy, or nothing can be"
        self._group.wait()
        state = self.setting.folder.load(dict(self.setting.folder.checkpoints())[step])
        slowed = self.players.slowed * slower
        self._meter.take()
        self._restore({**state, "rescuer": rescuer.state()})
        self._rescuer.rolled_back()
        self.players.slowed = slowed
        self._save(judged=False)

    def _enter(self, index: int) -> None:
        """Begins a stage: new optimizers, a new adversary, the network that the stage before has reached."""
        if self._players is None:
            self._players, story = first_players(self.recipe, self.setting.ground)
            self._say("action", action="start", detail=story, reason="the recipe's")
        else:
            self._players = next_players(self.recipe, index, self._players, self.setting.ground)
        self._players.parts = max([self._players.parts, *self.setting.parts[index : index + 1]])
        self._at(index)

    def _at(self, index: int) -> None:
        scales = [self.recipe.spec_in(self.recipe.stages[stage]).scale for stage in {max(0, self._stage), index}]
        ill = self._best[0] or len(set(scales)) > 1
        self._stage, self._judge, self._best = index, self.setting.judge(index), (ill, math.inf)
        self._seen.clear()
        self._rescuer.entered()

    def _log(self) -> None:
        """The means since the last line, looked at by the watch."""
        facts = self._meter.take()
        waiting = facts.pop("waited") / max(facts["seconds"], 1e-9)
        if "game" in facts:
            facts["game"] |= self._known
        stage = self.recipe.stages[self._stage].name
        line = self._say("step", stage=stage, waiting=waiting, memory=_memory(self._device), **facts)
        self._refuse_nonsense(facts["skipped"])
        self._rescuer.observe(line, self._say)

    def _refuse_nonsense(self, skipped: float) -> None:
        """Ends a run whose steps, from its start on, all had gradients that are no numbers."""
        if skipped < 1:
            self._unmoved = None
        if self._unmoved is None:
            return  # what goes wrong later is the guard's affair
        if self.number - self._unmoved >= _MOST_SKIPPED or self.number == self.recipe.steps:
            self._ended("stopped: no step can be made")
            raise StoppedError(
                f"{self.setting.folder.path}: stopped at step {self.number}, no step gives gradients that are numbers; "
                "look at the losses and their weights in recipe.py, and at the learning rate"
            )

    def _validate(self) -> None:
        """Judges the average; the best one of a stage becomes model.safetensors, but no spoiled one takes a sound one's place."""
        if not self._group.leads:
            return
        assert self._judge is not None
        verdict = self._judge(self.players.ema.network)
        with writing(self.setting.folder.pictures):
            pictures = write_made(self.setting.folder.path, self.number, verdict.pictures)
        self._known = self._memory_of_the_game(self._judge)
        if self.number == 0 and self.recipe.start:
            self._grid = verdict.health.get("checkerboard", math.nan)
        health = verdict.health | ({"checkerboard_start": self._grid} if math.isfinite(self._grid) else {})
        line = {"metrics": verdict.metrics, "health": health, "pictures": pictures, "game": self._known}
        adversarial = self.players.adversary is not None
        self._rescuer.observe(self._say("validation", adversarial=adversarial, **line), self._say)
        stage = self.recipe.stages[self._stage]
        rank = self._rescuer.spoiled, verdict.score if learns_to_see(stage) else verdict.by_pixels
        if rank < self._best:
            self._best = rank
            self._publish(verdict)

    def _memory_of_the_game(self, judge: Judge) -> dict[str, float]:
        """The shares of the latest training originals and of held-out ones that the discriminator now rates real."""
        adversary, reals = self.players.adversary, judge.reals(self.recipe.stages[self._stage].crop, self._device)
        if adversary is None or reals is None or not self._seen:
            return {}
        return {"known": adversary.held_out(torch.cat(list(self._seen))), "held_out": adversary.held_out(reals)}

    def _publish(self, verdict: Verdict) -> None:
        scores = {name: round(value, 4) for name, value in verdict.metrics.items()}
        notes = {**self.setting.notes, "step": str(self.number), "scores": json.dumps(scores)}
        with writing(self.setting.folder.model):
            write_safetensors(checkpoint_of(self.players.ema.network, notes), self.setting.folder.model)

    def _save(self, judged: bool) -> None:
        healthy = cast("int | None", self._group.told(self._rescuer.saved(self.number, judged)))
        self._rescuer.healthy = healthy
        state = {
            "format": _FORMAT,
            "number": self.number,
            "stage": self._stage,
            "recipe": self.setting.identity,
            "script": self.setting.script,
            "players": self.players.state(),
            "rescuer": self._rescuer.state(),
            "best": list(self._best),
            "known": self._known,
            "grid": self._grid,
        }
        if self._group.leads:
            self.setting.folder.save(self.number, state, self.recipe.keep, healthy)

    def _restore(self, state: State) -> None:
        """Goes on from a checkpoint. Raises RunError where it is another recipe's or other pictures'."""
        if state.get("format") != _FORMAT:
            raise RunError(f"{self.setting.folder.path}: its checkpoints are of another version; begin anew")
        if state["recipe"] != self.setting.identity:
            raise RunError(
                f"{self.setting.folder.path}: begun with another recipe or other pictures; choose another -o, or --overwrite"
            )
        self.number = self._unmoved = state["number"]
        self._players = empty_players(self.recipe, state["stage"], self.setting.ground)
        self._at(state["stage"])
        self._players.load(state["players"])
        (ill, score), self._known, self._grid = state["best"], state["known"], state["grid"]
        self._best = ill, score
        self._changed = state["script"] != self.setting.script
        self._rescuer.load(state["rescuer"])

    def _ended(self, reason: str) -> str:
        self._say("end", reason=reason)
        return reason

    def _say(self, kind: str, **values: Any) -> dict[str, Any]:
        line = {"kind": kind, "step": self.number, **values}
        for listener in self.setting.listeners if self._group.leads else ():
            listener(line)
        return line

    def _lap(self) -> float:
        """Seconds since the last call."""
        before, self._clock = self._clock, time.perf_counter()
        return self._clock - before

    @property
    def players(self) -> Players:
        """All that learns now."""
        assert self._players is not None
        return self._players

    @property
    def _group(self) -> Group:
        return self.setting.ground.group

    @property
    def _device(self) -> torch.device:
        return self.setting.ground.device


def _on(device: torch.device, batch: Batch) -> Pictures:
    """Bytes go over the bus, floats are made on the device."""

    def floats(pictures: torch.Tensor) -> torch.Tensor:
        moved = pictures.to(device, non_blocking=True)
        return moved.to(torch.float32, memory_format=torch.channels_last).div_(255)

    return Pictures(floats(batch.lr), floats(batch.hr), None if batch.clean is None else floats(batch.clean))


def _memory(device: torch.device) -> int:
    """The most that was ever in use, in bytes: the device's, or of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
