"""Real-ESRGAN's own RealESRGANer with basicsr's networks, in their own environment. Wish: the tile's side, 0 for none.

    python tests/golden/make_training_golden.py --environment FOLDER
    FOLDER/bin/pip install --no-deps realesrgan==0.3.0

The settings are those of inference_realesrgan.py: tile_pad 10, pre_pad 0, fp32 on a CPU, half on a GPU.
"""

import contextlib
import sys
import types
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))  # python -I leaves it out
from serve import Job, Run, serve

PAD = 10


def prepared(job: Job) -> tuple[Run, dict[str, str]]:
    import torch
    from torchvision.transforms import functional

    moved: Any = types.ModuleType("torchvision.transforms.functional_tensor")  # which torchvision has removed
    moved.rgb_to_grayscale = functional.rgb_to_grayscale
    sys.modules[moved.__name__] = moved
    from realesrgan import RealESRGANer

    enhancer = RealESRGANer(
        job.about["scale"],
        str(job.folder / "model.pth"),
        model=_network(job.about),
        tile=int(job.wishes[0]),
        tile_pad=PAD,
        pre_pad=0,
        half=job.device != "cpu",
        device=torch.device(job.device),
    )
    versions = {name: metadata.version(name) for name in ("realesrgan", "basicsr", "torch")}

    def run() -> Any:
        with contextlib.redirect_stdout(None):  # a line for each tile
            return enhancer.enhance(job.pixels[..., ::-1])[0][..., ::-1]

    return run, versions


def _network(about: dict[str, Any]) -> Any:
    if about["arch"] == "rrdb":
        from basicsr.archs.rrdbnet_arch import RRDBNet

        return RRDBNet(3, 3, about["scale"], about["features"], about["blocks"], about["growth"])
    from realesrgan.archs.srvgg_arch import SRVGGNetCompact

    return SRVGGNetCompact(3, 3, about["features"], about["blocks"], about["scale"], about["activation"])


if __name__ == "__main__":
    serve(prepared)
