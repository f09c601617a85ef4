"""spandrel's plain module, as chaiNNer and other GUI programs run it. Wishes: precision, memory order, torch.compile's mode.

`reference` as a fourth wish gives float32 without rounding: what every other way is compared with.
"""

import numpy as np
import spandrel
import torch
from serve import Job, Run, serve

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def prepared(job: Job) -> tuple[Run, dict[str, str]]:
    precision, order, mode, *more = job.wishes
    memory = torch.channels_last if order == "channels_last" else torch.contiguous_format
    loaded = spandrel.ModelLoader().load_from_file(job.folder / "model.pth")
    module = loaded.model.eval().to(job.device, TYPES[precision]).to(memory_format=memory)
    network = module if mode == "eager" else torch.compile(module, mode=None if mode == "default" else mode)

    @torch.inference_mode()
    def run() -> np.ndarray:
        x = torch.from_numpy(job.pixels).to(job.device).permute(2, 0, 1)[None].to(TYPES[precision]) / 255
        y = network(x.contiguous(memory_format=memory))[0].float().clamp(0, 1).permute(1, 2, 0)
        return (y if more else (y * 255).round().to(torch.uint8)).cpu().numpy()

    return run, {"torch": torch.__version__, "spandrel": spandrel.__version__}


if __name__ == "__main__":
    serve(prepared)
