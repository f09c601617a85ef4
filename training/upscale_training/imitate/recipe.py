"""What was found, as a page of text and as a degradation in Python that imitates it."""

from pathlib import Path

import numpy as np

from upscale_training.imitate.codec import SURE
from upscale_training.imitate.look import Findings

WHITE = 0.35
"""Correlation σ in pixels below which noise is written as white: less than that is not told from none."""
FAINT_NOISE, FAINT_BLUR = 0.6, 0.12
"""Levels and pixels below which a step is left out."""
_AROUND = 0.05  # a range is at least this much to either side, relative: no estimate is better

_IMPORTS = {
    "gaussian_blur": "blur",
    "chain": "combine",
    "maybe": "combine",
    "film_grain": "noise",
    "gaussian_noise": "noise",
    "by_way_of": "resize",
    "shrink": "resize",
    "jpeg": "stills",
    "eight_bits": "tones",
    "h264": "video",
}


def recipe_text(found: Findings, folder: Path) -> str:
    """A Python module with the function `degradation(scale)`: a preset, see upscale_training.degrade."""
    steps = [step for step in (_blur(found), *_sized(found)) if step]
    body = "\n".join(f"        {step}," for step in steps)
    names = sorted((module, name) for name, module in _IMPORTS.items() if f"{name}(" in body or name == "chain")
    modules = {module: [name for other, name in names if other == module] for module, _ in names}
    imports = [f"from upscale_training.degrade.{module} import {', '.join(each)}" for module, each in modules.items()]
    described = summary(found).replace("\\", "/").replace('"""', "'''")
    head = f'"""Imitates {folder.name}, by `upscale-train imitate`. Ranges are the spread over the examples.\n\n{described}\n"""'
    doc = '    """Scale → a degradation: the large picture in, one like the examples out, 1/scale of its sides."""'
    function = ["def degradation(scale: int) -> Degradation:", doc, "    return chain(", body, "    )", ""]
    return "\n".join([head, "", "from upscale_training.degrade import Degradation", *imports, "", "", *function])


def summary(found: Findings) -> str:
    """A few lines for a terminal: what the examples have in common and their ranges."""
    common, count = found.common, len(found.looks)
    low, high = found.spread("noise")
    color = "colored" if common.color else "gray"
    grain = f", correlated over {common.correlation:.1f} px" if common.correlation > WHITE else ""
    lines = [
        f"{count} picture{'s' if count > 1 else ''}" + (f", {len(found.skipped)} left out" if found.skipped else ""),
        f"noise: sigma {common.noise:.1f} of 255 ({low:.1f} to {high:.1f}), {color}{grain}; {common.luma_noise:.1f} in luma",
        "blur: sigma {:.2f} px ({:.2f} to {:.2f})".format(common.blur, *found.spread("blur")),
    ]
    if found.qualities:
        sources = " and ".join(sorted({look.source for look in found.looks if look.quality is not None}))
        lines.append(
            f"last JPEG: quality {found.qualities[0]} to {found.qualities[-1]}, {found.subsampling or 'chroma unknown'}"
            f" (by {sources}), in {len(found.qualities)} of {count}"
        )
    if found.later:
        lines.append(
            f"resized afterwards: to {np.median(found.later):.3f} of the sides, in {len(found.later)} of {count}"
        )
    if _video(found):
        lines.append(f"blocks of a video codec or of WebP: in {_video(found)} of {count}")
    return "\n".join(lines)


def _blur(found: Findings) -> str:
    low, high = found.spread("blur")
    if found.common.blur < FAINT_BLUR:
        return ""
    # Pixels of the examples (before a later resize) are this many of the large picture's.
    larger = float(np.median(found.later)) if _mostly(len(found.later), found) else 1.0
    low, high = _range(low * larger, high * larger)
    return f"gaussian_blur(sigma=({low:.2f} * scale, {high:.2f} * scale))"


def _sized(found: Findings) -> list[str]:
    """Steps that make the picture small, and what happened there before and after a later resize."""
    inner = [step for step in (_noise(found), _video_step(found), _jpeg(found, again=False)) if step]
    if not _mostly(len(found.later), found):
        return ["shrink(scale)", *inner, "eight_bits()"]
    low, high = _range(1 / found.later[-1], 1 / found.later[0], around=0.01)
    after = _jpeg(found, again=True)
    return [
        f"by_way_of(scale, ({low:.3f}, {high:.3f}), {', '.join(inner)})",
        "eight_bits()",
        *([after] if after else []),
    ]


def _noise(found: Findings) -> str:
    if found.common.luma_noise < FAINT_NOISE:
        return ""
    low, high = _range(*found.spread("noise"))
    color = found.common.color
    if found.common.correlation > WHITE:
        size = found.common.correlation
        own = 1.0 if color else 0.0
        return f"film_grain(sigma=({low:.1f}, {high:.1f}), size=({0.8 * size:.2f}, {1.2 * size:.2f}), color={own})"
    return f"gaussian_noise(sigma=({low:.1f}, {high:.1f}), gray={0.0 if color else 1.0})"


def _jpeg(found: Findings, again: bool) -> str:
    """The JPEG before a later resize (found in pixels), or the file's own after it (`again`); without a resize there is one."""
    resized = _mostly(len(found.later), found)
    looks = [look for look in found.looks if look.quality is not None]
    if resized:
        looks = [look for look in looks if (look.source == "file") == again]
    qualities = [look.quality for look in looks if look.quality is not None]
    if not qualities:
        return ""
    kinds = sorted({look.subsampling for look in looks if look.subsampling in ("4:4:4", "4:2:2", "4:2:0")}) or ["4:2:0"]
    named = ", ".join(f'"{kind}"' for kind in kinds if kind)
    step = f"jpeg(quality=({min(qualities)}, {max(qualities)}), subsampling=({named},))"
    share = len(qualities) / len(found.looks)
    return step if share > 0.95 else f"maybe({share:.2f}, {step})"


def _video(found: Findings) -> int:
    return sum(look.video > SURE for look in found.looks)


def _video_step(found: Findings) -> str:
    share = _video(found) / len(found.looks)
    return "" if share < 0.3 else "h264(crf=(24, 36))" if share > 0.7 else f"maybe({share:.2f}, h264(crf=(24, 36)))"


def _mostly(count: int, found: Findings) -> bool:
    return 2 * count > len(found.looks)


def _range(low: float, high: float, around: float = _AROUND) -> tuple[float, float]:
    return low * (1 - around), high * (1 + around)
