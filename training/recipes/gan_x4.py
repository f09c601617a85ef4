"""ESRGAN's recipe in two stages, for a small RRDBNet from scratch: first pixels, then the game.

    upscale-train run training/recipes/gan_x4.py --data PHOTOS/ -o runs/gan

The shape of Wang et al. 2018 (arXiv:1809.00219): a network trained with L1 is the generator's beginning; then perceptual and
adversarial terms. The degradation is `mild`, the discriminator the cheap one, the network a fourteenth of x4plus, so that two
quiet cores do it in half an hour (training/README.md shows what comes out). For the full size on a GPU: features 64, growth 32,
blocks 23, crop 256, batch 16, UNetDiscriminator, learning rates of 2e-4 and 1e-4 (the published ones), and ten
times the steps.
"""

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.thin import thin_patch
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import consistency, l1, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Pull

main(
    Recipe(
        name="gan-x4",
        network=ModelSpec("gan-x4", "rrdb", 4, features=32, growth=16, blocks=3),
        degradation=PRESETS["mild"],
        stages=(
            Stage(
                name="pixel",
                steps=3000,
                batch=8,
                crop=128,
                learning_rate=1e-3,
                warmup=100,
                decay="cosine",
                terms=(l1(1.0),),
            ),
            Stage(
                name="gan",
                steps=1500,
                batch=8,
                crop=96,
                learning_rate=2e-4,
                warmup=50,
                terms=(l1(1.0), consistency(1.0), perceptual(0.01, "vgg16")),
                adversary=AdversaryRecipe(thin_patch, weight=Pull(0.5)),
            ),
        ),
        validate_every=250,
        checkpoint_every=250,
    )
)
