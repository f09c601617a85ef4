"""photo-fast-x2: the same for a factor of 2, begun from photo_fast.py's result, whose last layer is cut anew.

    upscale-train run training/recipes/photo_fast_x2.py --data PHOTOS/ --val OTHER_PHOTOS/ -o runs/photo-fast-x2

See photo_fast.py for what each part is for. A result of the same size costs four times the work, for the small picture is larger.
On a GPU: `--batch 32 --crop 192 --steps 30000`.
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
        name="photo-fast-x2",
        network=ModelSpec("photo-fast-x2", "compact", 2, blocks=16, activation="prelu"),
        start="runs/photo-fast/model.safetensors",
        degradation=PRESETS["photo"],
        stages=(
            Stage(
                name="pixel",
                steps=600,
                batch=8,
                crop=96,
                learning_rate=3e-4,
                warmup=100,
                decay="cosine",
                terms=(l1(1.0),),
            ),
            Stage(
                name="game",
                steps=5000,
                batch=6,
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
