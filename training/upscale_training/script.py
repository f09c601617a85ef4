"""Recipes as files: `main(recipe)` at a script's end, and `load_recipe` for whoever runs it from elsewhere."""

import contextlib
import importlib.util
import multiprocessing
import sys
import traceback
from collections.abc import Generator
from contextvars import ContextVar
from pathlib import Path

from upscale_training.errors import RecipeError
from upscale_training.recipe import Recipe

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
        with _importing_beside(path):
            _executed(path)
    except Exception as error:  # a recipe is a person's own program: anything may happen in it
        raise RecipeError(f"{_place(path, error)}: {type(error).__name__}: {error}") from error
    finally:
        _loading.reset(token)
    if len(found) != 1:
        raise RecipeError(f"{path}: calls main(Recipe(...)) {len(found)} times; once is right")
    return found[0]


def _executed(path: Path) -> None:
    name = f"upscale_recipe_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python script; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses in the recipe look themselves up there
    spec.loader.exec_module(module)


@contextlib.contextmanager
def _importing_beside(path: Path) -> Generator[None]:
    """Recipes may import modules that lie beside them, as programs may."""
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _place(path: Path, error: BaseException) -> str:
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if Path(frame.filename) == path]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        lines.append(error.lineno)
    return f"{path}:{lines[-1]}" if lines else str(path)
