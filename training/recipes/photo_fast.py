"""photo-fast: a small network for photographs as people have them, clean ones and re-saved, noisy ones.

    upscale-train run training/recipes/photo_fast.py --data PHOTOS/ --val OTHER_PHOTOS/ -o runs/photo-fast

SRVGGNetCompact with 16 convolutions, begun from animevideov3, in three stages: pixels, then what the eye sees, then more of it. Two
hours on two cores with AMX. On a GPU: `--batch 32 --crop 192 --steps 60000`. The network in weights/ was trained by these stages
in two runs: the third one later, begun from the second one's result with a new discriminator.

What each part of the game is for, found by leaving it out (looked at after 500 to 2,000 steps):

- LPIPS (alex) is the cheapest eye; alone it draws a grid in step with AlexNet's strides. `jittered` leaves a faint weave.
- VGG16's first layers see every pixel, and the weave; deeper ones cost as much again.
- Windows of half the sides make VGG16's look cost a quarter. AlexNet needs its 144 pixels: of 80 its deeper layers see hardly more
  than the rim, and LPIPS of whole results rose while that of the windows fell.
- A discriminator of 34-pixel patches learns faster than those of 70. Pulled by more than a tenth of the other terms, the generator
  fools it before it has learnt anything; at a twentieth it is right in 75 % and hardly heard.
- `consistency` and `grid` keep colors within a twentieth of a level, and the phases of the pixel-shuffle alike.
- `flat` takes the weave off walls and dotted seams off letters. LPIPS (alex) rises by 0.002 on clean pictures, DISTS falls.
- LPIPS at its own zoom two times in three, and more of it, trades 0.4 dB for LPIPS lower by 0.02: hence the third stage.
"""

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import consistency, flat, grid, jittered, l1, lpips, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Pull

EARLY = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_3": 1.0}
"""VGG16's layers before its fourth stage."""


def small_patches() -> PatchDiscriminator:
    """A logit for each patch of 34×34 pixels."""
    return PatchDiscriminator(48, strided=2, norm="none")


main(
    Recipe(
        name="photo-fast",
        network=ModelSpec("photo-fast", "compact", 4, blocks=16, activation="prelu"),
        start="animevideov3",
        degradation=PRESETS["photo"],
        stages=(
            Stage(
                name="pixel",
                steps=4000,
                batch=16,
                crop=128,
                learning_rate=5e-4,
                warmup=100,
                decay="cosine",
                terms=(l1(1.0),),
            ),
            Stage(
                name="game",
                steps=14000,
                batch=8,
                crop=144,
                learning_rate=3e-4,
                warmup=100,
                decay="cosine",
                terms=(
                    l1(1.0),
                    consistency(1.0),
                    jittered(lpips(0.15, "alex")),
                    jittered(perceptual(0.005, "vgg16", EARLY), share=0.5, zooms=(1.0,)),
                    grid(10.0),
                    flat(0.15),
                ),
                adversary=AdversaryRecipe(small_patches, weight=Pull(0.1), learning_rate=5e-4),
            ),
            Stage(
                name="finish",
                steps=6000,
                batch=8,
                crop=144,
                learning_rate=3e-4,
                warmup=100,
                decay="cosine",
                terms=(
                    l1(1.0),
                    consistency(1.0),
                    jittered(lpips(0.2, "alex"), zooms=(1.0, 1.0, 2.0)),
                    jittered(perceptual(0.005, "vgg16", EARLY), share=0.5, zooms=(1.0,)),
                    grid(10.0),
                    flat(0.1),
                ),
                adversary=AdversaryRecipe(small_patches, weight=Pull(0.1), learning_rate=5e-4),
            ),
        ),
        validate_every=500,
        checkpoint_every=500,
    )
)
