"""Every `--tile` against the whole: largest difference, recomputed share, time, and peak memory of a process of its own.

python benchmarks/exactness.py [--width 320 --height 480] [--models x4plus animevideov3]
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import PICTURE, kind, picture, save, table

from upscale import zoo
from upscale.bands import Plan, extra_compute
from upscale.engines import amx_library
from upscale.engines.choose import open_engine
from upscale.stages import stages


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--height", type=int, default=481)
    parser.add_argument("--models", nargs="+", default=["x4plus", "animevideov3"])
    engines = ["openvino bf16", "openvino fp32", "torch bf16", "torch fp32"]
    parser.add_argument("--engines", nargs="+", default=["amx bf16"] * amx_library.usable() + engines)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        _one(options)
        return
    rows: list[dict[str, Any]] = []
    for model in options.models:
        for engine in options.engines:
            rows += _compare(model, engine, options)
    print(f"{options.width}×{options.height}")
    print(table(rows))
    save(f"exactness-{kind(options.device)}", rows, size=f"{options.width}x{options.height}")


def _compare(model: str, engine: str, options: argparse.Namespace) -> list[dict[str, Any]]:
    height = options.height
    plans = {"whole": Plan(height, 32), "256": Plan(256, 16), "64": Plan(64, 16), "48": Plan(48, 8), "16": Plan(16, 8)}
    rows: list[dict[str, Any]] = []
    whole: Any = None
    first = 0.0
    for name, plan in plans.items():
        result, seconds, memory = _process(model, engine, plan, options)
        whole = result if whole is None else whole
        first = first or seconds
        spec = zoo.load(model).spec
        rows.append(
            {
                "model": model,
                "engine": engine,
                "--tile": name,
                "largest difference": f"{float(np.abs(result - whole).max()):.2g}",
                "recomputed": f"{100 * extra_compute(stages(spec), height, plan):.1f} %",
                "time to whole": round(seconds / first, 2),
                "memory, MB": memory,
            }
        )
    return rows


def _process(model: str, engine: str, plan: Plan, options: argparse.Namespace) -> tuple[Any, float, int]:
    """One way in a process of its own, for its memory; the second run of two is timed."""
    target = Path(f"/tmp/exactness-{model}-{plan.rows}.npy")
    size = ["--width", str(options.width), "--height", str(options.height), "--device", options.device]
    arguments = [model, engine, str(plan.rows), str(plan.tail_rows), str(target)]
    command = [sys.executable, __file__, *size, "--one", *arguments]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    result = np.load(target)
    target.unlink()
    return result, float(printed[0]), int(printed[1])


def _one(options: argparse.Namespace) -> None:
    model, engine, rows, tail_rows, target = options.one
    name, precision = engine.split()
    opened = open_engine(zoo.load(model), name, options.device, precision)
    pixels = picture(PICTURE, options.width, options.height)
    plan = Plan(int(rows), int(tail_rows))
    for _ in range(2):
        start = time.perf_counter()
        bands = opened.run(iter([pixels]), options.width, options.height, plan, np.float32)
        result = np.concatenate(list(bands))
        seconds = time.perf_counter() - start
    np.save(target, result)
    print(seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)


if __name__ == "__main__":
    main()
