"""Degradations from Python files with a function `degradation(scale)`, such as `upscale-train imitate` writes."""

from pathlib import Path

from upscale_training.degrade import Preset
from upscale_training.errors import RecipeError
from upscale_training.user_code import executed


def from_script(path: Path) -> Preset:
    """The function `degradation` of a Python file. Raises RecipeError for whatever is wrong in it."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; `upscale-train imitate EXAMPLES/` writes one")
    found = getattr(executed(path, f"upscale_degradation_{path.stem}"), "degradation", None)
    if not callable(found):
        raise RecipeError(f"{path}: has no function degradation(scale)")
    return found  # pyright: ignore[reportReturnType]
