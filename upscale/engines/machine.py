"""What this machine offers, found out without importing torch where that can be avoided."""

import contextlib
import ctypes
import importlib.util
import platform
import shutil
import sys
from pathlib import Path

_UNKNOWN = 4 << 30
"""Taken for the free memory where the system does not tell."""


_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD in glibc's malloc.h."""


def has_openvino() -> bool:
    return importlib.util.find_spec("openvino") is not None


def has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 in hardware (AVX512-BF16, AMX, or Arm's bf16)."""
    return _has_flag("avx512_bf16", "amx_bf16", "bf16")


def has_amx() -> bool:
    """Whether the processor has Intel's matrix units for bf16."""
    return _has_flag("amx_bf16")


def _has_flag(*flags: str) -> bool:
    try:
        known = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        return False  # elsewhere nobody tells without torch or OpenVINO; fp32 in ordinary units is always right
    return any(f" {flag}" in known for flag in flags)


def accelerator() -> str | None:
    """ "cuda" or "mps" where torch can use it. torch is imported only where such a device is likely."""
    likely_cuda = Path("/dev/nvidiactl").exists() or Path("/dev/dxg").exists() or shutil.which("nvidia-smi") is not None
    likely_mps = sys.platform == "darwin" and platform.machine() == "arm64"
    if not likely_cuda and not likely_mps:
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if likely_mps and torch.backends.mps.is_available() else None


def processor_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def device_name(device: str) -> str:
    """A name under which a probe's result is remembered."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name(device)
    return processor_name()


def free_bytes(device: str) -> int:
    """Memory that a job may hope for on a device, in bytes."""
    if device.startswith("cuda"):
        import torch

        unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # torch's own store
        return torch.cuda.mem_get_info(device)[0] + unused
    return _free_main_memory()


def _free_main_memory() -> int:
    free = [value for value in (_available(), _control_group()) if value is not None]
    return min(free) if free else _UNKNOWN


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) << 10
    except (OSError, ValueError):
        return None
    return None


def return_large_blocks() -> None:
    """Makes glibc take arrays of 4 MB and more from the system and give them back when they are freed; by itself it soon
    keeps blocks up to 32 MB in its heap, which their ever new sizes tear into pieces (a third more memory, measured on a
    picture of 20,000 columns). Other systems' libraries do without."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 4 << 20)


def _control_group() -> int | None:
    """What a container's limit leaves (cgroup v2). Files kept in memory count as used there, yet give way."""
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text(encoding="ascii").strip()
        used = int((folder / "memory.current").read_text(encoding="ascii"))
        stat = dict(line.split() for line in (folder / "memory.stat").read_text(encoding="ascii").splitlines())
        return None if limit == "max" else max(0, int(limit) - used + int(stat.get("inactive_file", 0)))
    except (OSError, ValueError):
        return None
