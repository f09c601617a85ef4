"""The README's pictures: docs/budgie.png enlarged four times, and a video's frame twice, beside bicubic interpolation.

python benchmarks/pictures.py [--clip max-heromode.mp4]
"""

import argparse
from itertools import islice
from pathlib import Path

import av
from common import ROOT
from PIL import Image, ImageDraw

import upscale
from upscale import zoo

PARTS = ((40, 22, 56, 56), (104, 0, 56, 56))
"""(left, top, width, height) in input pixels."""

SHOWN = 6
FRAME, CLIP_PART = 150, (250, 200, 600, 400)
"""Which frame, and the part of the result that is shown, as it is."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clip", type=Path, help="GoPro's max-heromode.mp4, see docs/README.md; makes docs/video.png")
    options = parser.parse_args()
    before_after()
    if options.clip:
        video(options.clip)


def before_after() -> None:
    small = Image.open(ROOT / "docs" / "budgie.png").convert("RGB")
    large = upscale.load("x4plus")(small, scale=4)
    bicubic = small.resize(large.size, Image.Resampling.BICUBIC)
    edge = PARTS[0][2] * SHOWN
    sheet = Image.new("RGB", (3 * edge + 20, len(PARTS) * (edge + 10) + 14), "white")
    draw = ImageDraw.Draw(sheet)
    for column, (title, picture, factor) in enumerate(
        (("input", small, 1), ("bicubic", bicubic, 4), ("upscale", large, 4))
    ):
        draw.text((column * (edge + 10), 1), title, fill="black")
        for row, (left, top, width, height) in enumerate(PARTS):
            part = picture.crop((left * factor, top * factor, (left + width) * factor, (top + height) * factor))
            way = Image.Resampling.NEAREST if factor == 1 else Image.Resampling.LANCZOS
            sheet.paste(part.resize((edge, edge), way), (column * (edge + 10), 14 + row * (edge + 10)))
    sheet.save(ROOT / "docs" / "before-after.png", optimize=True)


def video(clip: Path) -> None:
    with av.open(str(clip)) as stored:
        frame = next(islice(stored.decode(video=0), FRAME, None)).to_image()
    large = upscale.load(zoo.default_for_videos(2).name)(frame, scale=2)
    left, top, width, height = CLIP_PART
    sheet = Image.new("RGB", (2 * width + 8, height), "white")
    for column, picture in enumerate((frame.resize(large.size, Image.Resampling.BICUBIC), large)):
        sheet.paste(picture.crop((left, top, left + width, top + height)), (column * (width + 8), 0))
    sheet.save(ROOT / "docs" / "video.png", optimize=True)


if __name__ == "__main__":
    main()
