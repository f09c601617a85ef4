"""The adversary of a stage, as values."""

from collections.abc import Callable
from dataclasses import dataclass

from upscale_training.adversary.augment import Augment
from upscale_training.adversary.games import Game, non_saturating
from upscale_training.adversary.net import Discriminator
from upscale_training.adversary.penalties import Penalty
from upscale_training.errors import RecipeError
from upscale_training.terms import Weight


@dataclass(frozen=True, slots=True, eq=False)
class AdversaryRecipe:
    """Defaults are Real-ESRGAN's, but for `net`, which is called once, without arguments, when the stage begins.

    `weight`: of the generator's adversarial loss. `learning_rate`, `betas`: of the discriminator's own Adam.
    `max_norm`: largest norm of its gradient. `every`: the discriminator learns at each `every`-th step only.
    `generator_every`: the generator learns at each such step only (5 for WGAN; basicsr's net_d_iters), and not before step
    `generator_from` (its net_d_init_iters), so that a new discriminator has something to say.
    """

    net: Callable[[], Discriminator]
    game: Game = non_saturating
    weight: Weight = 0.1
    learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    penalties: tuple[Penalty, ...] = ()
    augment: Augment | None = None
    max_norm: float | None = None
    every: int = 1
    generator_every: int = 1
    generator_from: int = 0

    def __post_init__(self) -> None:
        if min(self.every, self.generator_every, *(penalty.every for penalty in self.penalties)) < 1:
            raise RecipeError("the adversary's every, generator_every and its penalties' every count steps: at least 1")
        if len({penalty.name for penalty in self.penalties}) < len(self.penalties):
            raise RecipeError("the adversary has two penalties of one name; add up their weights")
        if not self.learning_rate >= 0:
            raise RecipeError(
                f"the adversary's learning rate is {self.learning_rate}; give a positive number, such as 1e-4"
            )

    def learns(self, step: int) -> bool:
        """Whether the discriminator learns at `step` (0-based, of the stage)."""
        return step % self.every == 0

    def generator_learns(self, step: int) -> bool:
        """Whether the generator learns at `step`, with all its terms."""
        return step >= self.generator_from and (step + 1) % self.generator_every == 0
