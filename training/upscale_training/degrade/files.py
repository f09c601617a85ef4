"""Degradations from Python files with a function `degradation(scale)`, such as `upscale-train imitate` writes."""

import importlib.util
from pathlib import Path

from upscale_training.degrade import Preset
from upscale_training.errors import RecipeError


def from_script(path: Path) -> Preset:
    """The function `degradation` of a Python file. Raises RecipeError for whatever is wrong in it."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such file; `upscale-train imitate EXAMPLES/` writes one")
    spec = importlib.util.spec_from_file_location(f"upscale_degradation_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:  # a person's own program: anything may happen in it
        raise RecipeError(f"{path}: {type(error).__name__}: {error}") from error
    found = getattr(module, "degradation", None)
    if not callable(found):
        raise RecipeError(f"{path}: has no function degradation(scale)")
    return found  # pyright: ignore[reportReturnType]
