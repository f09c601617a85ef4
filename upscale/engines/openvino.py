"""The CPU engine on x86-64: OpenVINO, with its graphs built directly from numpy weights. Needs no torch.

One graph per stage and shape of band, compiled when first met. In bf16 the units of the trunk compute their convolutions
in bf16 but hand features on in fp32, and every head, every last convolution and every sum around a block is fp32.
"""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from upscale.bands import Plan, Step
from upscale.checkpoint import Checkpoint
from upscale.engines.graph import build_stage
from upscale.engines.run import run_bands, unshuffled
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats, from_float
from upscale.stages import Stage, stages

Precision = Literal["fp32", "bf16"]

_POLL_MS = 100
"""How often a running graph is left to look for Ctrl-C."""

_KEPT_GRAPHS = 8
"""Shapes of band whose graphs are kept, per stage: a folder of pictures of a few sizes compiles once."""


class OpenVinoEngine:
    """See `Engine`. Threads are OpenVINO's own choice: one per core."""

    name = "openvino"
    device = "cpu"

    def __init__(self, checkpoint: Checkpoint, precision: Precision) -> None:
        try:
            import openvino
        except ImportError as error:
            raise EngineError("the openvino package is not installed; use --engine torch") from error
        self.spec = checkpoint.spec
        self.precision: Precision = precision
        self.version: str = openvino.__version__.split("-")[0]
        self._weights = checkpoint.arrays
        self._core: Any = openvino.Core()
        self._requests: dict[str, OrderedDict[Any, Any]] = {}
        self._deep = False

    def run(
        self, rows: Iterator[Floats], width: int, height: int, plan: Plan, dtype: npt.DTypeLike
    ) -> Iterator[Array]:
        self._deep = np.dtype(dtype) != np.uint8
        factor = self.spec.unshuffle
        chain = stages(self.spec, plan.group)
        return run_bands(self, chain, height // factor, plan, unshuffled(rows, factor), dtype)

    def upload(self, rows: Floats) -> Floats:
        return np.ascontiguousarray(rows, dtype=np.float32)

    def join(self, parts: list[Floats]) -> Floats:
        return np.concatenate(parts)

    def crop(self, rows: Floats, start: int, stop: int) -> Floats:
        return rows[start:stop]

    def compute(self, stage: Stage, step: Step, main: Floats, sides: list[Floats]) -> Floats:
        request = self._request(stage, step, main.shape, [side.shape for side in sides])
        inputs = [part[np.newaxis] for part in (main, *sides)]
        request.start_async(dict(enumerate(inputs)), share_inputs=True)
        try:
            while not request.wait_for(_POLL_MS):
                pass
        except BaseException:
            request.cancel()
            raise
        result: Floats = request.get_output_tensor(0).data[0]
        return result.copy()  # the tensor belongs to the request, which computes the next band into it

    def download(self, rows: Floats, dtype: npt.DTypeLike) -> Array:
        if not np.isfinite(rows).all():
            raise NotFiniteError(f"{self.spec.name}: the network returned NaN or infinity in {self.precision}")
        return from_float(rows, dtype)

    def close(self) -> None:
        self._requests.clear()

    def _request(self, stage: Stage, step: Step, main: tuple[int, ...], sides: list[tuple[int, ...]]) -> Any:
        kept = self._requests.setdefault(f"{stage.role}{stage.first}-{stage.last}", OrderedDict())
        key = (main, step.top, step.bottom, self._deep)
        if key in kept:
            kept.move_to_end(key)
            return kept[key]
        model = build_stage(self.spec, self._weights, stage, step, main, sides, self._low(stage))
        # The graphs carry their precision in their own types, but for the hint that lets units run in bf16.
        hint = "bf16" if self.precision == "bf16" and stage.role == "units" else "f32"
        config = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "LATENCY"}
        try:
            kept[key] = self._core.compile_model(model, "CPU", config).create_infer_request()
        except MemoryError as error:
            raise OutOfMemoryError("not enough memory for a band") from error
        if len(kept) > _KEPT_GRAPHS:
            kept.popitem(last=False)
        return kept[key]

    def _low(self, stage: Stage) -> bool:
        """Whether a tail's inner convolutions are bf16: for 8-bit results alone, since bf16 has too few levels for more."""
        return self.precision == "bf16" and stage.role == "tail" and not self._deep
