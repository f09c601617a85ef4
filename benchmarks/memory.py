"""How much memory the command takes for results of any height: a synthetic picture, the whole process tree, its peak.

    python benchmarks/memory.py 20000x20000 20000x40000 [--model animevideov3] [--format png]

Memory is the proportional set size of the command and its decoding process together (shared pages counted once), sampled
20 times a second; Linux only.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from common import save


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="+", help="of the results, such as 20000x20000")
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--format", default="png")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size in options.sizes:
            rows.append(measured(Path(folder), size, options.model, options.format))
            print(rows[-1], flush=True)
    save("memory", rows)


def measured(folder: Path, size: str, model: str, format_: str) -> dict[str, object]:
    """One run of the command on a picture a quarter of `size`."""
    width, height = (int(side) // 4 for side in size.split("x"))
    source, target = folder / "in.png", folder / f"out.{format_}"
    make(source, width, height)
    command = [
        sys.executable,
        "-m",
        "upscale",
        source,
        "-o",
        target,
        "--overwrite",
        "--model",
        model,
        "--device",
        "cpu",
    ]
    start = time.perf_counter()
    child = subprocess.Popen([*map(str, command), "--allow-huge", "-q"])
    peak = 0
    while child.poll() is None:
        peak = max(peak, sum(proportional(number) for number in tree(child.pid)))
        time.sleep(0.05)
    if child.returncode:
        raise SystemExit(f"the command failed with {child.returncode}")
    seconds = time.perf_counter() - start
    return {
        "size": size,
        "model": model,
        "format": format_,
        "peak_gb": round(peak / 1e9, 3),
        "seconds": round(seconds, 1),
        "file_mb": round(target.stat().st_size / 1e6, 1),
    }


def make(path: Path, width: int, height: int) -> None:
    """A colored pattern with some noise, as compressible as a photograph."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (height // 40 + 2, width // 40 + 2, 3), np.uint8)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), cv2.add(smooth, rng.integers(0, 12, (height, width, 3), np.uint8)))


def tree(root: int) -> list[int]:
    """A process and its children."""
    found = [root]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{root}/task").iterdir():
            for child in (task / "children").read_text().split():
                found += tree(int(child))
    return found


def proportional(number: int) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


if __name__ == "__main__":
    main()
