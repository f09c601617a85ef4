"""Pictures in and out of files. `Sink` is what takes a result, band by band."""

from types import TracebackType
from typing import Protocol, Self

from upscale.image import Array


class Sink(Protocol):
    """Takes a picture's bands in order. The file gets its name only when the block ends well and the file was checked."""

    warnings: list[str]

    def write(self, rgb: Array, alpha: Array | None) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


__all__ = ["Sink"]
