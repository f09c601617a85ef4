"""Which engine, device and precision: what was asked for where it exists, else the fastest that this machine has."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from upscale.checkpoint import Checkpoint
from upscale.engines import Engine, amx_library
from upscale.engines.machine import accelerator, has_bf16, has_openvino, has_triton
from upscale.engines.probe import trusted
from upscale.engines.race import fits_kernels, speedup
from upscale.errors import EngineError
from upscale.spec import ModelSpec

EngineName = Literal["auto", "amx", "openvino", "torch", "triton"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]

_HALF_ONLY = ("amx", "triton")
"""Engines that do not compute in fp32."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for. `device`: auto, cpu, cuda, cuda:N or mps."""

    engine: EngineName = "auto"
    device: str = "auto"
    precision: PrecisionName = "auto"


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine taken, in one sentence why, and what else had to be said."""

    engine: Engine
    reason: str
    warnings: tuple[str, ...] = ()


def choose(checkpoint: Checkpoint, wish: Wish) -> Choice:
    """Opens the first engine that passes the probe. Raises EngineError where a wish cannot be met."""
    warnings: list[str] = []
    for name, device, precision, reason in _with_kernels(
        _candidates(wish, checkpoint.spec), checkpoint, wish, warnings
    ):
        engine = open_engine(checkpoint, name, device, precision)
        if trusted(engine, checkpoint):
            return Choice(engine, reason, tuple(warnings))
        engine.close()
        warnings.append(f"{name} on {device} in {precision} gives wrong pictures with {checkpoint.spec.name}: not used")
    raise EngineError(
        f"{checkpoint.spec.name}: no engine here computes this model rightly; tried: {'; '.join(warnings)}"
    )


def open_engine(checkpoint: Checkpoint, name: str, device: str, precision: str) -> Engine:
    """Opens just this engine. Raises EngineError where it cannot exist."""
    if checkpoint.spec.arch == "foreign":
        from upscale.engines.windows import WindowsEngine

        return WindowsEngine(checkpoint, device, precision)
    if name == "openvino":
        if device != "cpu" or precision == "fp16":
            raise EngineError(f"openvino runs on the CPU in fp32 or bf16 here, not on {device} in {precision}")
        if not has_openvino():
            raise EngineError("the openvino package is not installed; pip install openvino, or use --engine torch")
        from upscale.engines.openvino import OpenVinoEngine

        return OpenVinoEngine(checkpoint, "bf16" if precision == "bf16" else "fp32")
    if name == "amx":
        if device != "cpu" or precision != "bf16":
            raise EngineError(f"amx runs on the CPU in bf16, not on {device} in {precision}; use --engine auto")
        from upscale.engines.amx import AmxEngine

        return AmxEngine(checkpoint)
    if name == "triton":
        if not device.startswith("cuda"):
            raise EngineError(f"triton runs on CUDA, not on {device}; use --engine auto")
        if not has_triton():
            raise EngineError("the triton package is not installed; pip install triton, or use --engine torch")
        from upscale.engines.triton import TritonEngine

        return TritonEngine(checkpoint, device, precision)
    from upscale.engines.torch import TorchEngine

    return TorchEngine(checkpoint, device, precision)


def _with_kernels(
    candidates: Iterator[tuple[str, str, str, str]], checkpoint: Checkpoint, wish: Wish, warnings: list[str]
) -> Iterator[tuple[str, str, str, str]]:
    """The same, before torch on CUDA in half precision our own kernels where they have been measured to be faster here."""
    for name, device, precision, reason in candidates:
        if wish.engine == "auto" and name == "torch" and device.startswith("cuda") and precision != "fp32":
            try:
                gain = _gain_of_kernels(checkpoint, device, precision)
            except EngineError as error:
                gain = 0.0
                warnings.append(f"triton on {device} in {precision}: {error}; torch computes it")
            if gain > 1:
                yield "triton", device, precision, f"{reason}; triton, {gain:.2f} × as fast as torch when measured here"
        yield name, device, precision, reason


def _gain_of_kernels(checkpoint: Checkpoint, device: str, precision: str) -> float:
    """How many times as fast as torch our kernels are; 0 where there are none for this network."""
    if not has_triton() or not fits_kernels(checkpoint.spec):
        return 0.0
    kernels, torch = (partial(open_engine, checkpoint, name, device, precision) for name in ("triton", "torch"))
    return speedup(kernels, torch, checkpoint)


def _candidates(wish: Wish, spec: ModelSpec) -> Iterator[tuple[str, str, str, str]]:
    """(engine, device, precision, reason), best first; the later ones are for the case that a probe fails."""
    foreign = spec.arch == "foreign"
    device, why_device = _device(wish)
    name, why_engine = ("torch", "spandrel's networks run on torch") if foreign else _engine(wish, device)
    precision, why_precision = _precision(wish, device, foreign)
    if wish.engine == "auto" and (device, precision) == ("cpu", "bf16") and amx_library.computes(spec):
        yield "amx", device, precision, f"{why_device}; amx is the fastest where a processor has AMX; {why_precision}"
    yield name, device, precision, f"{why_device}; {why_engine}; {why_precision}"
    if precision != "fp32":
        yield "torch" if name in _HALF_ONLY else name, device, "fp32", f"{precision} failed its probe"
    if (name, device) != ("torch", "cpu"):
        yield "torch", "cpu", "fp32", f"{name} on {device} failed its probe"


def _device(wish: Wish) -> tuple[str, str]:
    if wish.device != "auto":
        if not re.fullmatch(r"cpu|cuda(:\d+)?|mps", wish.device):
            raise EngineError(f"unknown device {wish.device!r}; use auto, cpu, cuda, cuda:N or mps")
        return wish.device, f"{wish.device} as asked"
    if wish.engine in ("amx", "openvino"):
        return "cpu", f"{wish.engine} runs on the CPU"
    found = accelerator()
    return (found, f"{found} found") if found else ("cpu", "no GPU found")


def _engine(wish: Wish, device: str) -> tuple[str, str]:
    if wish.engine != "auto":
        return wish.engine, f"{wish.engine} as asked"
    if device == "cpu" and has_openvino():
        return "openvino", "openvino is the fastest on a CPU"
    return "torch", "torch drives this device" if device != "cpu" else "openvino is not installed"


def _precision(wish: Wish, device: str, foreign: bool) -> tuple[str, str]:
    if wish.precision != "auto":
        if device == "cpu" and wish.precision == "fp16":
            raise EngineError("fp16 is for GPUs; on a CPU use --precision bf16 or fp32")
        return wish.precision, f"{wish.precision} as asked"
    if foreign:
        return "fp32", "fp32 since not every architecture bears less"
    if device != "cpu":
        return "fp16", "fp16 is what GPUs are fastest in"
    if wish.engine == "amx":
        return "bf16", "bf16 is what amx computes in"
    if has_bf16():
        return "bf16", "bf16 since this processor has units for it"
    return "fp32", "fp32 since this processor has no bf16 units"
