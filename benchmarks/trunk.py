"""What each way of cutting an RRDBNet into OpenVINO's graphs costs: the same engine, the same picture, in turn.

    python benchmarks/trunk.py [--model x4plus] [--size 128x128] [--precision bf16]

The first row is how the engine began; each further one changes one thing more.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from common import PICTURE, alternate, median, picture, save, table

from upscale import zoo
from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines.openvino import OpenVinoEngine
from upscale.image import Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="x4plus")
    parser.add_argument("--size", default="128x128", metavar="WxH")
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="bf16")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    checkpoint, pixels = zoo.load(options.model), picture(PICTURE, width, height)
    every = checkpoint.spec.blocks
    cuts = {
        "dense blocks, channels last": (0, False, 32),
        "residual blocks, channels last": (1, False, 32),
        "residual blocks, blocked memory": (1, True, 32),
        "six of them in a graph": (6, True, 32),
        "six, and the tail in one piece": (6, True, height),
        "the whole trunk in a graph, and the tail in one piece": (every, True, height),
        "residual blocks in blocked memory, in bands of 128 rows": (None, True, 128),
        "dense blocks in blocked memory, in bands of 64 rows": (None, True, 64),
    }
    ways = {name: _way(checkpoint, options.precision, pixels, *cut) for name, cut in cuts.items()}
    seconds = alternate(ways, options.repeats)
    base = median(seconds["dense blocks, channels last"])
    rows: list[dict[str, Any]] = [
        {"graphs": name, "seconds": round(median(each), 3), "of the first": round(median(each) / base, 3)}
        for name, each in seconds.items()
    ]
    print(f"{options.model}, {options.size}, {options.precision}")
    print(table(rows))
    save(f"trunk-{options.model}-{options.size}-{options.precision}", rows)


def _way(
    checkpoint: Checkpoint, precision: Any, pixels: Floats, blocks: int | None, in_blocks: bool, rows: int
) -> Callable[[], None]:
    """`blocks`: in a graph, with the trunk in one piece and `rows` of the tail at once; None: as the engine does for bands
    of so many `rows`."""
    engine = OpenVinoEngine(checkpoint, precision)
    engine._in_blocks = engine._in_blocks and in_blocks  # pyright: ignore[reportPrivateUsage]
    height, width = pixels.shape[:2]
    plan = Plan(min(rows, height), 16)
    if blocks is not None:
        plan = Plan(height, min(rows, height))
        engine._blocks = lambda *_: blocks  # pyright: ignore

    def run() -> None:
        for _ in engine.run(iter([pixels]), width, height, plan, np.uint8):
            pass

    return run


if __name__ == "__main__":
    main()
