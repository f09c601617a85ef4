"""All that learns in a stage, made anew, handed on to the next stage, and stored."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from upscale.nets import Network
from upscale_training.adversary import Adversary
from upscale_training.backbones import load_backbone
from upscale_training.distributed import Group
from upscale_training.generator import Ema, begun, fresh, grown
from upscale_training.losses import prepare
from upscale_training.losses.late import Load
from upscale_training.precision import Arithmetic
from upscale_training.recipe import Recipe


@dataclass(eq=False)
class Players:
    """`parts`: into how many micro-batches a batch is cut, so that it fits into memory. `slowed`: the guard's factor on the
    learning rates; `factors`: its factors on the terms' weights, by name. `compiled`: the network as torch.compile made it.
    """

    network: Network
    ema: Ema
    optimizer: torch.optim.Optimizer
    arithmetic: Arithmetic
    adversary: Adversary | None = None
    group: Group = field(default_factory=Group)
    clip: float | None = None
    parts: int = 1
    slowed: float = 1.0
    factors: dict[str, float] = field(default_factory=dict[str, float])
    compiled: Callable[[Tensor], Tensor] | None = None

    def enlarged(self, lr: Tensor) -> Tensor:
        """(N, 3, H, W) → (N, 3, scale·H, scale·W), in the type that the arithmetic chose."""
        return (self.compiled or self.network)(lr)

    def state(self) -> dict[str, Any]:
        """Tensors and plain values: everything that the next step depends on."""
        return {
            "network": self.network.state_dict(),
            "ema": self.ema.network.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "arithmetic": self.arithmetic.state_dict(),
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
            "parts": self.parts,
            "slowed": self.slowed,
            "factors": self.factors,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Puts back what `state` gave."""
        self.network.load_state_dict(state["network"])
        self.ema.network.load_state_dict(state["ema"])
        self.ema.updates = state["updates"]
        self.optimizer.load_state_dict(state["optimizer"])
        self.arithmetic.load_state_dict(state["arithmetic"])
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])
        self.parts, self.slowed, self.factors = state["parts"], state["slowed"], dict(state["factors"])


@dataclass(frozen=True, slots=True)
class Ground:
    """Where players meet: a device, a group of processes, and what loads the backbones that terms look through."""

    device: torch.device
    group: Group = field(default_factory=Group)
    load: Load = load_backbone


def first_players(recipe: Recipe, ground: Ground) -> tuple[Players, str]:
    """Those of the first stage, and in words where the network comes from."""
    start = begun(recipe.spec_in(recipe.stages[0]), recipe.start, recipe.seed)
    return _assembled(recipe, 0, start.network, ground), start.story


def next_players(recipe: Recipe, index: int, before: Players, ground: Ground) -> Players:
    """Those of stage `index`: the network goes on from the average that the stage before has reached, all else is new."""
    network = grown(before.ema.network, recipe.spec_in(recipe.stages[index]), recipe.seed + index)
    return replace(_assembled(recipe, index, network, ground), parts=before.parts)


def empty_players(recipe: Recipe, index: int, ground: Ground) -> Players:
    """Those of stage `index`, to be filled from a checkpoint."""
    return _assembled(recipe, index, fresh(recipe.spec_in(recipe.stages[index]), recipe.seed), ground)


def _assembled(recipe: Recipe, index: int, network: Network, ground: Ground) -> Players:
    stage, device = recipe.stages[index], ground.device
    network.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    prepare(stage.terms, device, ground.load)
    adversary = None if stage.adversary is None else Adversary(stage.adversary, device, recipe.seed + index)
    return Players(
        network,
        Ema(network, recipe.ema),
        torch.optim.Adam(network.parameters(), lr=stage.learning_rate, betas=recipe.betas),
        Arithmetic(recipe.precision, device),
        adversary,
        ground.group,
        recipe.clip,
        compiled=torch.compile(network) if recipe.compile else None,
    )
