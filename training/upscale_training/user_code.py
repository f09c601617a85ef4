"""Python files that people write (recipes, degradations), executed as modules; what is wrong in them is told by its line."""

import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

from upscale_training.errors import RecipeError


def executed(path: Path, name: str) -> ModuleType:
    """The file as a module called `name`, with modules that lie beside it at hand. Raises RecipeError for whatever is wrong."""
    try:
        with _importing_beside(path):
            return _executed(path, name)
    except Exception as error:  # a person's own program: anything may happen in it
        raise RecipeError(f"{_place(path, error)}: {type(error).__name__}: {error}") from error


def _executed(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RecipeError(f"{path}: not a Python script; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _importing_beside(path: Path) -> Generator[None]:
    """As for a program, the modules of its own folder."""
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
