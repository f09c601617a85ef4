"""How one way of enlarging a picture is measured: in a process of its own, which computes only while it is asked to.

speed.py writes a job's folder and starts the process; see `serve` for what is said between them. Only numpy is needed, so
that a rival may live in an environment of its own.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

Run = Callable[[], Any]
"""Enlarges the job's picture: RGB uint8 (H, W, 3) → uint8 (scale·H, scale·W, 3), or float32 in [0, 1] for the reference."""


@dataclass(frozen=True)
class Job:
    """What to measure. In the folder: picture.npy (RGB uint8), model.pth, .safetensors and .onnx, model.param with .bin."""

    folder: Path
    device: str
    wishes: tuple[str, ...]

    @cached_property
    def pixels(self) -> Any:
        return np.load(self.folder / "picture.npy")

    @cached_property
    def about(self) -> dict[str, Any]:
        """`model`, `arch`, `scale` and further numbers of the network."""
        return json.loads((self.folder / "about.json").read_text(encoding="utf-8"))


def serve(prepared: Callable[[Job], tuple[Run, dict[str, str]]]) -> None:
    """`FILE FOLDER DEVICE RESULT [WISH…]`. `prepared` gives what is measured, all loaded and compiled, and its versions.

    Says {"ready": versions, "preparing": seconds} after a first run, whose result lies in RESULT (.npy); then for each line
    on standard input that holds a number, {"seconds": [that many], "memory": bytes at the peak or null}.
    """
    job = Job(Path(sys.argv[1]), sys.argv[2], tuple(sys.argv[4:]))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with redirect_stdout(sys.stderr):  # rivals print
        began = time.perf_counter()
        run, versions = prepared(job)
        np.save(sys.argv[3], run())
        ready = {"ready": versions, "preparing": time.perf_counter() - began}
        print(json.dumps(ready), file=answers, flush=True)
        for line in sys.stdin:
            seconds = [_timed(run) for _ in range(int(line))]
            print(json.dumps({"seconds": seconds, "memory": _memory(job.device)}), file=answers, flush=True)


def _timed(run: Run) -> float:
    began = time.perf_counter()
    run()
    return time.perf_counter() - began


def _memory(device: str) -> int | None:
    """The whole process's peak on a CPU; on a GPU torch's, and unknown where something else allocates."""
    if device == "cpu":
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    torch = sys.modules.get("torch")
    return torch.cuda.max_memory_reserved() if torch else None
