"""video-fast: a small network for camera footage twice as large, steady from frame to frame.

    upscale-train run training/recipes/video_fast.py --data PHOTOS/ --val OTHER_PHOTOS/ -o runs/video-fast

SRVGGNetCompact with 16 convolutions, begun from photo_fast_x2.py's result. Each photograph is moved and encoded by a real encoder
(H.264, HEVC, MPEG-2, VP9, AV1); one of its frames is the input. No discriminator: what it invents changes with each frame. `steady`
asks that the scene, moved by less than a pixel and with other noise, comes out the same: twice as much of it in the end. Half an
hour on two cores with AMX, four without. On a GPU: `--batch 32 --crop 192 --steps 30000`.

The network in weights/ was trained with `--batch 4 --steps 2000`, an hour without AMX, and then mixed with what it began from:

    upscale-models blend runs/photo-fast-x2/model.safetensors runs/video-fast/model.safetensors video-fast.safetensors --share 0.4

The more of `steady`, the less flicker, and the less detail. At its end that run flickered 10 % less than animevideov3 and had 64 %
of its gradient energy; what it began from flickers 54 % more, with half as much energy again. Of the mixtures, 0.35 to 0.55 have
LPIPS and PSNR, on moving pictures, that neither end reaches; 0.4 has animevideov3's energy. With more of `steady` and less of LPIPS
(4.0 and 0.1, after a stage of pixels) grass became felt. `upscale --steady 0.6` takes away more flicker than any of it, and keeps
detail.
"""

from upscale.spec import ModelSpec
from upscale_training.degrade.presets import PRESETS
from upscale_training.losses import consistency, flat, grid, jittered, l1, lpips, perceptual, steady
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Term

EARLY = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_3": 1.0}
"""VGG16's layers before its fourth stage."""


def seen(steadiness: float, flatness: float) -> tuple[Term, ...]:
    """What both stages ask for, in different shares."""
    return (
        l1(1.0),
        consistency(0.5),
        steady(steadiness),
        jittered(lpips(0.3, "alex"), zooms=(1.0, 1.0, 2.0)),
        jittered(perceptual(0.005, "vgg16", EARLY), share=0.5, zooms=(1.0,)),
        grid(10.0),
        flat(flatness),
    )


main(
    Recipe(
        name="video-fast",
        network=ModelSpec("video-fast", "compact", 2, blocks=16, activation="prelu"),
        start="runs/photo-fast-x2/model.safetensors",
        degradation=PRESETS["video"],
        stages=(
            Stage(
                name="eye",
                steps=3000,
                batch=6,
                crop=144,
                learning_rate=3e-4,
                warmup=100,
                decay="cosine",
                terms=seen(steadiness=2.0, flatness=0.15),
            ),
            Stage(
                name="steady",
                steps=2000,
                batch=6,
                crop=144,
                learning_rate=3e-4,
                warmup=100,
                decay="cosine",
                terms=seen(steadiness=4.0, flatness=0.2),
            ),
        ),
        validate_every=500,
        checkpoint_every=500,
    )
)
