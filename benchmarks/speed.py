"""The forward pass against every rival, in one run: same picture, same 8-bit result, each in a process of its own, in turn.

    python benchmarks/speed.py                                                     # x4plus, 128×128, on the CPU
    python benchmarks/speed.py --peer FOLDER/bin/python --model animevideov3 --size 512x512
    python benchmarks/speed.py --peer FOLDER/bin/python --device cuda --size 960x540

Rivals: Real-ESRGAN's RealESRGANer (with --peer, the Python of its environment, see peers/real_esrgan.py), spandrel's plain
module eager and through torch.compile, ONNX Runtime, OpenVINO by hand, ncnn, torch-tensorrt. What is not installed or fails is
listed with its reason. Models are loaded, compiled and run once before; reading, writing and the color fix are left out.
Every result is compared with the plain fp32 network on the whole picture; who is off is no rival.

A large picture's processes run one after another, for their memory (--alone); small ones take turns.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from asked import Asked, SilentError
from bars import bars
from common import PICTURE, RESULTS, kind, median, picture, psnr, save, table

from upscale import zoo
from upscale.checkpoint import Checkpoint, write_pth, write_safetensors
from upscale.engines.machine import has_amx
from upscale.image import from_float
from upscale.ncnn_write import ncnn_files
from upscale.onnx_file import onnx_bytes
from upscale.stages import total_macs

PEERS = Path(__file__).resolve().parent / "peers"
BASE = "RealESRGANer"
WRONG = 40.0
"""dB to the plain fp32 network; who is below computes something else."""


@dataclass
class Way:
    """One of those that are compared, and what was seen of it. `precision`: whose limit of the device is its own."""

    name: str
    precision: str
    script: str
    wishes: tuple[str, ...]
    python: str = sys.executable
    seconds: list[float] = field(default_factory=list[float])
    memory: int | None = None
    versions: dict[str, str] = field(default_factory=dict[str, str])
    preparing: float = 0.0
    failure: str = ""


def ways(options: argparse.Namespace) -> list[Way]:
    """All of them for this device, the reference first."""
    half = "bf16" if options.device == "cpu" else "fp16"
    plain, foreign = partial(Way, script="plain_torch.py"), partial(Way, script="runtimes.py")
    found = [plain("plain torch fp32", "fp32", wishes=("fp32", "channels_first", "eager", "reference"))]
    if options.peer:
        for tile in (0, 512):
            if tile < max(options.size):  # one tile is the whole
                name = f"{BASE}, tile {tile}" if tile else BASE
                theirs = "fp32" if options.device == "cpu" else "fp16"
                found.append(Way(name, theirs, "real_esrgan.py", (str(tile),), options.peer))
    orders, modes = ("channels_first", "channels_last"), ("default", "max-autotune")
    found += [plain(f"plain torch {half}, {order}", half, wishes=(half, order, "eager")) for order in orders]
    found += [plain(f"torch.compile {half}, {mode}", half, wishes=(half, orders[1], mode)) for mode in modes]
    found.append(foreign("ONNX Runtime fp32", "fp32", wishes=("onnxruntime",)))
    if options.device == "cpu":
        found += [foreign(f"OpenVINO by hand, {name}", name, wishes=("openvino", name)) for name in ("fp32", "bf16")]
        found.append(foreign("ncnn", "fp32", wishes=("ncnn",)))
    else:
        found.append(foreign("TensorRT fp16", "fp16", wishes=("tensorrt",)))
    ours = partial(Way, script="ours.py")
    for precision in ("fp32", "auto"):
        found.append(ours(f"upscale, {precision}", precision, wishes=("auto", precision, str(options.rows))))
    if options.device == "cpu" and has_amx():
        found.append(ours("upscale, openvino bf16", half, wishes=("openvino", half, str(options.rows))))
    for engine in ("torch", "triton") if options.device != "cpu" else ():
        found.append(ours(f"upscale, {engine} {half}", half, wishes=(engine, half, str(options.rows))))
    return [way for way in found if not options.only or any(part in way.name for part in options.only)]


def main() -> None:
    options = _options()
    checkpoint, width, height = zoo.load(options.model), *options.size
    found = ways(options)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _write_job(checkpoint, picture(PICTURE, width, height), place)
        limits = [_limits(options.device)]
        _measure(found, place, options)
        if found[0].failure:
            sys.exit(f"{found[0].name}, with which all are compared: {found[0].failure}")
        limits.append(_limits(options.device))
        rows = _rows(found, place, _best_of(limits), checkpoint, options.size)
    print(f"{options.model}, {width}×{height} on {options.device}, {options.repeats} runs each, medians")
    print(table(rows))
    for way in found:
        if way.failure:
            print(f"left out: {way.name}: {way.failure}")
    name = f"speed-{options.model}-{width}x{height}-{kind(options.device)}"
    facts = {"model": options.model, "size": f"{width}x{height}", "limits_tflops": limits}
    left_out = {way.name: way.failure for way in found if way.failure}
    save(name, rows, **facts, ways=[_said(way) for way in found if not way.failure], left_out=left_out)
    values = {row["way"]: row["Mpixel/s out"] for row in rows}
    RESULTS.joinpath(f"{name}.svg").write_text(
        bars(f"{options.model}, {width}×{height}: million pixels out, a second", values, "upscale"), encoding="utf-8"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", help="Python of Real-ESRGAN's environment")
    parser.add_argument("--model", default="x4plus")
    parser.add_argument("--size", type=_size, default=(128, 128), metavar="WxH", help="of the input, in pixels")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows", type=int, default=0, help="our band's height; by default the whole picture's")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="one process after another; from 256×256 on anyway")
    parser.add_argument(
        "--only", nargs="+", default=[], help="ways whose names hold one of these; the reference anyway"
    )
    options = parser.parse_args()
    options.alone = options.alone or options.size[0] * options.size[1] >= 256**2
    options.only += ["plain torch fp32"] if options.only else []
    return options


def _size(text: str) -> tuple[int, int]:
    width, height = (int(side) for side in text.lower().split("x"))
    return width, height


def _write_job(checkpoint: Checkpoint, pixels: Any, place: Path) -> None:
    np.save(place / "picture.npy", from_float(pixels, np.uint8))
    write_safetensors(checkpoint, place / "model.safetensors")
    write_pth(checkpoint, place / "model.pth")
    place.joinpath("model.onnx").write_bytes(onnx_bytes(checkpoint.spec, checkpoint.arrays, {}))
    param, weights = ncnn_files(checkpoint.spec, checkpoint.arrays)
    place.joinpath("model.param").write_text(param, encoding="utf-8")
    place.joinpath("model.bin").write_bytes(weights)
    place.joinpath("about.json").write_text(json.dumps(asdict(checkpoint.spec)), encoding="utf-8")


def _measure(found: list[Way], place: Path, options: argparse.Namespace) -> None:
    if options.alone:
        for way in found:
            _take_turns([way], place, options.device, options.repeats)
    else:
        _take_turns(found, place, options.device, options.repeats)


def _take_turns(found: list[Way], place: Path, device: str, repeats: int) -> None:
    started = [(way, asked) for way in found if (asked := _started(way, place, device))]
    runs = 2 if len(started) > 1 else 1  # after the others' turns a process is cold: the first run warms it
    for _ in range(repeats):
        for way, asked in started:
            if not way.failure and (answer := _tried(way, partial(asked.ask, runs))):
                way.seconds.append(answer["seconds"][-1])
                way.memory = answer["memory"]
    for _, asked in started:
        asked.end()


def _started(way: Way, place: Path, device: str) -> Asked | None:
    command = [way.python, str(PEERS / way.script), str(place), device, str(_result(way, place)), *way.wishes]
    asked: Asked | None = _tried(way, partial(Asked, command))
    if asked is not None:
        way.versions, way.preparing = asked.ready["ready"], asked.ready["preparing"]
        print(f"{way.name} is ready after {way.preparing:.1f} s", file=sys.stderr)
    return asked


def _tried(way: Way, step: Callable[[], Any]) -> Any:
    """What the step gives; None where the way fails, which is kept for the list of those that are left out."""
    try:
        return step()
    except (SilentError, OSError) as error:
        way.failure = str(error)
        return None


def _result(way: Way, place: Path) -> Path:
    return place / f"{way.name}.npy"


def _limits(device: str) -> dict[str, dict[str, float]]:
    command = [sys.executable, str(PEERS / "limits.py"), device]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _best_of(limits: list[dict[str, dict[str, float]]]) -> dict[str, float]:
    return {name: max(value for one in limits for value in one[name].values()) for name in limits[0]}


def _rows(
    found: list[Way], place: Path, limits: dict[str, float], checkpoint: Checkpoint, size: tuple[int, int]
) -> list[dict[str, Any]]:
    spec, pixels = checkpoint.spec, size[0] * size[1]
    operations = 2 * total_macs(spec) * pixels / spec.unshuffle**2
    reference = np.load(_result(found[0], place))
    base = next((way for way in found if way.name == BASE and way.seconds), found[0])
    rows: list[dict[str, Any]] = []
    for way in found:
        if way.failure:
            continue
        seconds, result = median(way.seconds), np.load(_result(way, place))
        if result.dtype == np.uint8:
            result = result.astype(np.float32) / 255
        if (likeness := psnr(result, reference)) < WRONG:
            way.failure = f"a wrong picture, {likeness:.1f} dB"
            continue
        speed = operations / seconds / 1e12
        precision = way.versions.get("precision", way.precision)
        rows.append(
            {
                "way": f"{way.name} ({precision})" if way.precision == "auto" else way.name,
                "seconds": float(f"{seconds:.3g}"),
                f"× {base.name}": round(median(base.seconds) / seconds, 2),
                "Mpixel/s out": float(f"{pixels * spec.scale**2 / seconds / 1e6:.3g}"),
                "TFLOP/s": float(f"{speed:.3g}"),
                "of the limit": f"{100 * speed / limits[precision]:.0f} %",
                "peak memory, GB": "–" if way.memory is None else round(way.memory / 1e9, 2),
                "PSNR, dB": round(likeness, 1),
            }
        )
    return rows


def _said(way: Way) -> dict[str, Any]:
    return {"way": way.name, "seconds": way.seconds, "preparing": round(way.preparing, 1), "versions": way.versions}


if __name__ == "__main__":
    main()
