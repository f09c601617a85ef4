"""What `--degradation` may name: a preset, a Python file with a function `degradation(scale)`, or what `learn` wrote."""

from pathlib import Path

from upscale_training.degrade import Preset
from upscale_training.degrade.files import from_script
from upscale_training.degrade.presets import PRESETS
from upscale_training.errors import RecipeError
from upscale_training.unpaired import pool_preset


def preset_of(name: str) -> Preset:
    """Scale → degradation. Raises RecipeError, naming the known presets; DataError for a damaged .npz."""
    if name in PRESETS:
        return PRESETS[name]
    path = Path(name)
    match path.suffix:
        case ".py":
            return from_script(path)
        case ".npz":
            return pool_preset(path)
        case _:
            raise RecipeError(f"--degradation {name}: no such preset or file; the presets are {', '.join(PRESETS)}")
