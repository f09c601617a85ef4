"""upscale's own engines, without reading, padding and color fix. Wishes: the engine and the precision."""

import numpy as np
from serve import Job, Run, serve

from upscale.bands import Plan
from upscale.checkpoint import read_checkpoint
from upscale.engines.choose import Wish, choose
from upscale.image import to_float
from upscale.plans import ladder


def prepared(job: Job) -> tuple[Run, dict[str, str]]:
    engine_name, precision, rows = job.wishes
    wish = Wish(device=job.device, engine=engine_name, precision=precision)  # pyright: ignore[reportArgumentType]
    engine = choose(read_checkpoint(job.folder / "model.safetensors"), wish).engine
    height, width = job.pixels.shape[:2]
    plan = Plan(int(rows), 32) if int(rows) else ladder(engine.spec, width, height, "auto")[0]

    def run() -> np.ndarray:
        bands = engine.run(iter([to_float(job.pixels)]), width, height, plan, np.uint8)
        return np.concatenate(list(bands))

    if job.device != "cpu":
        run()  # with the second one, runs are recorded
    return run, {"engine": f"{engine.name} {engine.version}", "precision": engine.precision}


if __name__ == "__main__":
    serve(prepared)
