"""Super-resolution: pictures several times larger, exact at any size.

    import upscale
    up = upscale.load("x4plus")
    bigger = up(picture)            # numpy, PIL or torch in, the same out

Importing this package is cheap; the engines are imported by `load`.
"""

from typing import TYPE_CHECKING, Any

from upscale.errors import UpscaleError

if TYPE_CHECKING:
    from upscale.api import Upscaler, load

__version__ = "0.1.0"
__all__ = ["UpscaleError", "Upscaler", "__version__", "load"]


def __getattr__(name: str) -> Any:
    if name in ("Upscaler", "load"):
        from upscale import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
