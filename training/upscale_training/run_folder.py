"""A run's folder: what lies where, and checkpoints that are whole or not there.

recipe.py  log.jsonl  report.html  model.safetensors  pictures/  tensorboard/  checkpoints/00005000.ckpt
"""

import contextlib
import os
import re
import shutil
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from upscale.errors import OutputError
from upscale.files import clear_stale, lock, replacing
from upscale_training.errors import RunError

_BESIDE = ("degradation.py", "degradation.npz")
_CHECKPOINT = re.compile(r"(\d{8})\.ckpt")

State = dict[str, Any]
"""Everything that a resumed run needs: tensors and plain values alone, so that a file can be read without running code."""


@contextlib.contextmanager
def writing(path: Path) -> Generator[None]:
    """OSErrors inside become an OutputError that names `path`: most often the disk is full."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{path}: cannot be written ({error.strerror or error}); make room, then --resume") from error


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths below one folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.py"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def model(self) -> Path:
        return self.path / "model.safetensors"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def pictures(self) -> Path:
        return self.path / "pictures"

    @property
    def tensorboard(self) -> Path:
        return self.path / "tensorboard"

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    def checkpoints(self) -> list[tuple[int, Path]]:
        """(step, file), the latest last."""
        found = self._checkpoints.iterdir() if self._checkpoints.is_dir() else ()
        matches = [(match, path) for path in found if (match := _CHECKPOINT.fullmatch(path.name))]
        return sorted((int(match[1]), path) for match, path in matches)

    def save(self, step: int, state: State, keep: int, spare: int | None = None) -> None:
        """Writes the checkpoint of `step`, then removes all but the `keep` latest and that of step `spare`; also those of later
        steps, from which a run has rolled back.

        Raises OutputError, for a full disk too; then the older ones are still there.
        """
        try:
            self._checkpoints.mkdir(parents=True, exist_ok=True)
            with replacing(self._checkpoints / f"{step:08d}.ckpt") as temporary, temporary.open("wb") as file:
                torch.save(state, file)
                file.flush()
                os.fsync(file.fileno())
        except (OSError, RuntimeError) as error:  # torch's writer has its own idea of a full disk
            why = getattr(error, "strerror", None) or str(error).splitlines()[0]
            raise OutputError(
                f"{self._checkpoints}: no checkpoint of step {step} ({why}); make room, then --resume"
            ) from error
        found = self.checkpoints()
        void = [(old, path) for old, path in found if old > step]
        for old, path in void + [one for one in found if one not in void][:-keep]:
            if old != spare:
                path.unlink(missing_ok=True)

    def load(self, path: Path) -> State:
        """Raises RunError for a damaged file."""
        try:
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler meets damaged bytes with errors of almost any type
            raise RunError(
                f"{path}: damaged ({type(error).__name__}); delete it, and the one before is used"
            ) from error
        if not isinstance(state, Mapping):
            raise RunError(f"{path}: not a checkpoint of a run; delete it, and the one before is used")
        return dict(cast("Mapping[str, Any]", state))

    def latest(self) -> State:
        """The latest checkpoint. Raises RunError where there is none or it is damaged."""
        found = self.checkpoints()
        if not found:
            raise RunError(f"{self.path}: no checkpoint to go on from; start without --resume")
        return self.load(found[-1][1])

    def refuse_if_taken(self, recipe: Path, resume: bool, overwrite: bool) -> None:
        """Raises RunError where the folder holds what must not be lost, or nothing to go on with. `recipe`: that is to be run."""
        if not resume and not overwrite and (self.checkpoints() or self.model.exists()):
            raise RunError(f"{self.path}: holds a run already; --resume goes on with it, --overwrite begins anew")
        foreign = self.recipe.exists() and not self.log.exists() and self.recipe.read_bytes() != recipe.read_bytes()
        if not resume and not overwrite and foreign:
            raise RunError(f"{self.path}: holds a recipe.py of something else; choose another -o, or --overwrite")
        if resume and not self.checkpoints():
            raise RunError(f"{self.path}: no checkpoint to go on from; start without --resume")

    @contextlib.contextmanager
    def begun(self, recipe: Path, resume: bool, overwrite: bool) -> Generator[None]:
        """Makes the folder ours while the block lasts, with a copy of the recipe and of files that it names beside itself.

        Raises RunError where another run is in it or has left something.
        """
        self.refuse_if_taken(recipe, resume, overwrite)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise OutputError(f"{self.path}: cannot be written ({error.strerror}); choose another -o") from error
        try:
            if lock(handle) is False:
                raise RunError(f"{self.path}: another run is at work in it; wait for it or choose another -o")
            if not resume and self.log.exists():  # not before the folder is ours: another run may live in it
                self._cleared()
            self.pictures.mkdir(exist_ok=True)
            clear_stale(self._checkpoints)
            if not (self.recipe.exists() and self.recipe.samefile(recipe)):
                self._take_over(recipe)
            yield
        finally:
            os.close(handle)

    def _take_over(self, recipe: Path) -> None:
        """Copies the script, and `degradation.py` or `.npz` beside it where it names them, so that it can be run from here."""
        text = recipe.read_bytes()
        beside = [
            recipe.with_name(name) for name in _BESIDE if name.encode() in text and recipe.with_name(name).is_file()
        ]
        with writing(self.recipe):
            for file in (*beside, recipe):
                with replacing(self.path / (self.recipe.name if file is recipe else file.name)) as temporary:
                    shutil.copyfile(file, temporary)

    def _cleared(self) -> None:
        """Removes what a run has made, and nothing else that may lie in the folder."""
        for folder in (self._checkpoints, self.pictures, self.tensorboard):
            shutil.rmtree(folder, ignore_errors=True)
        for file in (self.log, self.report, self.model):
            file.unlink(missing_ok=True)
