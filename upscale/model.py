"""Opens what `--model` names: a model of the zoo, a checkpoint of this repository's networks, or a foreign one."""

from pathlib import Path

from upscale import zoo
from upscale.checkpoint import Checkpoint
from upscale.keys import UnknownArchitectureError


def open_model(name: str, denoise: float | None = None) -> Checkpoint:
    """Raises ModelError; ValueError for a denoise strength outside 0..1."""
    if denoise is not None:
        return zoo.load_denoised(name, denoise)
    try:
        return zoo.load(name)
    except UnknownArchitectureError:
        from upscale.engines.windows import open_foreign

        return open_foreign(Path(name))
