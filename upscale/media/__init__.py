"""Pictures in and out of files. `Source` is an opened file; decode.py opens any, encode.py writes any."""

from collections.abc import Iterator
from types import TracebackType
from typing import Protocol, Self

from upscale.image import Animation, Header, Picture


class Source(Protocol):
    """An opened file. `header` holds for each of its pictures; `animation` is None for a still one.

    `warnings`: what the file has that could not be read or is not carried over, a line each, known when it is opened.
    """

    header: Header
    animation: Animation | None
    warnings: list[str]

    def pictures(self) -> Iterator[Picture]:
        """One for a still picture; an animation's frames in order, each complete, blended and disposed as it is seen.
        Raises PictureError."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


__all__ = ["Source"]
