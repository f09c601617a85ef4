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
from upscale.engines.recorded import Record, Recording, cuda_graph, recording
from upscale.engines.run import run_bands
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats, is_deep
from upscale.nets import Network, build
from upscale.rows import RowReader, unshuffled
from upscale.stages import Stage, stages

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_Kind = tuple[int, int, Plan, np.dtype[Any]]
"""What all runs have in common that can share a recording: width and height in feature pixels, plan, and dtype of the result."""

_RECORDED = 1 << 20
"""Feature pixels up to which runs are recorded; of larger pictures a kernel takes longer than its start."""

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
        self._record: Record | None = cuda_graph if self._device.type == "cuda" else None
        self._latest: _Kind | None = None
        self._recording: Recording | None = None

    def run(
        self,
        rows: Iterator[Floats],
        width: int,
        height: int,
        plan: Plan,
        dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:
        width, height = self.spec.feature_size(width, height)
        backend, rows = self._backend(deep=is_deep(dtype)), unshuffled(rows, self.spec.unshuffle)
        bands = self._bands(backend, rows, (width, height, plan, np.dtype(dtype)), progress)
        while True:
            try:
                with torch.inference_mode():
                    band = next(bands, None)
            except torch.OutOfMemoryError as error:
                self._latest = self._recording = None
                raise OutOfMemoryError(f"{self.device} is out of memory") from error
            if band is None:
                return
            yield band

    def close(self) -> None:
        self._networks.clear()
        self._latest = self._recording = None
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _backend(self, deep: bool) -> "Bands":
        return Bands(self._network(deep), self._device, self.precision)

    def _bands(
        self, backend: "Bands", rows: Iterator[Floats], kind: _Kind, progress: Progress | None
    ) -> Iterator[Array]:
        _, height, plan, dtype = kind
        recording = self._recorded(backend, kind)
        if recording is None:
            yield from run_bands(backend, stages(self.spec), height, plan, rows, dtype, progress)
            return
        result = recording.rows(RowReader(rows).read(height))
        if result is None:
            raise not_finite(self.precision)
        if progress:
            progress(1.0)
        step = plan.tail_rows * self.spec.scale * self.spec.unshuffle
        for start in range(0, result.shape[0], step):
            yield on_host(result[start : start + step], dtype)

    def _recorded(self, backend: "Bands", kind: _Kind) -> Recording | None:
        """The recording for such pictures, made when a second one comes: one alone would only pay for it."""
        width, height, plan, dtype = kind
        if self._record is None or width * height > _RECORDED:
            return None
        if kind != self._latest:
            self._latest, self._recording = kind, None  # its kernels may use memory that another run makes larger
            return None
        if self._recording is None:
            size = height, width, 3 * self.spec.unshuffle**2
            try:
                self._recording = recording(
                    self._record, backend, rounded, stages(self.spec), size, plan, dtype, self._device
                )
            except (
                RuntimeError,
                EngineError,
            ):  # torch has no other word for it: driver, library or memory are in the way
                self._record = None
        return self._recording

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
        raise not_finite(precision)
    return on_host(rounded(rows, dtype), dtype)


def rounded(rows: Tensor, dtype: npt.DTypeLike) -> Tensor:
    """Clipped and rounded on the device: uint8, int32 for uint16, else floats, which for float16 are so short as makes their way
    to the processor half as long."""
    levels = _LEVELS.get(np.dtype(dtype))
    clipped = rows.clamp(0, 1)
    if levels is None:
        short = np.dtype(dtype) == np.float16 and clipped.device.type != "cpu"
        return clipped.half() if short else clipped
    return (clipped * levels).round_().to(torch.uint8 if levels == 255 else torch.int32)


def on_host(rows: Tensor, dtype: npt.DTypeLike) -> Array:
    found: Array = rows.cpu().numpy()
    return found.astype(np.uint16) if np.dtype(dtype) == np.uint16 else found


def not_finite(precision: str) -> NotFiniteError:
    return NotFiniteError(f"the network returned NaN or infinity in {precision}")


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
