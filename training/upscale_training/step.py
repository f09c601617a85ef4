"""One step of training: the generator's, then the discriminator's, as in ESRGAN (Wang et al. 2018) and Real-ESRGAN.

The gradient of each term is taken at the generator's output first and their weighted sum is sent through the generator
once. That costs no more than one backward pass, frees each term's memory before the next one, and tells how strongly
every term pulls.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from upscale_training.errors import RecipeError
from upscale_training.generator import outputs_of
from upscale_training.players import Players
from upscale_training.recipe import ADVERSARY, Stage, rate_at
from upscale_training.terms import Pull, Ramp, Seen, Term, Weight

_PARTS = 4096
"""More micro-batches than a process ever makes of a batch."""

Facts = dict[str, float | Tensor]
"""What a step tells, under the log's names: losses.*, gradients.*, game.*, rates.*, skipped. Scalars, on any device."""


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """A step's pictures on the device: float32 (N, 3, H, W) in [0, 1]."""

    lr: Tensor
    hr: Tensor
    clean: Tensor | None = None

    def parts(self, count: int) -> Iterator["Pictures"]:
        """Equal micro-batches, `count` of them at most."""
        clean = [None] * count if self.clean is None else self.clean.tensor_split(count)
        for lr, hr, one in zip(self.lr.tensor_split(count), self.hr.tensor_split(count), clean, strict=True):
            if len(lr):
                yield Pictures(lr, hr, one)


def train_step(players: Players, pictures: Pictures, stage: Stage, step: int) -> Facts:
    """Step `step` (0-based) of `stage`. Changes `players`; the facts are for log and health.

    All gradients are there before anything changes: torch.OutOfMemoryError leaves `players` as they were.
    """
    rate, adversary = rate_at(stage, step), players.adversary
    facts: Facts = {"rates.generator": rate * players.slowed, "skipped": 0.0}
    turn = _Turn(players, stage, step, facts)
    learns = adversary is None or adversary.recipe.generator_learns(step)
    players.optimizer.zero_grad(set_to_none=True)
    parts = list(pictures.parts(players.parts))
    shares = [len(part.hr) / len(pictures.hr) for part in parts]
    enlarged: list[Tensor] = []
    for number, (part, share) in enumerate(zip(parts, shares, strict=True)):
        enlarged.append(_backward(turn, part, share, number) if learns else _only_enlarged(players, part))
    if adversary is not None:
        adversary.begin(step, players.arithmetic.scaler, players.slowed * rate / stage.learning_rate)
        for number, (part, sr, share) in enumerate(zip(parts, enlarged, shares, strict=True)):
            with players.arithmetic.autocast():
                adversary.backward(sr, turn.real(part, number), share, turn.part(number))
    if learns:
        _update(players, rate * players.slowed, facts)
    if adversary is not None:
        facts |= {f"game.{name}": value for name, value in adversary.finish(players.group.average).items()}
        facts["gradients.discriminator"] = facts.pop("game.gradient", 0.0)
        facts["rates.discriminator"] = adversary.optimizer.param_groups[0]["lr"]
    players.arithmetic.ended()
    return facts


@dataclass(frozen=True, slots=True)
class _Turn:
    players: Players
    stage: Stage
    step: int
    facts: Facts

    @property
    def done(self) -> float:
        """The share of the stage that is done."""
        return self.step / self.stage.steps

    def part(self, number: int) -> int:
        """A number for the chance of one micro-batch of one process."""
        return self.players.group.share.rank * _PARTS + number

    def seed(self, number: int) -> int:
        """Of the chance of one micro-batch in this step."""
        return self.step * _PARTS**2 + self.part(number)

    def real(self, part: Pictures, number: int) -> Tensor:
        """What the discriminator is told to be real of one micro-batch."""
        if self.stage.real is None:
            return part.hr
        chance = torch.Generator().manual_seed(self.seed(number))
        return self.stage.real(part.lr, part.hr, part.clean, chance)


def _update(players: Players, rate: float, facts: Facts) -> None:
    """Changes the generator and its average; a step whose gradients are not finite is left out and counted."""
    for group in players.optimizer.param_groups:
        group["lr"] = rate
    players.arithmetic.unscale(players.optimizer)
    parameters = list(players.network.parameters())
    players.group.average([value.grad for value in parameters if value.grad is not None])
    norm = torch.nn.utils.clip_grad_norm_(parameters, players.clip or float("inf"))
    facts["gradients.generator"] = norm
    finite = bool(torch.isfinite(norm))
    facts["skipped"] = float(not finite)
    players.arithmetic.step(players.optimizer, finite)
    if finite:
        players.ema.update(players.network)


def _only_enlarged(players: Players, part: Pictures) -> Tensor:
    with torch.no_grad(), players.arithmetic.autocast():
        return players.enlarged(part.lr).float()


def _backward(turn: _Turn, part: Pictures, share: float, number: int) -> Tensor:
    """Adds one micro-batch's gradients to the parameters', weighted by its `share` of the batch; what was made, without
    gradient."""
    players, features = turn.players, list[Tensor]()
    hooks = outputs_of(players.network, turn.stage.feature_layers, features)
    with players.arithmetic.autocast():
        output = players.enlarged(part.lr)
    for hook in hooks:
        hook.remove()
    for name, feature in zip(turn.stage.feature_layers, features, strict=True):
        if feature.ndim != 4:  # convolutions are called as functions: nothing passes through their modules
            raise RecipeError(
                f"stage {turn.stage.name}: {name} gives no pictures; name a block or an activation, such as body.1"
            )
    outputs = [output, *features]
    leaves = [one.detach().float().requires_grad_() for one in outputs]
    chance = random.Random(turn.seed(number))
    average, adversary = players.ema.network, players.adversary
    seen = Seen(part.lr, part.hr, leaves[0], part.clean, average, adversary, leaves[1:], chance)
    sums = [torch.zeros_like(leaf) for leaf in leaves]
    for term in _terms(turn, number):
        _pull(turn, term, seen, leaves, sums, share)
    torch.autograd.backward(outputs, [one.to(output.dtype) for one, output in zip(sums, outputs, strict=True)])
    return leaves[0].detach()


def _terms(turn: _Turn, number: int) -> Iterator[Term]:
    yield from turn.stage.terms
    adversary = turn.players.adversary
    if adversary is not None:
        loss = partial(adversary.generator_loss, step=turn.step, part=turn.part(number))
        yield Term(ADVERSARY, adversary.recipe.weight, loss)


def _pull(turn: _Turn, term: Term, seen: Seen, leaves: list[Tensor], sums: list[Tensor], share: float) -> None:
    """Adds a term's weighted gradient at the outputs to `sums`, and its value and strength to the facts."""
    arithmetic, facts = turn.players.arithmetic, turn.facts
    if term.weight == 0.0 or (isinstance(term.weight, Ramp) and term.weight.at(turn.done) == 0.0):
        return
    with arithmetic.autocast():
        value = term(seen).float()
    pulls = torch.autograd.grad(arithmetic.scaled(value * share), leaves, allow_unused=True)
    strength = None if pulls[0] is None else _norm(pulls[0])  # pyright: ignore[reportUnnecessaryComparison]
    weight = _weight(term.weight, turn.done, sums[0], strength) * turn.players.factors.get(term.name, 1.0)
    if term.name == ADVERSARY and isinstance(term.weight, Pull):
        assert turn.players.adversary is not None
        weight = weight * turn.players.adversary.skill
    for total, pull in zip(sums, pulls, strict=True):
        if pull is not None:  # pyright: ignore[reportUnnecessaryComparison]
            total += weight * pull
    facts[f"weights.{term.name}"] = weight
    _add(facts, f"losses.{term.name}", value.detach() * share)
    _add(facts, "losses.total", value.detach() * (weight * share))
    if strength is not None:
        _add(facts, f"gradients.{term.name}", weight * strength / arithmetic.scale)


def _weight(weight: Weight, done: float, before: Tensor, strength: Tensor | None) -> float | Tensor:
    """`before`: the gradient of the terms before, `strength`: the norm of this one's."""
    match weight:
        case Ramp():
            return weight.at(done)
        case Pull(share, most):
            return most if strength is None else (share * _norm(before) / strength.clamp_min(1e-20)).clamp_max(most)
        case _:
            return weight


def _norm(gradient: Tensor) -> Tensor:
    return gradient.square().sum().sqrt()


def _add(facts: Facts, name: str, value: Tensor) -> None:
    facts[name] = facts.get(name, 0.0) + value
