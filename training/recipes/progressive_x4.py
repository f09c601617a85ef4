"""A curriculum: the network grows from ×1 to ×2 to ×4, and its crops with it (after ProGAN, Karras et al. 2018, arXiv:1710.10196).

    upscale-train run training/recipes/progressive_x4.py --data PHOTOS/ -o runs/progressive

Every stage takes over all that fits: the trunk, and for a further doubling the layer of the one before. Crops begin small,
which is cheap, and end large, where borders matter less. Losses change with the stages, and within one: the perceptual
weight comes in slowly. It reaches the flat schedule's LPIPS in half the time (benchmarks/README.md, Curriculum).
"""

from upscale.spec import ModelSpec
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import l1, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Ramp

PIXEL = (l1(1.0),)
PERCEPTUAL = (l1(1.0), perceptual(0.01, "vgg16"))
COMING = (l1(1.0), perceptual(Ramp(0.0, 0.01, 0.0, 0.5), "vgg16"))

main(
    Recipe(
        name="progressive-x4",
        network=ModelSpec("progressive-x4", "rrdb", 4, features=32, growth=16, blocks=3),
        degradation=PRESETS["mild"],
        stages=(
            Stage("restore", 1000, PIXEL, batch=8, crop=32, learning_rate=1e-3, warmup=100, scale=1),
            Stage("double", 1000, PIXEL, batch=8, crop=48, learning_rate=1e-3, scale=2),
            Stage("quadruple", 1000, PIXEL, batch=8, crop=64, learning_rate=1e-3),
            Stage("see", 500, COMING, batch=8, crop=64, learning_rate=2e-4, warmup=50),
            Stage("see more", 250, PERCEPTUAL, batch=8, crop=128, learning_rate=2e-4, decay="cosine"),
        ),
        validate_every=250,
        checkpoint_every=250,
    )
)
