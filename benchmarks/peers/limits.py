"""What this device reaches at best, in TFLOP/s, by precision: a large matrix product or a large 3×3 convolution.

python benchmarks/peers/limits.py cpu
"""

import json
import sys
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F


def main() -> None:
    device = sys.argv[1]
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16} | ({} if device == "cpu" else {"fp16": torch.float16})
    found = {
        name: {"matrix": _matrix(device, kind), "convolution": _convolution(device, kind)}
        for name, kind in kinds.items()
    }
    print(json.dumps(found))


def _matrix(device: str, kind: torch.dtype) -> float:
    n = 2048 if device == "cpu" else 8192
    a = torch.randn(n, n).to(device, kind)
    return _best(lambda: a @ a, 2 * n**3)


def _convolution(device: str, kind: torch.dtype) -> float:
    channels, side = (256, 64) if device == "cpu" else (512, 256)
    x = torch.randn(1, channels, side, side).to(device, kind).contiguous(memory_format=torch.channels_last)
    kernel = torch.randn(channels, channels, 3, 3).to(device, kind).contiguous(memory_format=torch.channels_last)
    return _best(lambda: F.conv2d(x, kernel, padding=1), 2 * 9 * channels**2 * side**2)


@torch.inference_mode()
def _best(work: Callable[[], torch.Tensor], operations: int, times: int = 8) -> float:
    seconds: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        work().select(0, 0).sum().item()  # waits for a GPU
        seconds.append(time.perf_counter() - began)
    return operations / min(seconds) / 1e12


if __name__ == "__main__":
    main()
