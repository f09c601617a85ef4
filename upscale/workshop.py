"""From what was asked for to what does it: models, engines, places of results, lists of what is finished."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path

from upscale import __version__, zoo
from upscale.chain import Settings
from upscale.checkpoint import Checkpoint, digest
from upscale.engines.choose import Wish
from upscale.engines.machine import return_large_blocks
from upscale.enlarge import Enlarger
from upscale.manifest import BusyError, Manifest
from upscale.media.folder import Places, Task
from upscale.media.formats import BY_SUFFIX, Format
from upscale.media.isolated.decoder import Decoder
from upscale.media.video.containers import CONTAINERS
from upscale.model import open_model
from upscale.options import Options
from upscale.sizes import Size
from upscale.work import Work

Say = Callable[[str], None]


class Workshop:
    """Opens what is needed when it is needed: a model for pictures, one for videos, which is the same if one was named."""

    def __init__(self, options: Options, decoder: Decoder, say: Say, warn: Say) -> None:
        self._options, self._decoder, self._say, self._warn = options, decoder, say, warn

    @property
    def _factor(self) -> float | None:
        """How much all results are enlarged; None where that is each picture's own affair, or the model's."""
        return self._options.size.scale if self._options.size else None

    @cached_property
    def _picture_model(self) -> str:
        named = self._options.model
        return zoo.default(self._factor).name if named is None else zoo.suited(named, self._factor)

    @cached_property
    def _picture_checkpoint(self) -> Checkpoint:
        return open_model(self._picture_model, self._options.denoise)

    @cached_property
    def _video_checkpoint(self) -> Checkpoint:
        if self._options.model is not None:
            return self._picture_checkpoint
        return open_model(zoo.default_for_videos(self._factor).name, None)

    @cached_property
    def size(self) -> Size:
        return self._options.size or Size(scale=self._picture_checkpoint.spec.scale)

    def places(self) -> Places:
        """Where results go. `format` is the pictures' or the videos' affair, by its name."""
        options = self._options
        suffix = f".{options.format}"
        return Places(
            options.out,
            self.size.tag,
            self._picture_checkpoint.spec.name,
            _format(options),
            self._picture_checkpoint.spec.name
            if options.model is not None
            else zoo.default_for_videos(self._factor).name,
            CONTAINERS.get(suffix),
            options.video.codec,
            options.name,
            options.recursive,
            options.overwrite,
            options.resume,
        )

    @cached_property
    def picture_work(self) -> Work:
        return self._work(self._picture_checkpoint)

    @cached_property
    def video_work(self) -> Work:
        if self._options.format is not None and _format(self._options) is not None:
            self._warn(f"--format {self._options.format} is for pictures; videos keep their container")
        if self._options.model is not None:
            return replace(self.picture_work, video=self._options.video)
        model = zoo.default_for_videos(self._factor)
        self._say(f"{model.name} is for {model.good_for}; --model x4plus paints more")
        return replace(self._work(self._video_checkpoint), video=self._options.video)

    def manifests(self, found: Sequence[Task], stack: contextlib.ExitStack) -> dict[Path, Manifest]:
        """The lists of what is finished, kept for folders, for several inputs, and where --resume asks for it."""
        options = self._options
        batch = options.resume or len(found) > 1 or any(Path(text).is_dir() for text in options.inputs)
        roots = {task.root for task in found if task.root is not None and task.error is None and not task.stdin}
        if not batch or not roots:
            return {}
        manifests: dict[Path, Manifest] = {}
        for real, names in _by_place(roots).items():
            try:
                manifest = Manifest.open(real, self._settings(found))
            except BusyError as error:
                if options.resume:
                    raise
                self._warn(f"{error}; this run keeps no list there")  # and can do without, but not be resumed
                continue
            stack.callback(_close, manifest, self._warn)
            manifests |= dict.fromkeys(names, manifest)
        return manifests

    def _settings(self, found: Sequence[Task]) -> dict[str, object]:
        options = self._options
        videos = any(task.video for task in found)
        return {
            "version": __version__,
            "model": digest(self._picture_checkpoint),
            "size": self.size.tag,
            "look": [options.strength, options.color_fix, options.tta, options.wrap, options.alpha],
            "file": [options.quality, options.background],
            "arithmetic": [options.device, options.engine, options.precision],
            **(
                {"video": [digest(self._video_checkpoint), *map(str, asdict(options.video).values())]} if videos else {}
            ),
        }

    def _work(self, checkpoint: Checkpoint) -> Work:
        options = self._options
        settings = Settings(
            options.tile, options.wrap, options.color_fix, options.strength, options.tta, options.alpha == "bleed"
        )
        enlarger = Enlarger(checkpoint, Wish(options.engine, options.device, options.precision), settings, self._warn)
        engine = enlarger.engine
        self._say(
            f"{checkpoint.spec.name} on {engine.device} by {engine.name} in {engine.precision} ({enlarger.reason})"
        )
        return Work(
            enlarger,
            self._decoder,
            self.size,
            _format(options),
            options.quality,
            options.background,
            options.overwrite,
            options.resume,
            stdout=getattr(sys.stdout, "buffer", None),
            report=self._say,
            before_large=return_large_blocks,
        )


def _format(options: Options) -> Format | None:
    return None if options.format is None else BY_SUFFIX.get(f".{options.format}")


def _by_place(roots: Iterable[Path]) -> dict[Path, list[Path]]:
    """Folders by what they really are: one may have been given under several names."""
    found: dict[Path, list[Path]] = {}
    for root in sorted(roots):
        found.setdefault(Path(os.path.realpath(root)), []).append(root)
    return found


def _close(manifest: Manifest, warn: Say) -> None:
    manifest.close()
    for warning in manifest.warnings:
        warn(warning)
