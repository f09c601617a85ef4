"""Foreign networks, opened through spandrel and run in overlapping windows, since nobody knows their inside.

Neighboring windows see `HALO` pixels beyond their own and are blended linearly where they overlap, so the result differs
a little from the whole's; the networks of this repository do not need this.
"""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress
from upscale.engines.torch import finished, usable
from upscale.errors import EngineError, ModelError, OutOfMemoryError
from upscale.files import sha256_of
from upscale.image import Array, Floats
from upscale.rows import RowReader
from upscale.spec import ModelSpec

HALO = 32
"""Pixels that a window sees beyond its own. The inner half of them is blended with the neighbor's."""

PATH_NOTE = "foreign.path"
_TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def open_foreign(path: Path) -> Checkpoint:
    """What spandrel makes of a file, as a Checkpoint without arrays. Raises ModelError."""
    descriptor = _descriptor(path)
    multiple = int(descriptor.size_requirements.multiple_of)
    spec = ModelSpec(path.stem, "foreign", int(descriptor.scale), unshuffle=multiple)
    notes = {PATH_NOTE: str(path), "sha256": sha256_of(path), "architecture": str(descriptor.architecture.name)}
    return Checkpoint(spec, {}, notes)


def _descriptor(path: Path) -> Any:
    try:
        # spandrel is typed, but does not say so
        from spandrel import (  # pyright: ignore[reportMissingTypeStubs]
            ImageModelDescriptor,
            ModelLoader,
            UnsupportedModelError,
        )
    except ImportError as error:
        remedy = "pip install 'upscale[all-archs]' adds 40 more"
        raise ModelError(f"{path}: neither an RRDBNet nor an SRVGGNetCompact; {remedy}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch deprecates in spandrel's code is no user's business
            descriptor = ModelLoader(device="cpu").load_from_file(path)
    except UnsupportedModelError as error:
        raise ModelError(f"{path}: an architecture that neither this program nor spandrel knows") from error
    except (RuntimeError, ValueError, KeyError, OSError) as error:
        raise ModelError(f"{path}: spandrel cannot open it ({str(error).splitlines()[0][:100]})") from error
    if not isinstance(descriptor, ImageModelDescriptor) or descriptor.input_channels != 3:
        raise ModelError(f"{path}: not a network from RGB pictures to RGB pictures")
    return descriptor


class WindowsEngine:
    """See `Engine`; `plan.rows` is the edge of a window in pixels, without its halo."""

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        self.spec = checkpoint.spec
        self.device, self.precision = device, precision
        self.version = torch.__version__.split("+")[0]
        self._device = usable(device)
        descriptor = _descriptor(Path(checkpoint.notes[PATH_NOTE]))
        if (precision == "fp16" and not descriptor.supports_half) or (
            precision == "bf16" and not descriptor.supports_bfloat16
        ):
            raise EngineError(f"{self.spec.name}: this architecture does not work in {precision}; use --precision fp32")
        self._network: Any = descriptor.to(self._device).to(_TYPES[precision]).eval()

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        windows = _Windows(width, height, plan.rows, self.spec.multiple, self.spec.scale)
        for strip, done in windows.blended(rows, self._enlarged):
            if progress:
                progress(done)
            yield finished(strip, dtype, self.precision)

    def close(self) -> None:
        self._network = None

    def _enlarged(self, window: Floats) -> Tensor:
        """(h, w, 3) → (3, scale·h, scale·w) float32 on the CPU."""
        picture = torch.as_tensor(np.ascontiguousarray(window)).permute(2, 0, 1).unsqueeze(0)
        try:
            with torch.inference_mode():
                return self._network(picture.to(self._device, _TYPES[self.precision]))[0].float().cpu()
        except torch.OutOfMemoryError as error:
            raise OutOfMemoryError(f"{self.device} is out of memory") from error


class _Windows:
    """The geometry of windows over one picture, and their blending from top to bottom."""

    def __init__(self, width: int, height: int, edge: int, multiple: int, scale: int) -> None:
        self._width, self._height, self._scale = width, height, scale
        self._halo = -(-HALO // multiple) * multiple
        edge = max(2 * self._halo, edge // multiple * multiple)
        self._columns, self._rows = cuts(width, edge), cuts(height, edge)

    def blended(self, rows: Iterator[Floats], enlarge: Callable[[Floats], Tensor]) -> Iterator[tuple[Tensor, float]]:
        """Finished strips (n, scale·width, 3) and the share of the picture that is done."""
        reader, s = RowReader(rows), self._scale
        held, held_from = np.empty((0, self._width, 3), np.float32), 0
        carried = torch.empty((0, self._width * s, 3))
        for start, stop in self._rows:
            low, high = max(0, start - self._halo), min(self._height, stop + self._halo)
            missing = high - held_from - held.shape[0]  # none where the halo before has reached the rim already
            held, held_from = held[low - held_from :], low
            if missing:
                held = np.concatenate((held, reader.read(missing)))
            weight = profile(self._height, start, stop, self._halo, s)
            first = max(0, start - self._halo // 2)
            strip = (self._strip(held, enlarge) * weight[:, None, None])[(first - low) * s :]
            strip[: carried.shape[0]] += carried
            final = stop if stop == self._height else stop - self._halo // 2
            yield strip[: (final - first) * s], stop / self._height
            carried = strip[(final - first) * s : (stop + self._halo // 2 - first) * s]

    def _strip(self, held: Floats, enlarge: Callable[[Floats], Tensor]) -> Tensor:
        """One row of windows, blended from left to right: (scale·rows, scale·width, 3)."""
        s = self._scale
        total = torch.zeros((held.shape[0] * s, self._width * s, 3))
        for start, stop in self._columns:
            low, high = max(0, start - self._halo), min(self._width, stop + self._halo)
            window = enlarge(held[:, low:high]).permute(1, 2, 0)
            total[:, low * s : high * s] += window * profile(self._width, start, stop, self._halo, s)[None, :, None]
        return total


def cuts(length: int, edge: int) -> list[tuple[int, int]]:
    """[0, length) in pieces of `edge`; what is left at the end joins the last piece where it is less than half of one."""
    starts = [start for start in range(0, length, edge) if start == 0 or length - start >= edge // 2]
    return list(zip(starts, [*starts[1:], length], strict=True))


def profile(length: int, start: int, stop: int, halo: int, scale: int) -> Tensor:
    """Weights of a window's output pixels along one axis, for its own [start, stop) and its halo.

    1 inside, falling linearly to 0 over `halo` pixels around each border that is not the picture's; neighbors add up to 1.
    """
    low, high = max(0, start - halo), min(length, stop + halo)
    place = (torch.arange(low * scale, high * scale) + 0.5) / scale
    weight = torch.ones_like(place)
    if start > 0:
        weight = weight * ((place - (start - halo / 2)) / halo).clamp(0, 1)
    if stop < length:
        weight = weight * ((stop + halo / 2 - place) / halo).clamp(0, 1)
    return weight
