"""Recipes as files: `main(recipe)` at a script's end, and `load_recipe` for whoever runs it from elsewhere."""

import multiprocessing
import sys
from contextvars import ContextVar
from pathlib import Path

from upscale_training.errors import RecipeError
from upscale_training.recipe import Recipe
from upscale_training.user_code import executed

_loading: ContextVar[list[Recipe] | None] = ContextVar("recipes being loaded", default=None)


def main(recipe: Recipe) -> None:
    """What a recipe's script ends with. Run as a program it trains, with the options of `upscale-train run`; loaded by
    `load_recipe` it hands the recipe over; in a process that makes samples it does nothing."""
    found = _loading.get()
    if found is not None:
        found.append(recipe)
    elif multiprocessing.parent_process() is None:
        from upscale_training.cli import run_as_script

        run_as_script(Path(sys.argv[0]))


def load_recipe(path: Path) -> Recipe:
    """The recipe of a script. Raises RecipeError, naming the line, for whatever is wrong in it."""
    if not path.is_file():
        raise RecipeError(f"{path}: no such recipe; training/recipes has some to begin with")
    found: list[Recipe] = []
    token = _loading.set(found)
    try:
        executed(path, f"upscale_recipe_{path.stem}")
    finally:
        _loading.reset(token)
    if len(found) != 1:
        raise RecipeError(f"{path}: calls main(Recipe(...)) {len(found)} times; once is right")
    return found[0]
