"""A compact network for one custom degradation, on a CPU: animevideov3 learns to undo noise and JPEG 40 on photographs.

    upscale-train run training/recipes/compact_noise_jpeg.py --data PHOTOS/ -o runs/noise-jpeg

Two stages: the network first learns from pixels, which is cheap, then sees through VGG16's eyes. Half an hour on two cores with
bf16. Without the term `grid`, the second stage drew a fine colored grid through the pixel-shuffle, while LPIPS fell: the alarm
"checkerboard" rose to 1.2 in 300 steps.
"""

from upscale_training.degrade import Degradation
from upscale_training.degrade.combine import chain
from upscale_training.degrade.noise import gaussian_noise
from upscale_training.degrade.resize import shrink
from upscale_training.degrade.stills import jpeg
from upscale_training.generator import spec_for
from upscale_training.losses import consistency, grid, l1, perceptual
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main


def noise_and_jpeg(scale: int) -> Degradation:
    """Shrunk by some program, with a little noise, saved with quality 40."""
    return chain(shrink(scale), gaussian_noise(sigma=(2.0, 6.0), gray=0.5), jpeg(quality=40))


main(
    Recipe(
        name="noise-jpeg",
        network=spec_for("animevideov3", "noise-jpeg", 4),
        start="animevideov3",
        degradation=noise_and_jpeg,
        stages=(
            Stage(
                name="pixel",
                steps=1500,
                batch=8,
                crop=128,
                learning_rate=2e-4,
                warmup=100,
                decay="cosine",
                terms=(l1(1.0),),
            ),
            Stage(
                name="perceptual",
                steps=1200,
                batch=8,
                crop=128,
                learning_rate=1e-4,
                warmup=50,
                decay="cosine",
                terms=(l1(1.0), consistency(1.0), perceptual(0.01, "vgg16"), grid(10.0)),
            ),
        ),
        validate_every=300,
        checkpoint_every=300,
    )
)
