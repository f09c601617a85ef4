"""What a training run does, as values. A recipe is a Python script that ends in `main(Recipe(...))`:

    from upscale_training.recipe import Recipe, Stage, main
    …
    main(Recipe("mine", network=ModelSpec("mine", "compact", 4, blocks=16, activation="prelu"), stages=(Stage(...),)))

Run it as `python mine.py --data PHOTOS/ -o runs/mine` or `upscale-train run mine.py --data PHOTOS/ -o runs/mine`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from numbers import Real as Number
from typing import Literal

import torch
from torch import Tensor

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.degrade import Degradation, Preset
from upscale_training.degrade.checked import made
from upscale_training.errors import RecipeError
from upscale_training.terms import Term

Real = Callable[[Tensor, Tensor, Tensor | None, torch.Generator], Tensor]
"""(lr, hr, clean, chance of the step) → what the discriminator is told to be real; see adversary.real.Taught."""

Decay = Literal["constant", "cosine"] | tuple[float, ...]
"""How a learning rate falls: not at all, along a half cosine to a hundredth, or to a half at each of some shares of the stage."""

ADVERSARY = "adversary"
"""The name of the adversary's own term, in the log too."""

Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, slots=True)
class Cuts:
    """How crops are taken from the pictures; see data.samples.Cut, whose defaults for real photographs these are."""

    shrink: tuple[float, float] = (0.5, 1.0)
    detail: int = 2
    flip: bool = True


@dataclass(frozen=True, slots=True, eq=False)
class Stage:
    """A stretch of steps under one set of terms.

    `crop`: side of the targets in pixels. `learning_rate` is reached after `warmup` steps, then follows `decay`. `scale`: what
    the network enlarges in this stage, for curricula that grow it (None: the recipe's own). `degradation`, `target`: None
    takes the recipe's. `target` turns the original into what is to be reached (sharpening). `with_clean`: terms may also see
    the undegraded small picture. `real`: what the discriminator takes for real, None the originals. `feature_layers`: names
    of the generator's modules whose outputs terms may see (distillation).
    """

    name: str
    steps: int
    terms: tuple[Term, ...]
    adversary: AdversaryRecipe | None = None
    batch: int = 16
    crop: int = 256
    learning_rate: float = 1e-4
    decay: Decay = "constant"
    warmup: int = 0
    scale: int | None = None
    degradation: Preset | None = None
    target: Degradation | None = None
    with_clean: bool = False
    real: Real | None = None
    feature_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or self.crop < 8:
            raise RecipeError(f"stage {self.name}: steps and batch must be at least 1, crop at least 8")
        rate: object = self.learning_rate
        if isinstance(rate, bool) or not isinstance(rate, Number) or not 0 <= rate < math.inf:
            raise RecipeError(f"stage {self.name}: {rate!r} is no learning rate; give a number such as 1e-4")
        if self.degradation is not None:
            _refuse_no_preset(f"stage {self.name}", self.degradation)
        _refuse_terms(self.name, self.terms, {ADVERSARY} if self.adversary else set[str]())


@dataclass(frozen=True, slots=True, eq=False)
class Recipe:
    """A run from its start to its end.

    `network`: the shape of the result. `start`: a model's name or file to begin with; parameters that fit are taken over,
    also from another scale; None begins from scratch. `ema`: how much of the average is kept at each step. `seed` decides
    on all chance. `precision`: auto is bf16 where the device has units for it, else fp32. `clip`: largest norm of the
    generator's gradient, None for no limit. `betas`: Adam's. `validate_every`, `log_every`, `checkpoint_every`: steps.
    `keep`: how many of the latest checkpoints.
    """

    name: str
    network: ModelSpec
    stages: tuple[Stage, ...]
    degradation: Preset
    start: str | None = None
    cuts: Cuts = field(default_factory=Cuts)
    target: Degradation | None = None
    ema: float = 0.999
    seed: int = 0
    betas: tuple[float, float] = (0.9, 0.99)
    clip: float | None = None
    precision: Precision = "auto"
    compile: bool = False
    log_every: int = 20
    validate_every: int = 500
    checkpoint_every: int = 500
    keep: int = 2

    def __post_init__(self) -> None:
        if not self.stages:
            raise RecipeError(f"{self.name}: a recipe needs at least one stage")
        _refuse_no_preset(self.name, self.degradation)
        if self.network.arch == "foreign":
            raise RecipeError(
                f"{self.network.name}: foreign networks cannot be trained here; choose an RRDBNet or compact one"
            )
        last = self.stages[-1].scale
        if last not in (None, self.network.scale):
            raise RecipeError(f"{self.name}: its last stage enlarges {last} times, its network {self.network.scale}")
        for stage in self.stages:
            self.spec_in(stage)  # refuses scales that the network cannot have

    @property
    def steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def spec_in(self, stage: Stage) -> ModelSpec:
        """The network's shape while `stage` lasts."""
        return self.network if stage.scale is None else replace(self.network, scale=stage.scale)

    def degradation_in(self, stage: Stage) -> Degradation:
        """Raises RecipeError where a person's preset fails or makes none."""
        return made(stage.degradation or self.degradation, self.spec_in(stage).scale)

    def target_in(self, stage: Stage) -> Degradation | None:
        return stage.target or self.target

    def stage_at(self, step: int) -> tuple[int, int]:
        """Step (0-based, of the whole run) → index of its stage and the stage's first step."""
        first = 0
        for index, stage in enumerate(self.stages):
            if step < first + stage.steps:
                return index, first
            first += stage.steps
        raise RecipeError(f"{self.name}: step {step} lies beyond its {self.steps} steps")


def _refuse_terms(stage: str, terms: object, taken: set[str]) -> None:
    """Raises RecipeError for what are no terms, none at all, or two of one name. `taken`: names that are others' already."""
    if not isinstance(terms, tuple | list):
        raise RecipeError(f"stage {stage}: its terms are no tuple; with one alone, write a comma after it: (l1(1.0),)")
    each = list[object](terms)  # pyright: ignore[reportUnknownArgumentType]
    if not each:
        raise RecipeError(f"stage {stage}: no terms, so nothing to learn; add one, such as Term('l1', 1.0, F.l1_loss)")
    for term in each:
        if not isinstance(term, Term):
            raise RecipeError(f"stage {stage}: {term!r} is no term; write Term('name', 1.0, {_name(term)})")
        if term.name in taken:
            raise RecipeError(
                f"stage {stage}: two terms are called {term.name}, which the log could not tell apart; rename one:"
                f" replace(term, name='{term.name} 2')"
            )
        taken.add(term.name)


def _refuse_no_preset(where: str, preset: object) -> None:
    if not callable(preset):
        raise RecipeError(
            f"{where}: {preset!r} is no degradation; give a function of the scale, such as PRESETS['mild']"
        )


def _name(function: object) -> str:
    return getattr(function, "__name__", "function")


def rate_at(stage: Stage, step: int) -> float:
    """The generator's learning rate at a stage's step (0-based); the discriminator's follows the same curve."""
    if step < stage.warmup:
        return stage.learning_rate * (step + 1) / stage.warmup
    share = step / stage.steps
    match stage.decay:
        case "constant":
            return stage.learning_rate
        case "cosine":
            return stage.learning_rate * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)
        case shares:
            return stage.learning_rate * 0.5 ** sum(share >= one for one in shares)
