"""In which arithmetic a run computes: fp32, bf16 where the device has units for it, or fp16 with a scaled loss."""

import contextlib
from collections.abc import Generator
from typing import Any

import torch
from torch import Tensor

from upscale.engines.machine import has_bf16
from upscale_training.errors import RecipeError
from upscale_training.recipe import Precision

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def chosen(precision: Precision, device: torch.device) -> Precision:
    """What `auto` means on this device. Raises RecipeError for fp16 on a CPU, where it is slower than fp32."""
    if precision == "fp16" and device.type == "cpu":
        raise RecipeError("fp16 does not train on a CPU; use bf16 or fp32")
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    return "bf16" if device.type == "cpu" and has_bf16() else "fp32"


class Arithmetic:
    """Automatic mixed precision on one device. fp16's small gradients are scaled up (Micikevicius et al. 2018,
    arXiv:1710.03740); the scale is found by trial, so single steps are skipped."""

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self.precision = chosen(precision, device)
        self.device = device
        self._scaler = torch.amp.GradScaler(device.type, enabled=self.precision == "fp16", init_scale=2.0**12)

    @contextlib.contextmanager
    def autocast(self) -> Generator[None]:
        """Convolutions and products inside are computed in the chosen precision; parameters stay fp32."""
        kind = _TYPES.get(self.precision)
        with torch.autocast(self.device.type, dtype=kind, enabled=kind is not None):
            yield

    @property
    def scaler(self) -> torch.amp.GradScaler | None:
        """fp16's, for a second player who shares it; None in other arithmetics."""
        return self._scaler if self._scaler.is_enabled() else None

    @property
    def scale(self) -> float:
        return float(self._scaler.get_scale())

    def scaled(self, loss: Tensor) -> Tensor:
        return self._scaler.scale(loss)

    def unscale(self, optimizer: torch.optim.Optimizer) -> None:
        """Divides the gradients by the scale, so that they can be averaged and clipped."""
        self._scaler.unscale_(optimizer)

    def step(self, optimizer: torch.optim.Optimizer, finite: bool) -> None:
        """An optimizer's step if the gradients are finite. Call after `unscale`."""
        if finite:
            self._scaler.step(optimizer)

    def ended(self) -> None:
        """Finds the next scale, once all optimizers of a step have stepped."""
        self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        return self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._scaler.load_state_dict(state)
