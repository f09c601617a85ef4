"""Pictures to look at: a sheet of hard cases, and a blind one, on which nobody knows which network made what.

    pip install --no-deps scikit-image        # free pictures that no network here was trained on; nothing of it is imported
    python benchmarks/hard_cases.py VAL/ --models x4plus photo-fast -o docs/hard-cases.jpg
    python benchmarks/hard_cases.py VAL/ --models x4plus photo-fast --blind -o docs/blind.jpg  # and blind.json, the order

Inputs are the originals through MATLAB's imresize; where a case says so, with noise of σ 4 and JPEG 60 too.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
from networks import SEED, noise_and_jpeg, opened
from PIL import Image, ImageDraw

from upscale.image import to_float
from upscale_training.data.pictures import Pixels, read_picture
from upscale_training.data.samples import degraded
from upscale_training.degrade.presets import bicubic
from upscale_training.evaluate import BICUBIC

SIDE = 144
"""Of a detail, in pixels of the original; it is shown half as large again."""
SHOWN = 216
_HEAD, _GAP = 18, 4


@dataclass(frozen=True, slots=True)
class Case:
    """A detail of a picture; its name with a / is a file of scikit-image, else one of VAL."""

    title: str
    file: str
    left: int
    top: int
    spoilt: bool = False


CASES = (
    Case("face and hair", "data/astronaut.png", 132, 12),
    Case("eyes and fur", "data/chelsea.png", 124, 56),
    Case("letters on paper", "data/page.png", 0, 4),
    Case("letters on a screen", "src_000302.webp", 76, 220),
    Case("brick", "data/brick.png", 180, 260),
    Case("foliage", "src_000871.webp", 40, 40),
    Case("grass", "data/grass.png", 180, 180),
    Case("grids", "src_000278.webp", 400, 60),
    Case("stripes", "src_000308.webp", 260, 120),
    Case("night, noise 4, JPEG 60", "src_000278.webp", 120, 260, spoilt=True),
    Case("wood, noise 4, JPEG 60", "src_000773.webp", 60, 180, spoilt=True),
    Case("drawing", "src_001437.webp", 120, 320),
)
FREE = ("000278", "000296", "000302", "000308", "000341", "000773", "000871", "001437")
"""Of VAL, what may be shown anywhere: CC0, and CC BY 4.0 (the last: David Revoy, www.peppercarrot.com)."""
BLIND = 24


def original(val: Path, case: Case) -> Pixels:
    """Cut to multiples of 4, 8 bits."""
    inside = "/" in case.file
    path = Path(str(distribution("scikit-image").locate_file(f"skimage/{case.file}"))) if inside else val / case.file
    pixels = read_picture(path)
    height, width = (side // 4 * 4 for side in pixels.shape[:2])
    return pixels[:height, :width]


def blind_cases(val: Path) -> list[Case]:
    """Details of free pictures of VAL, chosen by chance; every third is spoilt."""
    chance = np.random.default_rng(SEED)
    found = list[Case]()
    for number in range(BLIND):
        file = f"src_{FREE[number % len(FREE)]}.webp"
        height, width = read_picture(val / file).shape[:2]
        left, top = (int(chance.integers(side - SIDE)) for side in (width, height))
        found.append(Case(str(number + 1), file, left, top, spoilt=number % 3 == 2))
    return found


def made(val: Path, cases: Sequence[Case], models: Sequence[str], scale: int = 4) -> Iterator[list[Pixels]]:
    """For each case the details: of each model, and of the original."""
    enlarge = [opened(model) for model in models]
    for index, case in enumerate(cases):
        whole = original(val, case)
        preset = noise_and_jpeg if case.spoilt else bicubic
        small = degraded(to_float(whole), preset(scale), scale, np.random.default_rng([SEED, index]))
        pictures = [*(one(small, scale) for one in enlarge), whole]
        yield [picture[case.top :, case.left :][:SIDE, :SIDE] for picture in pictures]


def strip(title: str, details: Sequence[Pixels], names: Sequence[str]) -> Pixels:
    """uint8 (rows, columns, 3): the details side by side under their names."""
    canvas = Image.new("RGB", (len(details) * (SHOWN + _GAP), SHOWN + _HEAD + _GAP), "white")
    draw = ImageDraw.Draw(canvas)
    for index, (detail, name) in enumerate(zip(details, names, strict=True)):
        left = index * (SHOWN + _GAP)
        draw.text((left + 2, 3), f"{title}: {name}" if index == 0 else name, fill="black")
        canvas.paste(Image.fromarray(detail).resize((SHOWN, SHOWN), Image.Resampling.BICUBIC), (left, _HEAD))
    return np.asarray(canvas)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("val", type=Path)
    parser.add_argument("--models", nargs="+", required=True)
    parser.add_argument("--scale", type=int, choices=(2, 4), default=4)
    parser.add_argument("--blind", action="store_true")
    parser.add_argument("-o", "--out", type=Path, required=True)
    options = parser.parse_args()
    models = [BICUBIC, *options.models]
    names = [*(Path(model).stem for model in models), "original"]
    cases = blind_cases(options.val) if options.blind else CASES
    chance, rows, orders = np.random.default_rng(), list[Pixels](), dict[str, list[str]]()
    for case, details in zip(cases, made(options.val, cases, models, options.scale), strict=True):
        if options.blind:
            order: list[int] = chance.permutation(len(models)).tolist()
            orders[case.title] = [names[index] for index in order]
            shown = [*(details[index] for index in order), details[-1]]
            rows.append(strip(case.title, shown, [*(chr(ord("A") + place) for place in range(len(order))), "original"]))
        else:
            rows.append(strip(case.title, details, names))
    Image.fromarray(np.vstack(rows)).save(options.out, quality=92)
    if options.blind:
        options.out.with_suffix(".json").write_text(json.dumps(orders, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
