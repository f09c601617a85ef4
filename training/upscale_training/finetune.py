"""The recipe that `upscale-train finetune` writes: a script that a person can read, change and run again."""

from dataclasses import dataclass
from typing import Literal

from upscale.spec import ModelSpec
from upscale.stages import macs_per_pixel
from upscale_training.errors import RecipeError

Losses = Literal["gan", "perceptual", "pixel"]

_CHEAP = 3_000_000
"""Networks with fewer multiply-adds per input pixel get the cheap discriminator: the U-Net one would cost most of the time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `finetune` was asked for. `degradation`: a preset's name. `backbone`: what perceptual terms look through."""

    name: str
    start: str
    degradation: str
    spec: ModelSpec
    steps: int = 5000
    batch: int = 8
    crop: int = 192
    rate: float = 1e-4
    losses: Losses = "gan"
    backbone: Literal["vgg19", "vgg16"] = "vgg19"
    seed: int = 0


def recipe_text(wish: Wish) -> str:
    """The script. Raises RecipeError for a crop that does not fit the scale and the discriminator."""
    if wish.crop % (4 * wish.spec.scale):
        raise RecipeError(f"--crop {wish.crop}: not a multiple of {4 * wish.spec.scale}; choose one, 128 or more")
    every = max(1, min(500, wish.steps // 10))
    return f'''"""Fine-tuning of {wish.start}, as `upscale-train finetune` set it up. Change what you like; to run it again:

    upscale-train run recipe.py --data PHOTOS/ -o runs/another
"""

{_imports(wish)}

recipe = Recipe(
    name={wish.name!r},
    network=spec_for({wish.start!r}, {wish.name!r}, {wish.spec.scale}),
    start={wish.start!r},
    degradation={_preset(wish.degradation)},
    stages=(
        Stage(
            name={wish.losses!r},
            steps={wish.steps},
            batch={wish.batch},
            crop={wish.crop},
            learning_rate={wish.rate!r},
            decay="cosine",
            warmup={min(100, wish.steps // 20)},
            terms=({", ".join(_terms(wish))},),{_adversary(wish)}
        ),
    ),
    seed={wish.seed},
    validate_every={every},
    checkpoint_every={every},
)

main(recipe)
'''


def _preset(name: str) -> str:
    return f"PRESETS[{name!r}]"


def _terms(wish: Wish) -> list[str]:
    """Weights as in Real-ESRGAN's recipe; the input's low frequencies are kept, so that colors do not drift."""
    terms = ["l1(1.0)", "consistency(0.1)"]
    if wish.losses != "pixel":
        terms.append(f"perceptual({'1.0' if wish.losses == 'gan' else '0.1'}, {wish.backbone!r})")
    return terms


def _adversary(wish: Wish) -> str:
    if wish.losses != "gan":
        return ""
    net = "thin_unet" if macs_per_pixel(wish.spec) < _CHEAP else "UNetDiscriminator"
    return f"\n            adversary=AdversaryRecipe({net}, weight=0.1, learning_rate={wish.rate!r}),"


def _imports(wish: Wish) -> str:
    names = ["consistency", "l1", *(["perceptual"] if wish.losses != "pixel" else [])]
    lines = [
        "from upscale_training.degrade.presets import PRESETS",
        "from upscale_training.generator import spec_for",
        f"from upscale_training.losses import {', '.join(names)}",
        "from upscale_training.recipe import Recipe, Stage",
        "from upscale_training.script import main",
    ]
    if wish.losses == "gan":
        cheap = macs_per_pixel(wish.spec) < _CHEAP
        module = "thin import thin_unet" if cheap else "unet import UNetDiscriminator"
        lines = [
            "from upscale_training.adversary import AdversaryRecipe",
            f"from upscale_training.adversary.{module}",
            *lines,
        ]
    return "\n".join(lines)
