"""Python files that people write (recipes, degradations), executed as modules; what is wrong in them is told by its line."""

import contextlib
import importlib.util
import os
import sys
import sysconfig
import traceback
from collections.abc import Generator
from pathlib import Path
from types import ModuleType

from upscale import errors
from upscale.errors import UpscaleError
from upscale_training.errors import RecipeError

_INSTALLED = [Path(sysconfig.get_path(kind)) for kind in ("stdlib", "purelib", "platlib")]
_OURS = [Path(file).resolve().parent for file in (errors.__file__, __file__)]
_NOT_THEIRS = ("<", *(f"{folder}{os.sep}" for folder in (*_INSTALLED, *_OURS)))
"""How the names of files begin that no user wrote."""


def executed(path: Path, name: str) -> ModuleType:
    """The file as a module called `name`, with modules that lie beside it at hand. Raises RecipeError for whatever is wrong."""
    try:
        with _importing_beside(path):
            return _executed(path, name)
    except (Exception, SystemExit) as error:  # a person's own program: anything may happen in it
        raise RecipeError(f"{_place(path, error)}: {said(error)}") from error


@contextlib.contextmanager
def calling(name: str) -> Generator[None]:
    """Whatever a person's function raises inside, exits too, becomes a RecipeError that names the line in their file, or `name`
    where no line is theirs. Our own errors go through."""
    try:
        yield
    except UpscaleError:
        raise
    except (Exception, SystemExit) as error:  # anything may happen in it
        frames = traceback.extract_tb(error.__traceback__)
        theirs = [one for one in frames if not one.filename.startswith(_NOT_THEIRS)][-1:]
        place = [f"{one.filename}:{one.lineno}: {one.name}" for one in theirs] or [name]
        raise RecipeError(f"{place[0]} fails with {said(error)}") from error


def said(error: BaseException) -> str:
    """An error in a few words: its type, and what it says."""
    if isinstance(error, SystemExit):
        return f"sys.exit({'' if error.code is None else repr(error.code)}), which would end the program; leave it out"
    return f"{type(error).__name__}: {error}"


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
    frames, absolute = traceback.extract_tb(error.__traceback__), Path.cwd() / path  # as Python names it
    lines = [frame.lineno for frame in frames if Path(frame.filename) == absolute]
    if isinstance(error, SyntaxError) and error.lineno is not None:
        lines.append(error.lineno)
    return f"{path}:{lines[-1]}" if lines else str(path)
