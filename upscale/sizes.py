"""How large a result shall be: a factor, or sides in pixels."""

from dataclasses import dataclass

LARGEST_FACTOR = 16.0
SMALLEST_SCALE = 0.5


@dataclass(frozen=True, slots=True)
class Size:
    """What was asked for; the fields that are None follow from the picture. No field at all is not a size.

    `scale`: factor 0.5..16. `width` and `height`, in pixels: both for an exact size, one of them to keep the proportions.
    `fit`: the longer side in pixels.
    """

    scale: float | None = None
    width: int | None = None
    height: int | None = None
    fit: int | None = None

    def __post_init__(self) -> None:
        kinds = [self.scale is not None, self.width is not None or self.height is not None, self.fit is not None]
        if sum(kinds) != 1:
            raise ValueError("a size is a scale, a width and/or height, or the longer side to fit")
        if self.scale is not None and not SMALLEST_SCALE <= self.scale <= LARGEST_FACTOR:
            raise ValueError(f"the scale must lie in {SMALLEST_SCALE:g}..{LARGEST_FACTOR:g}, not {self.scale:g}")
        if any(side is not None and side < 1 for side in (self.width, self.height, self.fit)):
            raise ValueError("a side has at least one pixel")

    def of(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) of the result for a picture of the given sides, each rounded and at least 1.

        Raises ValueError where that is more than 16 times the picture.
        """
        if self.width is not None and self.height is not None:
            size = self.width, self.height
        else:
            factor = self._factor(width, height)
            size = self.width or _side(width * factor), self.height or _side(height * factor)
            size = (self.fit, size[1]) if self.fit and width >= height else size
            size = (size[0], self.fit) if self.fit and height > width else size
        if max(size[0] / width, size[1] / height) > LARGEST_FACTOR * (1 + 1e-9) and max(size) > LARGEST_FACTOR:
            raise ValueError(f"{size[0]}×{size[1]} is more than {LARGEST_FACTOR:g} times {width}×{height}")
        return size

    def _factor(self, width: int, height: int) -> float:
        if self.scale is not None:
            return self.scale
        if self.width is not None:
            return self.width / width
        if self.height is not None:
            return self.height / height
        assert self.fit is not None
        return self.fit / max(width, height)

    @property
    def tag(self) -> str:
        """What names of results say of it: 4, 800x600, w800, h600, fit2048."""
        if self.scale is not None:
            return f"{self.scale:g}"
        if self.width is not None and self.height is not None:
            return f"{self.width}x{self.height}"
        if self.width is not None:
            return f"w{self.width}"
        return f"h{self.height}" if self.height is not None else f"fit{self.fit}"


def _side(length: float) -> int:
    return max(1, round(length))
