"""Many small pictures in one job against one job for each, in one process with the model open: pictures a second.

python benchmarks/batch.py [--count 500] [--side 128] [--model animevideov3] [--device cuda]

In a job the next picture is decoded and the ones before are encoded while one is enlarged; on CUDA equal sizes share a recorded
run.
"""

import argparse
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from common import PICTURE, alternate, kind, median, picture, save, table

from upscale import zoo
from upscale.engines.choose import Wish
from upscale.enlarge import Enlarger
from upscale.image import from_float
from upscale.media.folder import Places, tasks
from upscale.media.isolated.decoder import Decoder
from upscale.pipeline import run
from upscale.sizes import Size
from upscale.work import Work


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder, Decoder() as decoder:
        files = _pictures(Path(folder), options.count, options.side)
        enlarger = Enlarger(zoo.load(options.model), Wish(device=options.device))
        work, places = (
            Work(enlarger, decoder, Size(scale=4), overwrite=True),
            Places(Path(folder) / "out", overwrite=True),
        )
        network = partial(_network, enlarger, options.count, options.side)
        ways = {
            "one job": lambda: _do([files], work, places),
            "one by one": lambda: _do([[file] for file in files], work, places),
            "the network alone": network,
        }
        seconds = alternate(ways, options.repeats)
        engine = enlarger.engine.name
    base = median(seconds["one by one"])
    rows = [
        {
            "way": name,
            "pictures a second": round(options.count / median(each), 1),
            "against one by one": round(base / median(each), 2),
        }
        for name, each in seconds.items()
    ]
    print(table(rows))
    facts = {"model": options.model, "count": options.count, "side": options.side, "engine": engine}
    save(f"batch-{options.model}-{options.side}-{kind(options.device)}", rows, **facts)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--model", default="animevideov3")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


def _pictures(folder: Path, count: int, side: int) -> list[str]:
    """Different parts of one photograph."""
    whole, rng = from_float(picture(PICTURE, 2 * side, 2 * side)[..., ::-1], np.uint8), np.random.default_rng(0)
    files: list[str] = []
    for number in range(count):
        y, x = rng.integers(0, np.array(whole.shape[:2]) - side + 1)
        files.append(str(folder / f"{number}.png"))
        cv2.imwrite(files[-1], whole[y : y + side, x : x + side])
    return files


def _do(jobs: Sequence[list[str]], work: Work, places: Places) -> None:
    for files in jobs:
        for outcome in run(tasks(files, places), work, lambda _: None):
            assert outcome.record.status == "done", outcome.record.error


def _network(enlarger: Enlarger, count: int, side: int) -> None:
    """So many runs on pictures in memory, with the rim but without the color fix."""
    side += 8
    pixels = np.random.default_rng(0).random((side, side, 3), dtype=np.float32)
    (plan,) = enlarger.job(side - 8, side - 8, 4.0).plans
    for _ in range(count):
        for _ in enlarger.engine.run(iter([pixels]), side, side, plan, np.uint8):
            pass


if __name__ == "__main__":
    main()
