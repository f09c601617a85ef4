"""The networks as torch modules, with BasicSR's parameter names."""

from upscale.nets.compact import SRVGGNetCompact
from upscale.nets.rrdb import RRDBNet
from upscale.spec import ModelSpec

Network = RRDBNet | SRVGGNetCompact


def build(spec: ModelSpec) -> Network:
    """An untrained network of this spec. Raises ValueError for foreign ones."""
    match spec.arch:
        case "rrdb":
            return RRDBNet(spec)
        case "compact":
            return SRVGGNetCompact(spec)
        case "foreign":
            raise ValueError("a foreign network is not built here but opened through spandrel")


__all__ = ["Network", "RRDBNet", "SRVGGNetCompact", "build"]
