"""Whole processes, from start to file: a 128×128 picture against a bare `import torch`. Medians, in turn.

python benchmarks/start.py
"""

import argparse
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from common import PICTURE, alternate, kind, median, picture, save, table

SIDE = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.png"
        cv2.imwrite(str(small), np.uint8(picture(PICTURE, SIDE, SIDE)[..., ::-1] * 255))
        job = [sys.executable, "-m", "upscale", str(small), "--device", options.device, "--overwrite", "-q"]
        commands = {"upscale, start to file": job, "import torch": [sys.executable, "-c", "import torch"]}
        runs = {name: partial(subprocess.run, command, check=True) for name, command in commands.items()}
        seconds = alternate(runs, options.repeats)
    base = median(seconds["import torch"])
    rows = [
        {"process": name, "seconds": round(median(each), 2), "against import torch": round(median(each) / base, 2)}
        for name, each in seconds.items()
    ]
    print(table(rows))
    save(f"start-{kind(options.device)}", rows)


if __name__ == "__main__":
    main()
