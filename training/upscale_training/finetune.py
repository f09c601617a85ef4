"""The recipe that `upscale-train finetune` writes: a script that a person can read, change and run again."""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from upscale.spec import ModelSpec
from upscale.stages import macs_per_pixel
from upscale_training.degradations import preset_of
from upscale_training.degrade.presets import PRESETS
from upscale_training.errors import RecipeError

Losses = Literal["gan", "perceptual", "pixel"]

_CHEAP = 3_000_000
"""Networks with fewer multiply-adds per input pixel get the cheap discriminator: the U-Net one would cost most of the time."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What `finetune` was asked for. `degradation`: a preset's name, or a file's, which is kept beside the recipe. `backbone`: what
    perceptual terms look through."""

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
    degradation={_degradation(wish)[1]},
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


def written(wish: Wish, place: Path) -> Path:
    """The recipe as a file in the folder `place`, with the degradation's own file beside it. Raises RecipeError, DataError."""
    preset_of(wish.degradation)
    if own := _own(wish):
        shutil.copyfile(wish.degradation, place / own)
    recipe = place / "recipe.py"
    recipe.write_text(recipe_text(wish), encoding="utf-8")
    return recipe


def _own(wish: Wish) -> str | None:
    """What the degradation's file is called beside the recipe; None for a preset."""
    return None if wish.degradation in PRESETS else "degradation" + Path(wish.degradation).suffix


def _degradation(wish: Wish) -> tuple[str, str]:
    """What is imported for the degradation, and the expression for it."""
    own = _own(wish)
    if own is None:
        return "degrade.presets import PRESETS", f"PRESETS[{wish.degradation!r}]"
    module, reader = ("unpaired", "pool_preset") if own.endswith(".npz") else ("degrade.files", "from_script")
    return f"{module} import {reader}", f"{reader}(Path(__file__).with_name({own!r}))"


def _terms(wish: Wish) -> list[str]:
    """The input's low frequencies are kept, so that colors do not drift. Perceptual gradients are a thousand times as large as
    those of L1: a hundredth leaves both a say. Through a pixel-shuffle they draw a grid."""
    terms = ["l1(1.0)", "consistency(1.0)"]
    if wish.losses != "pixel":
        terms.append(f"perceptual(0.01, {wish.backbone!r})")
    if _draws_grids(wish):
        terms.append(f"grid(10.0, period={wish.spec.scale})")
    return terms


def _draws_grids(wish: Wish) -> bool:
    return wish.losses != "pixel" and wish.spec.arch == "compact" and wish.spec.scale > 1


def _discriminator(wish: Wish) -> tuple[str, str]:
    """Its module and name."""
    cheap = macs_per_pixel(wish.spec) < _CHEAP
    return ("thin", "thin_patch") if cheap else ("unet", "UNetDiscriminator")


def _adversary(wish: Wish) -> str:
    if wish.losses != "gan":
        return ""
    net = _discriminator(wish)[1]
    return f"\n            adversary=AdversaryRecipe({net}, weight=Pull(0.2), learning_rate={wish.rate!r}),"


def _imports(wish: Wish) -> str:
    more = {"grid": _draws_grids(wish), "perceptual": wish.losses != "pixel"}
    names = sorted(["consistency", "l1", *(name for name, needed in more.items() if needed)])
    parts = [
        _degradation(wish)[0],
        "generator import spec_for",
        f"losses import {', '.join(names)}",
        "recipe import Recipe, Stage",
        "script import main",
    ]
    if wish.losses == "gan":
        net = "adversary.{} import {}".format(*_discriminator(wish))
        parts = ["adversary import AdversaryRecipe", net, *parts, "terms import Pull"]
    lines = [f"from upscale_training.{part}" for part in parts]
    return "\n".join([*(["from pathlib import Path", ""] if _own(wish) else []), *lines])
