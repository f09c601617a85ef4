"""Real-ESRGAN as published (Wang et al. 2021, arXiv:2107.10833): the full RRDBNet, second-order degradation, U-Net discriminator.

    upscale-train run training/recipes/realesrgan_x4.py --data PHOTOS/ -o runs/realesrgan

For GPUs: batch 48 of 256-pixel crops, a million pixel steps and 400,000 of the game. Originals are sharpened (USM) as
targets, which makes crisp and less faithful pictures; remove `target` for faithful ones.
"""

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.unet import UNetDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.degrade.sharpen import usm
from upscale_training.losses import l1, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main

main(
    Recipe(
        name="realesrgan-x4",
        network=ModelSpec("realesrgan-x4", "rrdb", 4),
        degradation=PRESETS["realesrgan"],
        target=usm(),
        stages=(
            Stage(
                name="pixel",
                steps=1_000_000,
                batch=48,
                crop=256,
                learning_rate=2e-4,
                terms=(l1(1.0),),
            ),
            Stage(
                name="gan",
                steps=400_000,
                batch=48,
                crop=256,
                learning_rate=1e-4,
                terms=(l1(1.0), perceptual(1.0, "vgg19")),
                adversary=AdversaryRecipe(UNetDiscriminator, weight=0.1, learning_rate=1e-4),
            ),
        ),
        validate_every=5000,
        checkpoint_every=5000,
    )
)
