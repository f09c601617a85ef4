"""The flat schedule that benchmarks/curriculum.py holds against training/recipes/progressive_x4.py: the same network, data, losses
and numbers of steps before and with the perceptual term, all at ×4 and with the curriculum's last crops.
"""

from upscale.spec import ModelSpec
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import l1, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main

main(
    Recipe(
        name="flat-x4",
        network=ModelSpec("flat-x4", "rrdb", 4, features=32, growth=16, blocks=3),
        degradation=PRESETS["mild"],
        stages=(
            Stage("pixel", 3000, (l1(1.0),), batch=8, crop=128, learning_rate=1e-3, warmup=100),
            Stage(
                "perceptual",
                750,
                (l1(1.0), perceptual(0.01, "vgg16")),
                batch=8,
                crop=128,
                learning_rate=2e-4,
                warmup=50,
                decay="cosine",
            ),
        ),
        validate_every=250,
        checkpoint_every=250,
    )
)
