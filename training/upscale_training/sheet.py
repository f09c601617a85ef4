"""A picture sheet of what was measured: input, bicubic, result and original side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from upscale.files import replacing
from upscale.image import Array, from_float, to_float
from upscale_training.data.detail import busiest
from upscale_training.data.pictures import Pixels
from upscale_training.evaluate import bicubic, shown
from upscale_training.metrics.suite import MetricName


class Sheet:
    """Collects a picture sheet: `evaluate(…, watch=sheet)`, then `sheet.save(path)`. Each row shows the same detail of the small
    picture, of bicubic, of the result and of the original, twice as large."""

    def __init__(self, edge: int = 128, rows: int = 40) -> None:
        """`edge`: of the detail, in pixels of the original. `rows`: further pictures are left out."""
        self._edge, self._most, self._rows = edge, rows, list[Array]()

    def __call__(
        self, name: str, lr: Pixels, result: Pixels, original: Pixels, values: Mapping[MetricName, float]
    ) -> None:
        if len(self._rows) >= self._most:
            return
        scale = original.shape[0] // lr.shape[0]
        pictures = (np.repeat(np.repeat(lr, scale, 0), scale, 1), bicubic(lr, scale), result, original)
        left, top = busiest(255 * to_float(original).mean(axis=2), self._edge)
        cuts = [from_float(to_float(one[top:, left:][: self._edge, : self._edge]), np.uint8) for one in pictures]
        text = "  ".join([name, *(f"{metric} {shown((metric, value))}" for metric, value in values.items())])
        self._rows.append(_strip(cuts, self._edge, text))

    def save(self, path: Path) -> None:
        """Writes a PNG or whatever the ending says. Raises OSError; ValueError where nothing was collected."""
        if not self._rows:
            raise ValueError("no picture was measured")
        heads = _strip([], self._edge, "", ("input", "bicubic", "result", "original"))
        with replacing(path) as temporary:
            Image.fromarray(np.vstack([heads, *self._rows])).save(temporary)


def _strip(cuts: Sequence[Array], edge: int, text: str, heads: Sequence[str] = ()) -> Array:
    """A line of text, and below it the details side by side: uint8 (rows, columns, 3)."""
    canvas = Image.new("RGB", (4 * (2 * edge + 4), 16 + (2 * edge + 4 if cuts else 0)), "white")
    draw = ImageDraw.Draw(canvas)
    draw.text((2, 2), text, fill="black")
    for index, head in enumerate(heads):
        draw.text((index * (2 * edge + 4) + 2, 2), head, fill="black")
    for index, cut in enumerate(cuts):
        large = Image.fromarray(cut).resize((2 * cut.shape[1], 2 * cut.shape[0]), Image.Resampling.NEAREST)
        canvas.paste(large, (index * (2 * edge + 4), 16))
    return np.asarray(canvas)
