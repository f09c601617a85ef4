"""The engine for CUDA, MPS and any CPU: PyTorch, channels last, one dense block at a time.

In fp16 and bf16 the trunk's convolutions are computed in half precision; what is handed on between dense blocks, the first,
the trunk's last and the picture's last convolution, and every sum are fp32. For results of more than 8 bits the whole tail
is fp32 as well.
"""

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from upscale.bands import Plan, Step
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress
from upscale.engines.run import run_bands
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats, is_deep
from upscale.nets import Network, build
from upscale.rows import unshuffled
from upscale.stages import Stage, stages

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEVELS: dict[Any, int] = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}


class TorchEngine:
    """See `Engine`. Global settings of torch (threads, cudnn.benchmark) are left as they are."""

    name = "torch"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        if precision not in TYPES:
            raise EngineError(f"unknown precision {precision!r}; use fp32, bf16 or fp16")
        self.spec = checkpoint.spec
        self.device = device
        self.precision = precision
        self.version: str = torch.__version__.split("+")[0]
        self._device = usable(device)
        self._exact = _network(checkpoint, self._device)
        self._networks: dict[bool, Network] = {}

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        _, height = self.spec.feature_size(width, height)
        backend, rows = self._backend(deep=is_deep(dtype)), unshuffled(rows, self.spec.unshuffle)
        bands = run_bands(backend, stages(self.spec), height, plan, rows, dtype, progress)
        while True:
            try:
                with torch.inference_mode():
                    band = next(bands, None)
            except torch.OutOfMemoryError as error:
                raise OutOfMemoryError(f"{self.device} is out of memory") from error
            if band is None:
                return
            yield band

    def close(self) -> None:
        self._networks.clear()
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _backend(self, deep: bool) -> "Bands":
        return Bands(self._network(deep), self._device, self.precision)

    def _network(self, deep: bool) -> Network:
        if self.precision == "fp32":
            return self._exact
        if deep not in self._networks:
            network = copy.deepcopy(self._exact)
            for layer in network.inner(tail=not deep):
                layer.to(TYPES[self.precision])
            self._networks[deep] = network
        return self._networks[deep]


class Bands:
    """The backend of run_bands: rows are (rows, width, channels) tensors, which are channels-last pictures in disguise."""

    def __init__(self, network: Network, device: torch.device, precision: str) -> None:
        self._network, self._device, self._precision = network, device, precision

    def upload(self, rows: Floats) -> Tensor:
        tensor = torch.as_tensor(np.ascontiguousarray(rows))
        if self._device.type != "cuda":
            return tensor.to(self._device)
        return tensor.pin_memory().to(self._device, non_blocking=True)

    def join(self, parts: list[Tensor]) -> Tensor:
        return torch.cat(parts)

    def crop(self, rows: Tensor, start: int, stop: int) -> Tensor:
        return rows[start:stop]

    def copy(self, rows: Tensor) -> Tensor:
        return rows.clone()

    def compute(self, stage: Stage, step: Step, main: Tensor, sides: list[Tensor]) -> Tensor:
        x, others = _picture(main), [_picture(side) for side in sides]
        match stage.role:
            case "head":
                y = self._network.head(x, step.top, step.bottom)
            case "unit":
                y = self._network.unit(stage.unit, x, others[0] if others else None, step.top, step.bottom)
            case "tail":
                y = self._network.tail(x, others[0], step.top, step.bottom)
        return y[0].permute(1, 2, 0)

    def download(self, rows: Tensor, dtype: npt.DTypeLike) -> Array:
        return finished(rows, dtype, self._precision)


def finished(rows: Tensor, dtype: npt.DTypeLike, precision: str) -> Array:
    """Clipped, rounded on the device, and brought to numpy. Raises NotFiniteError."""
    if not bool(torch.isfinite(rows).all()):
        raise NotFiniteError(f"the network returned NaN or infinity in {precision}")
    levels = _LEVELS.get(np.dtype(dtype))
    clipped = rows.clamp(0, 1)
    if levels is None:
        half = np.dtype(dtype) == np.float16 and clipped.device.type != "cpu"  # half the way to the processor
        return (clipped.half() if half else clipped).cpu().numpy()
    if levels == 255:
        return (clipped * 255).round_().to(torch.uint8).cpu().numpy()
    return (clipped * levels).round_().to(torch.int32).cpu().numpy().astype(np.uint16)


def usable(device: str) -> torch.device:
    """Raises EngineError where torch does not know the device or cannot use it on this machine."""
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise EngineError(f"unknown device {device!r}; use cpu, cuda, cuda:N or mps") from error
    if found.type == "cuda" and (found.index or 0) >= torch.cuda.device_count():
        raise EngineError(f"{device}: torch finds {torch.cuda.device_count()} CUDA devices here; use --device cpu")
    if found.type == "mps" and not torch.backends.mps.is_available():
        raise EngineError("mps is not available here; use --device cpu")
    if found.type not in ("cpu", "cuda", "mps"):
        raise EngineError(f"{device}: only cpu, cuda and mps are supported")
    return found


def _picture(rows: Tensor) -> Tensor:
    """(rows, width, channels) as (1, channels, rows, width) in channels-last memory, without a copy."""
    return rows.permute(2, 0, 1).unsqueeze(0)


def _network(checkpoint: Checkpoint, device: torch.device) -> Network:
    network: Any = build(checkpoint.spec).eval().requires_grad_(False)
    network.load_state_dict({key: torch.tensor(value) for key, value in checkpoint.arrays.items()})
    return network.to(device, memory_format=torch.channels_last)
