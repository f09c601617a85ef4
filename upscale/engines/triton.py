"""The engine for CUDA with kernels of our own: PyTorch's, but for the trunk of an RRDBNet, see kernels.py."""

import torch
from torch import Tensor

from upscale.bands import Step
from upscale.checkpoint import Checkpoint
from upscale.engines.kernels import DenseBlocks
from upscale.engines.race import fits_kernels
from upscale.engines.torch import TYPES, Bands, TorchEngine
from upscale.errors import EngineError
from upscale.nets import Network
from upscale.stages import Stage


class TritonEngine(TorchEngine):
    """See `Engine`. In fp16 or bf16; what is handed on and every sum are fp32, as in TorchEngine."""

    name = "triton"

    def __init__(self, checkpoint: Checkpoint, device: str, precision: str) -> None:
        if precision == "fp32" or not fits_kernels(checkpoint.spec):
            raise EngineError(
                f"{checkpoint.spec.name}: triton computes the usual RRDBNets in fp16 and bf16; use --engine torch"
            )
        super().__init__(checkpoint, device, precision)
        self._trunk = DenseBlocks(checkpoint.spec, checkpoint.arrays, self._device, TYPES[precision])

    def _backend(self, deep: bool) -> Bands:
        return _Bands(self._network(deep), self._device, self.precision, self._trunk)


class _Bands(Bands):
    """The same with the trunk's own kernels."""

    def __init__(self, network: Network, device: torch.device, precision: str, trunk: DenseBlocks) -> None:
        super().__init__(network, device, precision)
        self._trunk = trunk

    def compute(self, stage: Stage, step: Step, main: Tensor, sides: list[Tensor]) -> Tensor:
        if stage.role != "unit":
            return super().compute(stage, step, main, sides)
        return self._trunk.unit(stage.unit, main, sides[0] if sides else None, step.top, step.bottom)
