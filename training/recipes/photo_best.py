"""photo-best: x4plus made milder, and nearer to what was photographed.

    upscale-train run training/recipes/photo_best.py --data PHOTOS/ --val OTHER_PHOTOS/ -o runs/photo-best

x4plus was trained on heavily spoiled pictures, and takes the texture of clean ones for faults. This one goes on from it with
photographs as people have them. Made for a GPU: `--batch 16 --crop 192`.
"""

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import consistency, flat, grid, jittered, l1, ldl, lpips, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Pull

main(
    Recipe(
        name="photo-best",
        network=ModelSpec("photo-best", "rrdb", 4),
        start="x4plus",
        degradation=PRESETS["photo"],
        stages=(
            Stage(
                name="game",
                steps=15000,
                batch=4,
                crop=128,
                learning_rate=1e-4,
                warmup=200,
                decay="cosine",
                terms=(
                    l1(1.0),
                    consistency(1.0),
                    ldl(0.5),
                    jittered(lpips(0.15, "alex")),
                    jittered(perceptual(0.005, "vgg16"), share=0.5, zooms=(1.0,)),
                    grid(10.0),
                    flat(0.15),
                ),
                adversary=AdversaryRecipe(UNetDiscriminator, weight=Pull(0.1), learning_rate=1e-4),
            ),
        ),
        validate_every=500,
        checkpoint_every=500,
    )
)
