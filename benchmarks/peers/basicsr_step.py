"""basicsr's own training step, in its own environment (`python tests/golden/make_training_golden.py --environment FOLDER`).

training.py starts this in that environment's Python and asks for steps: one line with a number on standard input, one line of
JSON with their seconds on standard output. The model is basicsr's RealESRGANModel, unmodified; only VGG19 has random weights,
since nothing is downloaded, and the pictures come from training.py, so that its degradations are not measured.
"""

import argparse
import importlib
import json
import os
import sys
import time
import types
from contextlib import nullcontext, redirect_stdout
from typing import Any
from unittest import mock

LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}


def main() -> None:
    options = _options()
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    with redirect_stdout(sys.stderr):  # basicsr prints
        model = build(options)
        print(json.dumps({"ready": _versions()}), file=answers, flush=True)
        number = 0
        for line in sys.stdin:
            began = time.perf_counter()
            for _ in range(int(line)):
                number += 1
                model.optimize_parameters(number)
            _wait(options.device)
            seconds = time.perf_counter() - began
            logged = {key: round(float(value), 5) for key, value in model.log_dict.items()}
            print(
                json.dumps({"seconds": seconds, "memory": _memory(options.device), **logged}), file=answers, flush=True
            )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--features", type=int, default=64, help="of the discriminator")
    parser.add_argument("--threads", type=int)
    return parser.parse_args()


def build(options: argparse.Namespace) -> Any:
    """The model with its networks, losses, optimizers, and one batch. float32, as basicsr trains."""
    import torch
    from torchvision.transforms import functional

    moved: Any = types.ModuleType("torchvision.transforms.functional_tensor")  # which torchvision has removed
    moved.rgb_to_grayscale = functional.rgb_to_grayscale
    sys.modules[moved.__name__] = moved
    from basicsr.models.realesrgan_model import RealESRGANModel

    if options.threads:
        torch.set_num_threads(options.threads)
    torch.backends.cudnn.benchmark = True  # as basicsr's train.py
    # without a GPU: RealESRGANModel puts there what degrades pictures, which no step needs
    stay = mock.patch.object(torch.nn.Module, "cuda", lambda self: self) if options.device == "cpu" else nullcontext()
    with _random_backbone(), stay:
        model = RealESRGANModel(_settings(options))
    generator = torch.Generator().manual_seed(0)
    side = options.crop
    model.gt = torch.rand((options.batch, 3, side, side), generator=generator).to(options.device)
    model.lq = torch.rand((options.batch, 3, side // 4, side // 4), generator=generator).to(options.device)
    model.gt_usm = model.gt
    return model


def _settings(options: argparse.Namespace) -> dict[str, Any]:
    """train_realesrgan_x4plus.yml's, but for the networks' sizes."""
    adam = {"type": "Adam", "lr": 1e-4, "weight_decay": 0, "betas": [0.9, 0.99]}
    network = {"type": "RRDBNet", "num_in_ch": 3, "num_out_ch": 3, "num_feat": 64, "num_block": options.blocks}
    return {
        "num_gpu": 0 if options.device == "cpu" else 1,
        "is_train": True,
        "dist": False,
        "path": {},
        "l1_gt_usm": True,
        "percep_gt_usm": True,
        "gan_gt_usm": False,
        "network_g": {**network, "num_grow_ch": 32},
        "network_d": {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": options.features},
        "train": {
            "ema_decay": 0.999,
            "optim_g": dict(adam),
            "optim_d": dict(adam),
            "scheduler": {"type": "MultiStepLR", "milestones": [400000], "gamma": 0.5},
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
            "perceptual_opt": {"type": "PerceptualLoss", "layer_weights": LAYERS},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 1e-1},
        },
    }


def _random_backbone() -> Any:
    from torchvision.models import vgg

    made = types.SimpleNamespace(vgg19=lambda **_: types.SimpleNamespace(features=vgg.make_layers(vgg.cfgs["E"])))
    return mock.patch.object(importlib.import_module("basicsr.archs.vgg_arch"), "vgg", made)


def _wait(device: str) -> None:
    import torch

    if device != "cpu":
        torch.cuda.synchronize()


def _memory(device: str) -> int:
    """Peak bytes of tensors on a GPU, of the process on a CPU."""
    import resource

    import torch

    if device != "cpu":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _versions() -> dict[str, str]:
    import basicsr
    import torch

    return {"basicsr": basicsr.__version__, "torch": torch.__version__}


if __name__ == "__main__":
    main()
