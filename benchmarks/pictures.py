"""The README's picture: parts of docs/budgie.png enlarged four times, by bicubic interpolation and by x4plus.

python benchmarks/pictures.py
"""

from common import ROOT
from PIL import Image, ImageDraw

import upscale

PARTS = ((40, 22, 56, 56), (104, 0, 56, 56))
"""(left, top, width, height) in input pixels."""

SHOWN = 6


def main() -> None:
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


if __name__ == "__main__":
    main()
