"""What the command line changes in a recipe: fewer steps, other crops, a smoke run, no perceptual terms."""

from dataclasses import dataclass, replace

from upscale_training.errors import RecipeError
from upscale_training.losses import needs_backbone
from upscale_training.losses.matching import discriminator_layers
from upscale_training.recipe import Recipe, Stage


@dataclass(frozen=True, slots=True)
class Changes:
    """None leaves the recipe's own. `steps`: of the whole run, shared among its stages as the recipe shares them.

    `pixel_only`: without adversaries, and without terms that need one or a backbone's weights. `smoke`: a few steps of
    everything, small.
    """

    steps: int | None = None
    batch: int | None = None
    crop: int | None = None
    seed: int | None = None
    pixel_only: bool = False
    smoke: bool = False


SMOKE = Changes(steps=8, batch=2, crop=64)
_SMOKE_EVERY = 4


def changed(recipe: Recipe, changes: Changes) -> Recipe:
    """The recipe as asked for. Raises RecipeError where nothing is left to learn."""
    if changes.smoke:
        small = replace(changes, smoke=False, steps=changes.steps or SMOKE.steps, batch=changes.batch or SMOKE.batch)
        recipe = changed(recipe, replace(small, crop=changes.crop or SMOKE.crop))
        return replace(recipe, log_every=1, validate_every=_SMOKE_EVERY, checkpoint_every=_SMOKE_EVERY)
    stages = tuple(_changed(stage, changes, recipe.steps) for stage in recipe.stages)
    return replace(recipe, stages=stages, seed=recipe.seed if changes.seed is None else changes.seed)


def _changed(stage: Stage, changes: Changes, total: int) -> Stage:
    steps = stage.steps if changes.steps is None else max(1, round(stage.steps * changes.steps / total))
    stage = replace(stage, steps=steps, batch=changes.batch or stage.batch, crop=changes.crop or stage.crop)
    stage = replace(stage, warmup=min(stage.warmup, steps // 2))
    return _pixel_only(stage) if changes.pixel_only else stage


def _pixel_only(stage: Stage) -> Stage:
    terms = tuple(term for term in stage.terms if not needs_backbone(term) and term.sees is not discriminator_layers)
    if not terms:
        raise RecipeError(f"stage {stage.name}: --pixel-only leaves it without terms; add one to the recipe")
    return replace(stage, terms=terms, adversary=None)
