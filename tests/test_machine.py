"""What is found out about a machine, on machines as they come: the files it is read from are made up here."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from upscale.engines import machine

GB = 1 << 30


class Files:
    """Stands for pathlib.Path: a few files, and all others missing."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def __call__(self, name: str) -> "Files.One":
        return Files.One(self.files, name)

    class One:
        def __init__(self, files: dict[str, str], name: str) -> None:
            self.files, self.name = files, name

        def __truediv__(self, name: str) -> "Files.One":
            return Files.One(self.files, f"{self.name}/{name}")

        def exists(self) -> bool:
            return self.name in self.files

        def read_text(self, **_: str) -> str:
            if self.name not in self.files:
                raise FileNotFoundError(self.name)
            return self.files[self.name]


def pretend(monkeypatch: pytest.MonkeyPatch, files: dict[str, str]) -> None:
    monkeypatch.setattr(machine, "Path", Files(files))


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_bf16 sse", True),
        ("flags\t\t: fpu avx2 avx512f amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16 i8mm", True),
        ("flags\t\t: fpu avx2 avx512f avx512_vnni", False),
        ("", False),
    ],
)
def test_bf16_is_what_the_processor_says(monkeypatch: pytest.MonkeyPatch, flags: str, found: bool) -> None:
    pretend(monkeypatch, {"/proc/cpuinfo": f"model name\t: A CPU\n{flags}\n"})
    assert machine.has_bf16() is found
    assert machine.processor_name() == "A CPU"


def test_systems_without_proc_get_fp32_and_a_name_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {})
    assert machine.has_bf16() is False
    assert machine.processor_name()
    assert machine.free_bytes("cpu") == machine._UNKNOWN


def test_free_memory_is_what_is_available(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {"/proc/meminfo": f"MemTotal: 99 kB\nMemFree: 7 kB\nMemAvailable: {3 * GB >> 10} kB\n"})
    assert machine.free_bytes("cpu") == 3 * GB


@pytest.mark.parametrize(
    ("limit", "used", "inactive", "free"),
    [("max", 0, 0, 8 * GB), (f"{2 * GB}", GB, 0, GB), (f"{2 * GB}", 2 * GB, GB, GB), (f"{64 * GB}", 0, 0, 8 * GB),
     (f"{GB}", 2 * GB, 0, 0)],
)  # fmt: skip
def test_a_containers_limit_counts_but_not_the_files_it_keeps_in_memory(
    monkeypatch: pytest.MonkeyPatch, limit: str, used: int, inactive: int, free: int
) -> None:
    group = "/sys/fs/cgroup"
    stat = f"anon 5\ninactive_file {inactive}\n"
    files = {f"{group}/memory.max": limit, f"{group}/memory.current": str(used), f"{group}/memory.stat": stat}
    pretend(monkeypatch, {"/proc/meminfo": f"MemAvailable: {8 * GB >> 10} kB\n", **files})
    assert machine.free_bytes("cpu") == free


def test_free_memory_of_a_gpu_counts_what_torch_holds_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the second picture would get smaller bands than the first."""
    cuda = SimpleNamespace(
        mem_get_info=lambda device: (2 * GB, 8 * GB), memory_reserved=lambda device: 5 * GB,
        memory_allocated=lambda device: GB,
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    assert machine.free_bytes("cuda:1") == 6 * GB


def test_without_a_driver_torch_is_not_even_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {})
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert machine.accelerator() is None


@pytest.mark.parametrize(("available", "found"), [(True, "cuda"), (False, None)])
def test_a_driver_alone_is_no_gpu(monkeypatch: pytest.MonkeyPatch, available: bool, found: str | None) -> None:
    pretend(monkeypatch, {"/dev/nvidiactl": ""})
    monkeypatch.setattr(machine.sys, "platform", "linux")
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: available))
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert machine.accelerator() == found


def test_apples_gpu_is_found_on_its_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, {})
    monkeypatch.setattr(machine.shutil, "which", lambda name: None)
    monkeypatch.setattr(machine.sys, "platform", "darwin")
    monkeypatch.setattr(machine.platform, "machine", lambda: "arm64")
    yes, no = SimpleNamespace(is_available=lambda: True), SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=no, backends=SimpleNamespace(mps=yes)))
    assert machine.accelerator() == "mps"


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="Linux tells through /proc")
def test_this_machine_has_some_memory_free() -> None:
    assert 0 < machine.free_bytes("cpu") < 1 << 50
