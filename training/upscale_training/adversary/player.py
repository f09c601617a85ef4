"""The adversary at play: one discriminator, its optimizer, and the facts by which a guard judges the game."""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from upscale_training.adversary.chance import seeded
from upscale_training.adversary.games import Absolute, rated
from upscale_training.adversary.net import Discriminator, by_scale, without_autocast
from upscale_training.adversary.recipe import AdversaryRecipe
from upscale_training.errors import RunError

Facts = dict[str, float | Tensor]
"""Of one step: `loss` (without penalties), each penalty by its name (unweighted, when due), `real` and `fake` (shares rated
right), `logit_real` and `logit_fake` (means), `gradient` (norm before clipping), `skipped` (1 if it was not finite)."""

_AUGMENT, _PENALTY, _HELD_OUT = 1, 2, 3  # separate streams of chance
_GUESS, _SKILLED, _LEAST_SKILL = 0.5, 0.6, 0.05
_LATELY = 0.1
"""The share of the present step in the mean of what was rated right."""


@dataclass(eq=False)
class _Turn:
    step: int
    scaler: torch.amp.GradScaler | None
    sums: dict[str, Tensor] = field(default_factory=dict[str, Tensor])

    def add(self, name: str, value: Tensor, share: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + share * value.detach()


class Adversary:
    """One step is `generator_loss(…)`, whose gradient is the generator's affair, then `step(…)`; or, with accumulation,
    `begin`, a few `backward`s, `finish`. `part` numbers a step's micro-batches (and processes) so that their chance differs.

    The caller's autocast is respected; losses are float32, penalties wholly so. The network is always in training mode.
    `speed` multiplies the learning rate; while `paused`, a step measures and changes nothing. `parameters` is what is
    trained, equal in all processes for an equal seed. `skill`: how much better than guessing it has lately been.
    """

    def __init__(self, recipe: AdversaryRecipe, device: torch.device | str = "cpu", seed: int = 0) -> None:
        self.recipe, self.device, self.seed = recipe, torch.device(device), seed
        with torch.random.fork_rng(devices=[]):  # pyright: ignore[reportUnknownMemberType]
            torch.manual_seed(seed)  # pyright: ignore[reportUnknownMemberType]
            net = recipe.net()
        self.net: Discriminator = net.to(self.device).train()
        self.parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
        fused = self.device.type == "cuda"
        self.optimizer = torch.optim.Adam(self.parameters, recipe.learning_rate, recipe.betas, fused=fused)
        self.speed, self.paused = 1.0, False
        self._right = torch.full((), _GUESS, device=self.device)
        self._fake_means: list[Tensor] = []
        self._turn: _Turn | None = None

    def generator_loss(self, sr: Tensor, hr: Tensor, step: int, part: int = 0) -> Tensor:
        """What the generator is to make small, unweighted: a scalar with a gradient to `sr` and none to the discriminator."""
        game = self.recipe.game
        with self._frozen():
            real: list[Tensor] = []
            if not isinstance(game, Absolute):
                with torch.no_grad():
                    real = by_scale(self.net(self._augmented(hr, step, part)))
            fake = by_scale(self.net(self._augmented(sr, step, part)))
        if isinstance(game, Absolute):
            return _mean(game.on_generator(each) for each in fake)
        return _mean(game.on_generator(*each) for each in zip(real, fake, strict=True))

    @property
    def skill(self) -> Tensor:
        """From a twentieth, while it guesses, to 1 where it has rated 60 % right: a scalar."""
        return ((self._right - _GUESS) / (_SKILLED - _GUESS)).clamp(_LEAST_SKILL, 1.0)

    def features(self, x: Tensor) -> list[Tensor]:
        """The discriminator's inner layers, for feature matching: gradient to `x`, none to the discriminator."""
        with self._frozen():
            return self.net.features(x)

    def step(
        self,
        sr: Tensor,
        hr: Tensor,
        step: int,
        scaler: torch.amp.GradScaler | None = None,
        schedule: float = 1.0,
        sync: Callable[[list[Tensor]], None] | None = None,
    ) -> Facts:
        """One step of the discriminator on one batch. Empty facts at steps at which it does not learn."""
        self.begin(step, scaler, schedule)
        self.backward(sr, hr)
        return self.finish(sync)

    def begin(self, step: int, scaler: torch.amp.GradScaler | None = None, schedule: float = 1.0) -> None:
        """`schedule`: the present share of the learning rate. `scaler`: fp16's; the caller updates it after all optimizers."""
        self._turn = _Turn(step, scaler) if self.recipe.learns(step) else None
        self.optimizer.zero_grad(set_to_none=True)
        for group in self.optimizer.param_groups:
            group["lr"] = self.recipe.learning_rate * schedule * self.speed

    def backward(self, sr: Tensor, hr: Tensor, share: float = 1.0, part: int = 0) -> None:
        """Adds the gradient of one micro-batch, which is a `share` of the batch. A relative game compares within it."""
        if (turn := self._turn) is None:
            return
        real, fake = (self._augmented(each.detach(), turn.step, part) for each in (hr, sr))
        if self.paused:
            with self._unchanged():
                self._measure(turn, by_scale(self.net(real)), by_scale(self.net(fake)), share)
            return
        self._play(turn, real, fake, share)
        for penalty in self.recipe.penalties:
            if penalty.due(turn.step):
                chance = seeded(self.seed, _PENALTY, turn.step, part)
                value = penalty.measure(self.net, real.float(), fake.float(), chance)
                self._push(turn, value * (penalty.weight * penalty.every), share)
                turn.add(penalty.name, value, share)

    def finish(self, sync: Callable[[list[Tensor]], None] | None = None) -> Facts:
        """Makes the step; `sync` may average the gradients among processes, in place. A gradient that is not finite is
        skipped. Waits for the device once."""
        if (turn := self._turn) is None:
            return {}
        self._turn = None
        if self.paused:
            return {**turn.sums, "paused": 1.0}
        if sync is not None:
            sync([parameter.grad for parameter in self.parameters if parameter.grad is not None])
        norm = self._descend(turn.scaler)
        self.optimizer.zero_grad(set_to_none=True)
        torch.clear_autocast_cache()  # else a second step under the same autocast would use the old parameters
        return {**turn.sums, "gradient": norm, "skipped": float(norm in (float("inf"), float("-inf")) or norm != norm)}

    @torch.no_grad()
    def held_out(self, hr: Tensor, sr: Tensor | None = None) -> float:
        """The share of held-out real pictures (N, 3, H, W) rated real: far below `real` where the discriminator overfits.

        Games without a threshold compare with the output for them, `sr`, or else with the last step's mean fake logit.
        Changes nothing.
        """
        with self._unchanged():
            real = by_scale(self.net(self._with_draws(hr, seeded(self.seed, _HELD_OUT))))
            if sr is not None:
                fake = by_scale(self.net(self._with_draws(sr, seeded(self.seed, _HELD_OUT))))
            else:
                fake = self._fake_means or [torch.zeros((), device=self.device)] * len(real)
        return float(_mean(rated(self.recipe.game, *each)[0] for each in zip(real, fake, strict=True)))

    def state_dict(self) -> dict[str, Any]:
        """All that an exact resume needs; the tensors are the living ones, not copies."""
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "speed": self.speed,
            "paused": self.paused,
            "right": self._right,
            "fake_means": self._fake_means,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Raises RunError where the state is another recipe's."""
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.speed, self.paused = float(state["speed"]), bool(state["paused"])
            self._right = state["right"].to(self.device)
            self._fake_means = [mean.to(self.device) for mean in state["fake_means"]]
        except (RuntimeError, ValueError, KeyError) as error:
            raise RunError(
                "the saved discriminator is not the recipe's; resume with the recipe that the run began with"
            ) from error

    def _play(self, turn: _Turn, real: Tensor, fake: Tensor, share: float) -> None:
        """An absolute game's two passes one after the other, so that only one lies in memory; a relative game's together."""
        game = self.recipe.game
        if isinstance(game, Absolute):
            real_logits = by_scale(self.net(real))
            loss = _mean(game.on_real(each) for each in real_logits)
            self._push(turn, loss, share)
            fake_logits = by_scale(self.net(fake))
            on_fake = _mean(game.on_fake(each) for each in fake_logits)
            self._push(turn, on_fake, share)
            loss = loss.detach() + on_fake.detach()
        else:
            real_logits, fake_logits = by_scale(self.net(real)), by_scale(self.net(fake))
            loss = _mean(game.on_discriminator(*each) for each in zip(real_logits, fake_logits, strict=True))
            self._push(turn, loss, share)
        turn.add("loss", loss, share)
        self._measure(turn, real_logits, fake_logits, share)

    @torch.no_grad()
    def _measure(self, turn: _Turn, real: list[Tensor], fake: list[Tensor], share: float) -> None:
        ratings = [rated(self.recipe.game, *each) for each in zip(real, fake, strict=True)]
        real_right, fake_right = (_mean(pair[side] for pair in ratings) for side in (0, 1))
        turn.add("real", real_right, share)
        turn.add("fake", fake_right, share)
        right = (real_right + fake_right).detach() / 2
        self._right = self._right.lerp(right.to(self._right), share * _LATELY)
        turn.add("logit_real", _mean(each.mean() for each in real), share)
        turn.add("logit_fake", _mean(each.mean() for each in fake), share)
        self._fake_means = [each.detach().mean() for each in fake]

    def _push(self, turn: _Turn, loss: Tensor, share: float) -> None:
        with without_autocast(self.device):  # else a penalty's second derivative would be cast
            loss = loss * share
            (turn.scaler.scale(loss) if turn.scaler else loss).backward()  # pyright: ignore[reportUnknownMemberType]

    def _descend(self, scaler: torch.amp.GradScaler | None) -> float:
        """The optimizer's step where the gradient is finite; its norm."""
        if scaler is not None:
            scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.recipe.max_norm is not None:
            torch.nn.utils.clip_grads_with_norm_(self.parameters, self.recipe.max_norm, norm)
        if scaler is not None:
            scaler.step(self.optimizer)
        elif torch.isfinite(norm):
            self.optimizer.step()  # pyright: ignore[reportUnknownMemberType]
        return float(norm)

    def _augmented(self, pictures: Tensor, step: int, part: int) -> Tensor:
        return self._with_draws(pictures, seeded(self.seed, _AUGMENT, step, part))

    def _with_draws(self, pictures: Tensor, chance: torch.Generator) -> Tensor:
        return pictures if self.recipe.augment is None else self.recipe.augment(pictures, chance)

    @contextmanager
    def _frozen(self) -> Generator[None]:
        """What is computed within has no gradient to the discriminator's parameters."""
        for parameter in self.parameters:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.parameters:
                parameter.requires_grad_(True)

    @contextmanager
    def _unchanged(self) -> Generator[None]:
        """What is computed within leaves spectral norm's and batch norm's memories as they were, and no gradient."""
        before = [buffer.clone() for buffer in self.net.buffers()]
        try:
            with torch.no_grad():
                yield
        finally:
            with torch.no_grad():
                for buffer, old in zip(self.net.buffers(), before, strict=True):
                    buffer.copy_(old)


def _mean(values: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(values)).mean()
