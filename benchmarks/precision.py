"""What each precision costs in accuracy and time: against our own fp32, on a folder of small pictures.

    python benchmarks/precision.py FOLDER [--model x4plus]        # e.g. the ×4 inputs of Set14

"by hand in bf16" is the whole network as one OpenVINO graph under its bf16 hint, for comparison. Errors are taken before
the rounding to 8 bits; "8-bit result" is the arithmetic that such a result gets (its tail is bf16 inside).
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import kind, off_by_more_than_one, picture, psnr, save, table

from upscale import zoo
from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Engine, amx_library, graph, silent
from upscale.engines.choose import open_engine
from upscale.engines.openvino import OpenVinoEngine
from upscale.image import Array, Floats
from upscale.stages import UNITS_PER_BLOCK, unit_count

Way = Callable[[Floats], Floats]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="x4plus")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--limit", type=int, help="only the first so many pictures")
    options = parser.parse_args()
    checkpoint = zoo.load(options.model)
    pictures = [picture(path) for path in sorted(options.folder.glob("*.png"))][: options.limit]
    exact, ways = _cuda(checkpoint) if options.device == "cuda" else _cpu(checkpoint)
    references = [exact(pixels) for pixels in pictures]
    rows = [{"engine": name, **_figures(way, pictures, references)} for name, way in ways.items()]
    print(f"{options.model}, {len(pictures)} pictures of {options.folder}")
    print(table(rows))
    save(f"precision-{options.model}-{kind(options.device)}", rows, pictures=len(pictures))


def _cpu(checkpoint: Checkpoint) -> tuple[Way, dict[str, Way]]:
    ways = {
        "fp32": _way(open_engine(checkpoint, "openvino", "cpu", "fp32")),
        "openvino bf16, 8-bit result": _way(_Unrounded(checkpoint, "bf16"), np.uint8),
        "openvino bf16, deeper result": _way(open_engine(checkpoint, "openvino", "cpu", "bf16")),
        "torch bf16, deeper result": _way(open_engine(checkpoint, "torch", "cpu", "bf16")),
    }
    if amx_library.computes(checkpoint.spec):
        amx = open_engine(checkpoint, "amx", "cpu", "bf16")
        ways |= {"amx, 8-bit result": _way(amx, np.float16), "amx, deeper result": _way(amx)}
    if checkpoint.spec.arch == "rrdb":
        ways["openvino by hand in bf16"] = lambda pixels: _by_hand(checkpoint, pixels, "bf16")()
    return ways["fp32"], ways


def _cuda(checkpoint: Checkpoint) -> tuple[Way, dict[str, Way]]:
    exact = _way(open_engine(checkpoint, "torch", "cuda", "fp32"))
    return exact, {"fp32": exact, "torch fp16": _way(open_engine(checkpoint, "torch", "cuda", "fp16"))}


class _Unrounded(OpenVinoEngine):
    """The arithmetic of an 8-bit result, without its rounding."""

    def finished(self, rows: Floats, dtype: Any) -> Array:
        return rows.copy()


def _way(engine: Engine, dtype: Any = np.float32) -> Way:
    def run(pixels: Floats) -> Floats:
        height, width = pixels.shape[:2]
        return np.concatenate(list(engine.run(iter([pixels]), width, height, Plan(height, 32), dtype)))

    return run


def _by_hand(checkpoint: Checkpoint, pixels: Floats, hint: str) -> Callable[[], Floats]:
    """An RRDBNet as one OpenVINO graph for one size, compiled under a precision hint: what one would write by hand."""
    spec, weights, rows = checkpoint.spec, checkpoint.arrays, graph.Rows(top=True, bottom=True)
    parameter = graph.op.parameter([1, *pixels.shape], np.float32)
    first = graph.head(rows, spec, weights, graph.channels_first(parameter))
    x = residual = graph.channels_last(first)
    for unit in range(unit_count(spec)):
        held = iter([graph.op.constant(tensor) for tensor in graph.unit_inputs(spec, weights, unit, low=False)])
        layers = list(zip(held, held, strict=True))
        ends = (unit + 1) % UNITS_PER_BLOCK == 0
        x = graph.dense_block(rows, layers, [x, residual] if ends else [x])
        residual = x if ends else residual
    result = graph.channels_last(graph.rrdb_tail(rows, spec, weights, [graph.channels_first(x), first], low=False))
    compiled = silent.core().compile_model(
        graph.ov.Model([result], [parameter]), "CPU", {"INFERENCE_PRECISION_HINT": hint}
    )
    request = compiled.create_infer_request()
    return lambda: np.clip(request.infer([pixels[np.newaxis]])[0][0], 0, 1)


def _figures(way: Way, pictures: list[Floats], references: list[Floats]) -> dict[str, Any]:
    decibels, off, seconds = [], [], 0.0
    for pixels, reference in zip(pictures, references, strict=True):
        way(pixels)  # compiles
        start = time.perf_counter()
        result = np.clip(way(pixels), 0, 1)
        seconds += time.perf_counter() - start
        decibels.append(psnr(result, reference))
        off.append(off_by_more_than_one(result, reference))
    return {
        "mean PSNR, dB": round(float(np.mean(decibels)), 2),
        "worst, dB": round(min(decibels), 2),
        "off by more than one level": f"{100 * float(np.mean(off)):.2f} %",
        "seconds": round(seconds, 1),
    }


if __name__ == "__main__":
    main()
