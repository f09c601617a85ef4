"""Degradations that are ready for use: functions scale → degradation, whose result has exactly 1/scale of the sides.

Each is a page of plain steps: copy one into a recipe and change it. Where a range is multiplied by the scale, it is in pixels of
the large picture, and the result is about the same in the small one.
"""

from collections.abc import Mapping

from upscale_training.degrade import Degradation, Preset
from upscale_training.degrade.blur import gaussian_blur, skewed_blur
from upscale_training.degrade.combine import chain, maybe, one_of, shuffled
from upscale_training.degrade.noise import film_grain, gaussian_noise, sensor_noise
from upscale_training.degrade.realesrgan import SecondOrder
from upscale_training.degrade.resize import GOOD, PUBLISHED, at_size, by_way_of, shrink
from upscale_training.degrade.sharpen import halos
from upscale_training.degrade.stills import avif, jpeg, webp
from upscale_training.degrade.television import Subsampling, interlaced, scan_lines, subsampled_chroma
from upscale_training.degrade.tones import banding, eight_bits, ordered_dither, palette
from upscale_training.degrade.video import av1, h264, hevc, mpeg2, vp9

FILES: tuple[Subsampling, ...] = ("4:2:0", "4:2:0", "4:2:0", "4:2:2", "4:4:4")
"""How often files have which subsampling, roughly."""


def bicubic(scale: int) -> Degradation:
    """MATLAB's imresize and rounding to 8 bits: what benchmarks measure, and hardly any real picture went through."""
    return chain(shrink(scale, by=("matlab bicubic",)), eight_bits())


def mild(scale: int) -> Degradation:
    """Photographs as people have them: a little blur and noise, resized by a program, JPEG 40 to 95 (or WebP, AVIF)."""
    ways = one_of((7, shrink(scale)), (3, by_way_of(scale, (1.0, 2.0), jpeg((70, 95), FILES))))
    noise = one_of((2, sensor_noise((1e-5, 1e-3))), (1, gaussian_noise((0.5, 4.0), gray=0.3)))
    files = one_of((7, jpeg((40, 95), FILES)), (1, webp((55, 95))), (0.5, avif((45, 85))), (1.5, chain()))
    return chain(
        maybe(0.4, gaussian_blur((0.1 * scale, 0.4 * scale))),
        ways,
        maybe(0.25, halos((0.1, 0.5), (0.5, 1.2))),
        maybe(0.5, noise),
        files,
        eight_bits(),
    )


def photo(scale: int) -> Degradation:
    """All photographs that people bring: as many clean ones as `mild` ones, and some that are noisier."""
    clean = chain(shrink(scale, by=("matlab bicubic", *GOOD)), eight_bits())
    noisy = chain(
        maybe(0.3, gaussian_blur((0.1 * scale, 0.3 * scale))),
        shrink(scale, by=("matlab bicubic", *GOOD)),
        gaussian_noise((1.0, 6.0), gray=0.3),
        jpeg((40, 95), FILES),
    )
    return one_of((4, clean), (3, mild(scale)), (3, noisy))


def realesrgan(scale: int) -> Degradation:
    """Real-ESRGAN's second order, as published: heavy. See `realesrgan.SecondOrder`."""
    return SecondOrder(scale)


def jpeg_files(scale: int) -> Degradation:
    """JPEG and little else: all qualities, saved once or twice, with a resize between for some."""
    ways = one_of((6, shrink(scale)), (4, by_way_of(scale, (0.7, 2.0), jpeg((30, 95), FILES))))
    return chain(
        maybe(0.3, gaussian_blur((0.1 * scale, 0.4 * scale))),
        ways,
        jpeg((10, 95), FILES),
        maybe(0.25, jpeg((30, 95), FILES)),
    )


def video(scale: int) -> Degradation:
    """Compressed video of the last thirty years: streams, broadcasts, DVDs, phones; some at a lower resolution, or twice."""
    blur = one_of((3, gaussian_blur((0.1 * scale, 0.7 * scale))), (1, skewed_blur((0.2 * scale, 0.8 * scale))))
    noise = (0.0, 4.0)
    codec = one_of(
        (40, h264((20, 36), noise=noise)),
        (15, hevc((22, 38), noise=noise)),
        (20, mpeg2((2, 12), noise=noise)),
        (15, vp9((28, 54), noise=noise)),
        (10, av1((28, 56), noise=noise)),
    )
    return chain(
        maybe(0.6, blur),
        shrink(scale, by=(*GOOD, "bilinear", "bicubic")),
        maybe(0.25, halos((0.1, 0.8), (0.6, 1.5))),
        maybe(0.08, interlaced((0.5, 4.0))),
        one_of((8, codec), (2, at_size((0.5, 0.9), codec))),
        maybe(0.15, h264((20, 32))),
        eight_bits(),
    )


def film(scale: int) -> Degradation:
    """Scanned film: soft, with grain that is correlated and strongest in middle tones; then a disc, a stream or a still."""
    grain = film_grain((3.0, 16.0), (0.4, 1.3), (0.0, 0.6))
    fresh = (1.0, 5.0)  # grain is another one in each frame, which codecs cannot predict
    stored = one_of(
        (3, mpeg2((2, 6), noise=fresh)),
        (4, h264((17, 28), noise=fresh)),
        (1, hevc((18, 30), noise=fresh)),
        (2, jpeg((60, 95), FILES)),
        (2, chain()),
    )
    return chain(
        maybe(0.8, gaussian_blur((0.2 * scale, 0.8 * scale))),
        shrink(scale),
        grain,
        maybe(0.3, halos((0.2, 0.8), (0.7, 1.8))),
        maybe(0.08, interlaced((0.5, 3.0))),
        stored,
        eight_bits(),
    )


def anime(scale: int) -> Degradation:
    """Drawn pictures from discs, television and the web: halos, coarse color, bands, dithering, combs, and their codecs."""
    faults = shuffled(
        maybe(0.4, halos((0.2, 1.2), (0.6, 1.8))),
        maybe(0.4, subsampled_chroma()),
        maybe(0.15, banding((24, 64))),
        maybe(0.3, gaussian_noise((0.5, 6.0), gray=0.5)),
    )
    screens = one_of(
        (8, interlaced((0.5, 3.0))),
        (4, scan_lines((0.05, 0.3))),
        (3, palette((32, 256))),
        (2, ordered_dither((6, 24))),
        (83, chain()),
    )
    stored = one_of(
        (30, h264((18, 34), motion=(0.0, 2.0))),
        (10, hevc((20, 36), motion=(0.0, 2.0))),
        (20, mpeg2((2, 12), motion=(0.0, 2.0))),
        (30, jpeg((30, 95), FILES)),
        (10, webp((30, 95))),
    )
    return chain(
        maybe(0.4, gaussian_blur((0.1 * scale, 0.6 * scale))),
        shrink(scale, by=(*GOOD, *PUBLISHED[1:])),
        faults,
        screens,
        stored,
        eight_bits(),
    )


PRESETS: Mapping[str, Preset] = {
    "bicubic": bicubic,
    "mild": mild,
    "photo": photo,
    "realesrgan": realesrgan,
    "jpeg": jpeg_files,
    "video": video,
    "film": film,
    "anime": anime,
}
"""By the names that `--degradation` takes."""
