"""Which engine is taken, that the reason says why, and that wishes nobody can meet are refused in one line."""

import importlib.util
import sys
from collections.abc import Callable
from typing import Any

import pytest

from upscale.checkpoint import Checkpoint
from upscale.engines import amx_library, race
from upscale.engines import choose as module
from upscale.engines.choose import Choice, Wish, choose, open_engine
from upscale.errors import EngineError
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]


@pytest.fixture
def tiny(random_checkpoint: MakeCheckpoint) -> Checkpoint:
    return random_checkpoint(ModelSpec("tiny", "compact", 2, 8, blocks=2, activation="prelu"), 3)


@pytest.fixture(autouse=True)
def no_amx(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is taken where there is AMX is tested in test_amx.py."""
    monkeypatch.setattr(amx_library, "usable", lambda: False)


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "accelerator", lambda: None)


@pytest.fixture
def no_openvino(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openvino" else real(name))
    monkeypatch.setitem(sys.modules, "openvino", None)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, str]]:
    """What would be opened, on machines that are not there."""
    taken: list[tuple[str, str, str]] = []

    def note(checkpoint: Checkpoint, name: str, device: str, precision: str) -> Any:
        taken.append((name, device, precision))
        return object()

    monkeypatch.setattr(module, "open_engine", note)
    monkeypatch.setattr(module, "trusted", lambda engine, checkpoint: True)
    return taken


def facts(choice: Choice) -> tuple[str, str, str]:
    return choice.engine.name, choice.engine.device, choice.engine.precision


@pytest.mark.usefixtures("no_gpu")
def test_no_gpu_means_the_cpu_and_the_reason_says_so(tiny: Checkpoint) -> None:
    """Row 43 of the complaints: programs that end with a CUDA error on machines without a GPU."""
    choice = choose(tiny, Wish())
    assert choice.engine.device == "cpu"
    assert "no GPU found" in choice.reason
    assert choice.warnings == ()


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize("bf16", [True, False])
def test_a_cpu_never_gets_fp16(monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, bf16: bool) -> None:
    """Row 23 of the complaints: half precision on a CPU is slow, or an error."""
    monkeypatch.setattr(module, "has_bf16", lambda: bf16)
    for wish in (Wish(), Wish(device="cpu"), Wish(engine="torch"), Wish(engine="torch", device="cpu")):
        precisions = [precision for _, _, precision, _ in module._candidates(wish, tiny.spec)]
        assert precisions[0] == ("bf16" if bf16 else "fp32")
        assert "fp16" not in precisions
    for wish in (Wish(precision="fp16"), Wish("openvino", precision="fp16"), Wish("torch", "cpu", "fp16")):
        with pytest.raises(EngineError, match=r"fp16 is for GPUs; on a CPU use --precision bf16 or fp32"):
            choose(tiny, wish)


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(
    ("bf16", "why"), [(True, "bf16 since this processor has units for it"), (False, "this processor has no bf16 units")]
)
def test_reason_names_engine_and_precision(
    monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, opened: list[tuple[str, str, str]], bf16: bool, why: str
) -> None:
    monkeypatch.setattr(module, "has_bf16", lambda: bf16)
    monkeypatch.setattr(module, "has_openvino", lambda: True)
    reason = choose(tiny, Wish()).reason
    assert "openvino is the fastest on a CPU" in reason
    assert why in reason
    assert opened == [("openvino", "cpu", "bf16" if bf16 else "fp32")]


@pytest.mark.parametrize("device", ["cuda", "mps"])
def test_a_gpu_gets_torch_in_fp16(
    monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, opened: list[tuple[str, str, str]], device: str
) -> None:
    monkeypatch.setattr(module, "accelerator", lambda: device)
    choice = choose(tiny, Wish())
    assert opened == [("torch", device, "fp16")]
    assert f"{device} found" in choice.reason


def test_openvino_asked_for_runs_on_the_cpu_even_where_a_gpu_is(
    monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, opened: list[tuple[str, str, str]]
) -> None:
    monkeypatch.setattr(module, "accelerator", lambda: "cuda")
    monkeypatch.setattr(module, "has_openvino", lambda: True)
    choose(tiny, Wish(engine="openvino"))
    assert opened[0][:2] == ("openvino", "cpu")


def test_foreign_networks_run_on_torch_in_fp32(
    monkeypatch: pytest.MonkeyPatch, opened: list[tuple[str, str, str]]
) -> None:
    foreign = Checkpoint(ModelSpec("swin", "foreign", 4), {})
    monkeypatch.setattr(module, "accelerator", lambda: None)
    choice = choose(foreign, Wish())
    assert opened == [("torch", "cpu", "fp32")]
    assert "spandrel" in choice.reason


@pytest.mark.parametrize(("engine", "precision"), [("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32")])
def test_wishes_are_met(tiny: Checkpoint, engine: Any, precision: Any) -> None:
    if engine == "openvino":
        pytest.importorskip("openvino")
    choice = choose(tiny, Wish(engine, "cpu", precision))
    assert facts(choice) == (engine, "cpu", precision)
    assert f"{engine} as asked" in choice.reason
    assert f"{precision} as asked" in choice.reason
    choice.engine.close()


@pytest.mark.usefixtures("no_gpu", "no_openvino")
def test_without_openvino_torch_does_it_and_the_reason_says_so(tiny: Checkpoint) -> None:
    choice = choose(tiny, Wish())
    assert choice.engine.name == "torch"
    assert "openvino is not installed" in choice.reason


@pytest.mark.usefixtures("no_openvino")
def test_openvino_asked_for_but_missing_is_one_line_with_the_remedy(tiny: Checkpoint) -> None:
    with pytest.raises(EngineError, match="pip install openvino, or use --engine torch") as caught:
        choose(tiny, Wish(engine="openvino"))
    assert "\n" not in str(caught.value)
    with pytest.raises(EngineError, match="--engine torch"):
        open_engine(tiny, "openvino", "cpu", "fp32")


def test_cuda_asked_for_where_there_is_none_is_one_line_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    for device in ("cuda", "cuda:0", "cuda:7"):
        with pytest.raises(
            EngineError, match=rf"{device}: torch finds 0 CUDA devices here; use --device cpu"
        ) as caught:
            choose(tiny, Wish(device=device))
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("device", ["gpu", "cuda0", "cuda:", "cuda:-1", "cuda:x", "cpu:0", "xpu", "", "CUDA", "vulkan"])
def test_unknown_devices_are_refused_in_one_line(tiny: Checkpoint, device: str) -> None:
    with pytest.raises(EngineError, match=r"unknown device .*; use auto, cpu, cuda, cuda:N or mps") as caught:
        choose(tiny, Wish(device=device))
    assert "\n" not in str(caught.value)


def test_mps_asked_for_where_there_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint) -> None:
    import torch

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(EngineError, match="mps is not available here; use --device cpu"):
        choose(tiny, Wish(device="mps"))


@pytest.mark.parametrize(("device", "precision"), [("cuda", "auto"), ("cuda:1", "fp32"), ("mps", "auto")])
def test_openvino_on_a_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, tiny: Checkpoint, device: str, precision: Any
) -> None:
    monkeypatch.setattr(module, "has_openvino", lambda: True)
    with pytest.raises(EngineError, match=f"openvino runs on the CPU in fp32 or bf16 here, not on {device}"):
        choose(tiny, Wish("openvino", device, precision))


# ---------------------------------------------------------------- our own kernels on CUDA


@pytest.fixture
def usual(random_checkpoint: MakeCheckpoint) -> Checkpoint:
    return random_checkpoint(ModelSpec("usual", "rrdb", 4, 32, 16, 1), 3)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "accelerator", lambda: "cuda")
    monkeypatch.setattr(module, "has_triton", lambda: True)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize(("gain", "taken"), [(1.5, "triton"), (0.9, "torch")])
def test_our_kernels_are_taken_where_they_were_measured_to_be_faster(
    monkeypatch: pytest.MonkeyPatch, usual: Checkpoint, opened: list[tuple[str, str, str]], gain: float, taken: str
) -> None:
    monkeypatch.setattr(module, "speedup", lambda new, old, checkpoint: gain)
    choice = choose(usual, Wish())
    assert opened == [(taken, "cuda", "fp16")]
    assert ("1.50 × as fast" in choice.reason) == (taken == "triton")


@pytest.mark.usefixtures("cuda")
def test_kernels_that_fail_are_told_of_and_torch_does_it(
    monkeypatch: pytest.MonkeyPatch, usual: Checkpoint, opened: list[tuple[str, str, str]]
) -> None:
    def fail(*_: Any) -> float:
        raise EngineError("no compiler")

    monkeypatch.setattr(module, "speedup", fail)
    choice = choose(usual, Wish())
    assert opened == [("torch", "cuda", "fp16")]
    assert choice.warnings == ("triton on cuda in fp16: no compiler; torch computes it",)


@pytest.mark.usefixtures("cuda")
@pytest.mark.parametrize("wish", [Wish(precision="fp32"), Wish(engine="torch")])
def test_kernels_are_not_even_tried_where_they_are_of_no_use(
    monkeypatch: pytest.MonkeyPatch, usual: Checkpoint, tiny: Checkpoint, opened: list[tuple[str, str, str]], wish: Wish
) -> None:
    monkeypatch.setattr(module, "speedup", None)
    choose(usual, wish)
    choose(tiny, Wish())
    assert [name for name, _, _ in opened] == ["torch", "torch"]


@pytest.mark.usefixtures("cuda")
def test_a_wrong_picture_of_the_kernels_leads_to_torch(monkeypatch: pytest.MonkeyPatch, usual: Checkpoint) -> None:
    taken: list[str] = []

    class Fake:
        def __init__(self, name: str) -> None:
            self.name = name
            taken.append(name)

        def close(self) -> None: ...

    monkeypatch.setattr(module, "open_engine", lambda checkpoint, name, *_: Fake(name))
    monkeypatch.setattr(module, "speedup", lambda *_: 2.0)
    monkeypatch.setattr(module, "trusted", lambda engine, _: engine.name == "torch")
    assert choose(usual, Wish()).engine.name == "torch"
    assert choose(usual, Wish(engine="triton", device="cuda")).engine.name == "torch"
    assert taken == ["triton", "torch", "triton", "torch"]


def test_triton_on_a_processor_is_refused_in_one_line(usual: Checkpoint) -> None:
    with pytest.raises(EngineError, match="triton runs on CUDA, not on cpu"):
        choose(usual, Wish(engine="triton", device="cpu"))


class Timed:
    """An engine that takes so many seconds by a clock of its own."""

    name, version, device, precision = "timed", "1", "cpu", "fp16"

    def __init__(self, spec: ModelSpec, seconds: float, clock: list[float]) -> None:
        self.spec, self._seconds, self._clock, self.closed = spec, seconds, clock, False

    def run(self, rows: Any, *_: Any) -> Any:
        self._clock[0] += self._seconds
        yield from rows

    def close(self) -> None:
        self.closed = True


def test_a_race_is_run_once_and_remembered(monkeypatch: pytest.MonkeyPatch, usual: Checkpoint, tmp_path: Any) -> None:
    clock, engines = [0.0], list[Timed]()
    monkeypatch.setattr(race, "cache_dir", lambda: tmp_path)
    monkeypatch.setattr(race.time, "perf_counter", lambda: clock[0])

    def open_(seconds: float) -> Timed:
        engines.append(Timed(usual.spec, seconds, clock))
        return engines[-1]

    assert race.speedup(lambda: open_(1.0), lambda: open_(3.0), usual) == 3.0
    assert race.speedup(lambda: open_(9.0), lambda: open_(1.0), usual) == 3.0  # on the same machine the same verdict
    assert len(engines) == 3
    assert all(engine.closed for engine in engines)
