"""Make the golden values of training with the original basicsr package: its losses, and whole optimisation steps.

As make_golden.py does for the networks, this script builds a throwaway virtual environment, installs basicsr there, and
asks the original, unmodified code. All weights and pictures come from a formula (`numbers`), which the tests share, so that
only results are stored. They are computed in float64: what is stored is the exact value, and a test's tolerance is its own
rounding. `python make_training_golden.py` remakes the files (Python 3.11 or 3.12, access to PyPI).

    python make_training_golden.py --torch torch==2.13.0         # with a chosen torch
    python make_training_golden.py --beside SITE_PACKAGES        # with the torch and torchvision that lie there, to save disk
    python make_training_golden.py --environment FOLDER          # only the environment, kept (for benchmarks/training.py)
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import types
import venv
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).resolve().parent
BASICSR = "basicsr==1.4.2"
LARGEST_FILE = 200_000  # bytes
SAMPLED = 48  # values kept of each large tensor

LAYERS = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0, "conv4_4": 1.0, "conv5_4": 1.0}
"""Real-ESRGAN's."""
LAYERS_16 = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_3": 1.0, "conv4_3": 1.0, "conv5_3": 1.0}
GAMES = ("vanilla", "lsgan", "wgan", "wgan_softplus", "hinge")
BACKBONE_SEED, GENERATOR_SEED, AVERAGE_SEED, DISCRIMINATOR_SEED = 11, 12, 13, 14
GENERATOR = {"num_in_ch": 3, "num_out_ch": 3, "scale": 4, "num_feat": 8, "num_block": 1, "num_grow_ch": 4}

# name: basicsr's model, its discriminator, height and width of the target, and the options of `train`
STEPS: dict[str, tuple[str, dict[str, Any], int, dict[str, Any]]] = {
    "step_esrgan": (
        "ESRGANModel",
        {"type": "VGGStyleDiscriminator", "num_in_ch": 3, "num_feat": 2},
        128,
        {
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1e-2},
            "perceptual_opt": {"type": "PerceptualLoss", "layer_weights": {"conv2_2": 1.0}},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 5e-3},
        },
    ),
    "step_realesrgan": (
        "RealESRGANModel",
        {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4, "skip_connection": True},
        32,
        {
            "ema_decay": 0.999,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
            "perceptual_opt": {"type": "PerceptualLoss", "layer_weights": LAYERS},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 1e-1},
        },
    ),
    "step_realesrgan_ldl": (
        "RealESRGANModel",
        {"type": "UNetDiscriminatorSN", "num_in_ch": 3, "num_feat": 4, "skip_connection": True},
        32,
        {
            "ema_decay": 0.999,
            "pixel_opt": {"type": "L1Loss", "loss_weight": 1.0},
            "ldl_opt": {"type": "L1Loss", "loss_weight": 1.0},
            "gan_opt": {"type": "GANLoss", "gan_type": "vanilla", "loss_weight": 1e-1},
        },
    ),
}
RATE_GENERATOR, RATE_DISCRIMINATOR, BETAS = 1e-4, 2e-4, (0.9, 0.99)


# ---------------------------------------------------------------- the formula, shared with the tests


def numbers(name: str, *shape: int) -> Any:
    """float64 array in [-1, 1), even and without pattern; the same on every machine and for every version.

    The counter starts at the name's CRC-32; each goes through an integer hash (Wellons' lowbias32).
    """
    import numpy as np

    count = int(np.prod(shape))
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(name.encode()))
    x ^= x >> np.uint32(16)
    x *= np.uint32(0x7FEB352D)
    x ^= x >> np.uint32(15)
    x *= np.uint32(0x846CA68B)
    x ^= x >> np.uint32(16)
    return ((x >> np.uint32(8)) / 2.0**23 - 1).reshape(shape)


def picture(name: str, *shape: int) -> Any:
    """float64 (N, 3, H, W) in [0, 1): two scales of noise, all values exact in fp32."""
    import numpy as np

    n, channels, height, width = shape
    coarse = numbers(f"{name}/coarse", n, channels, -(-height // 8), -(-width // 8))
    mixed = np.kron(coarse, np.ones((8, 8)))[..., :height, :width] * 0.7 + numbers(name, *shape) * 0.3
    return np.round((mixed + 1) * 2**15) / 2**16


def parameter(seed: int, key: str, shape: tuple[int, ...]) -> Any:
    """float32 values of one tensor of a state dict: a signal of size one stays about that size."""
    import numpy as np

    drawn = numbers(f"{seed}/{key}", *shape)
    if len(shape) > 1:
        fan_in = int(np.prod(shape[1:]))
        return (drawn * (4.5 / fan_in) ** 0.5).astype(np.float32)  # variance 1.5 / fan_in
    if key.endswith("weight"):  # of a normalisation
        return (1 + drawn * 0.2).astype(np.float32)
    return (drawn * 0.1).astype(np.float32)


def top_singular(weight: Any) -> tuple[Any, Any]:
    """The vectors that spectral normalisation approaches by iterating: from there, more iterations change nothing, so that
    a step's result does not depend on how often the discriminator is called. float64 (rows), (columns).
    """
    import numpy as np

    left, _, right = np.linalg.svd(weight.reshape(len(weight), -1).astype(np.float64), full_matrices=False)
    return left[:, 0], right[0]


def digest(name: str, values: Any) -> Any:
    """What is kept of a tensor: its root mean square, its product with a formula's vector (to which each value counts),
    and some of its values; all of about one size, so that one tolerance fits.
    """
    import numpy as np

    flat = np.asarray(values, np.float64).ravel()
    product = flat @ numbers(f"digest/{name}", flat.size) / flat.size**0.5
    return np.concatenate([[np.mean(flat**2) ** 0.5, product], flat[:: -(-flat.size // SAMPLED)]])


# ---------------------------------------------------------------- outside: the environment


def build_environment(folder: Path, torch: str, beside: Path | None) -> Path:
    """Make a virtual environment with torch and basicsr in it; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-I", "-m", "pip", "install", "--quiet"]
    if beside is None:
        # torchvision here, other than for the networks: the perceptual loss asks it for the shape of VGG
        needed = [torch, "torchvision", "numpy", "opencv-python-headless", "pyyaml"]
    else:
        needed = []
        where = subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            check=True, capture_output=True, text=True,
        ).stdout.strip()  # fmt: skip
        (Path(where) / "beside.pth").write_text(f"{beside.resolve()}\n", encoding="utf-8")
    # what basicsr's setup.py asks for must be there beforehand; see make_golden.py
    subprocess.run([*pip, *needed, "scipy", "tqdm", "requests", "cython", "setuptools<85", "wheel"], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", BASICSR], check=True)
    return python


def make(options: argparse.Namespace, out: Path) -> None:
    """Set up the environment, run this script inside it, and clear away."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        sys.exit(f"this needs Python 3.11 or 3.12 (basicsr does not build on newer), not {platform.python_version()}")
    if options.environment:
        print(build_environment(options.environment.resolve(), options.torch, options.beside))
        return
    folder = Path(tempfile.mkdtemp(prefix="golden-training-"))
    try:
        python = build_environment(folder, options.torch, options.beside)
        command = [str(python), "-I", str(Path(__file__).resolve()), "--inside", "--out", str(out)]
        subprocess.run(command, check=True, cwd=folder)
    finally:
        shutil.rmtree(folder)


# ---------------------------------------------------------------- inside: basicsr


def prepare_imports() -> None:
    """Give basicsr the one module that torchvision has removed: its function lives elsewhere now."""
    from torchvision.transforms import functional

    moved = types.ModuleType("torchvision.transforms.functional_tensor")
    moved.rgb_to_grayscale = functional.rgb_to_grayscale  # type: ignore[attr-defined]
    sys.modules[moved.__name__] = moved


@contextmanager
def formula_backbones() -> Iterator[None]:
    """basicsr asks torchvision for a pretrained VGG; this one has torchvision's layers and the formula's weights."""
    import torch
    from torchvision.models import vgg

    def layers_of(name: str, letter: str) -> Callable[..., Any]:
        def build(**_: Any) -> Any:
            features = vgg.make_layers(vgg.cfgs[letter])
            with torch.no_grad():
                for key, value in features.named_parameters():
                    value.copy_(torch.from_numpy(parameter(BACKBONE_SEED, f"features.{key}", tuple(value.shape))))
            return types.SimpleNamespace(features=features)

        return build

    stand_in = types.SimpleNamespace(vgg19=layers_of("vgg19", "E"), vgg16=layers_of("vgg16", "D"))
    with mock.patch.object(importlib.import_module("basicsr.archs.vgg_arch"), "vgg", stand_in):
        yield


def fill(network: Any, seed: int) -> None:
    """Set all weights by the formula, and spectral normalisation's vectors to where they settle."""
    import torch

    with torch.no_grad():
        for key, value in network.named_parameters():
            value.copy_(torch.from_numpy(parameter(seed, key.removesuffix("_orig"), tuple(value.shape))))
        for module in network.modules():
            if hasattr(module, "weight_u"):
                u, v = top_singular(module.weight_orig.numpy())
                module.weight_u.copy_(torch.from_numpy(u))
                module.weight_v.copy_(torch.from_numpy(v))


def exact(name: str, *shape: int) -> Any:
    """A picture as a float64 tensor."""
    import torch

    return torch.from_numpy(picture(name, *shape))


# ---------------------------------------------------------------- inside: the losses


def pixel_losses() -> dict[str, Any]:
    from basicsr.losses.basic_loss import CharbonnierLoss, L1Loss, MSELoss

    sr, hr = exact("sr", 2, 3, 24, 16).requires_grad_(), exact("hr", 2, 3, 24, 16)
    made: dict[str, Any] = {}
    for name, loss in (
        ("l1", L1Loss()),
        ("mse", MSELoss()),
        ("charbonnier", CharbonnierLoss()),
        ("charbonnier_1e-6", CharbonnierLoss(eps=1e-6)),
    ):
        made |= with_gradient(name, loss(sr, hr), sr)
    return made


def with_gradient(name: str, value: Any, of: Any) -> dict[str, Any]:
    """A loss, and the digest of its gradient."""
    import torch

    (gradient,) = torch.autograd.grad(value, of)
    return {name: value.detach().numpy(), f"gradient/{name}": digest(name, gradient.numpy())}


def perceptual_losses() -> dict[str, Any]:
    from basicsr.losses.basic_loss import PerceptualLoss

    sr, hr = exact("sr", 1, 3, 32, 32).requires_grad_(), exact("hr", 1, 3, 32, 32)
    made: dict[str, Any] = {}
    for name, layers in (("vgg19", LAYERS), ("vgg16", LAYERS_16)):
        with formula_backbones():
            loss = PerceptualLoss(layers, name, perceptual_weight=1.0, style_weight=1.0).double()
        for number, kind in enumerate(("perceptual", "style")):
            made |= with_gradient(f"{kind}_{name}", loss(sr, hr)[number], sr)
    return made


def adversarial_losses() -> dict[str, Any]:
    import torch
    from basicsr.losses.gan_loss import GANLoss

    made: dict[str, Any] = {}
    for game in GAMES:
        loss = GANLoss(game, loss_weight=0.1)
        for real in (False, True):
            for is_disc in (False, True):
                logits = torch.from_numpy(numbers(f"logits/{real}", 2, 1, 6, 5) * 3).requires_grad_()
                name = f"{game}/{'real' if real else 'fake'}/{'discriminator' if is_disc else 'generator'}"
                made |= with_gradient(name, loss(logits, real, is_disc=is_disc), logits)
    return made


def penalties() -> dict[str, Any]:
    """R1, and the gradient penalty. basicsr takes the norm over the channels alone, pixel by pixel; Gulrajani et al. take
    that of the whole picture. On pictures of one pixel both are the same, so these are such.
    """
    import torch
    from basicsr.losses.gan_loss import gradient_penalty_loss, r1_penalty

    critic = penalty_critic()
    real, fake = exact("hr", 2, 3, 16, 16).requires_grad_(), exact("sr", 2, 3, 16, 16)
    made = {"r1": r1_penalty(critic(real), real).detach().numpy()}
    dots, other = real.detach()[:, :, :1, :1], fake[:, :, :1, :1]
    mix = torch.from_numpy((numbers("mix", 2, 1, 1, 1) + 1) / 2)
    with mock.patch("torch.rand", return_value=mix):
        made["gradient_penalty"] = gradient_penalty_loss(critic, dots, other).detach().numpy()
    return made


def penalty_critic() -> Any:
    """Two convolutions: a discriminator that pictures of any size go through. float64."""
    import torch

    first, last = torch.nn.Conv2d(3, 6, 3, padding=1), torch.nn.Conv2d(6, 1, 3, padding=1)
    critic = torch.nn.Sequential(first, torch.nn.Softplus(), last)
    fill(critic, DISCRIMINATOR_SEED)
    return critic.double()


def artifact_maps() -> dict[str, Any]:
    import torch
    from basicsr.losses.loss_util import get_refined_artifact_map

    sr, hr, ema = exact("sr", 2, 3, 20, 16).requires_grad_(), exact("hr", 2, 3, 20, 16), exact("ema", 2, 3, 20, 16)
    found = get_refined_artifact_map(hr, sr, ema, 7)
    assert 0.2 < float((found == 0).double().mean()) < 0.8, "the map must have both kinds of pixels"
    loss = torch.nn.functional.l1_loss(found * sr, found * hr)
    return {"map": found.detach().numpy(), **with_gradient("ldl", loss, sr)}


# ---------------------------------------------------------------- inside: whole steps


def build_model(name: str) -> Any:
    """basicsr's model, built from an option dictionary by its own code, on the CPU, with the formula's weights."""
    import torch

    cls, discriminator, _, train = STEPS[name]
    options = {
        "num_gpu": 0,
        "is_train": True,
        "dist": False,
        "path": {},
        "l1_gt_usm": False,
        "percep_gt_usm": False,
        "gan_gt_usm": False,
        "network_g": {"type": "RRDBNet", **GENERATOR},
        "network_d": discriminator,
        "train": {
            **train,
            "optim_g": {"type": "Adam", "lr": RATE_GENERATOR, "betas": BETAS},
            "optim_d": {"type": "Adam", "lr": RATE_DISCRIMINATOR, "betas": BETAS},
            "scheduler": {"type": "MultiStepLR", "milestones": [1000], "gamma": 0.5},
        },
    }
    module = importlib.import_module(f"basicsr.models.{cls.removesuffix('Model').lower()}_model")
    # RealESRGANModel puts what degrades pictures on the GPU, which no step needs
    with formula_backbones(), mock.patch.object(torch.nn.Module, "cuda", lambda self: self):
        model = getattr(module, cls)(options)
    fill(model.net_g, GENERATOR_SEED)
    fill(model.net_d, DISCRIMINATOR_SEED)
    if model.ema_decay > 0:
        fill(model.net_g_ema, AVERAGE_SEED)
    return model


def step(name: str) -> dict[str, Any]:
    """One call of optimize_parameters: losses, and digests of gradients and of the weights that follow."""
    size = STEPS[name][2]
    found: dict[str, dict[str, Any]] = {}
    for kind in ("double", "float"):
        model = build_model(name)
        networks = {"generator": model.net_g, "discriminator": model.net_d}
        if model.ema_decay > 0:
            networks["average"] = model.net_g_ema
        for part in (*networks.values(), model.cri_perceptual):
            if part is not None:
                getattr(part, kind)()
        model.lq = getattr(exact("lr", 2, 3, size // 4, size // 4), kind)()
        model.gt = model.gt_usm = getattr(exact("hr", 2, 3, size, size), kind)()
        model.optimize_parameters(1)
        made: dict[str, Any] = {"sr": digest("sr", model.output.detach().numpy())}
        made |= {f"loss/{key}": value for key, value in model.log_dict.items()}
        for part, network in networks.items():
            for key, value in network.named_parameters():
                key = key.removesuffix("_orig")
                made[f"after/{part}/{key}"] = digest(key, value.detach().numpy())
                if part != "average":
                    made[f"gradient/{part}/{key}"] = digest(key, value.grad.numpy())
        found[kind] = made
    tell_rounding(name, found["double"], found["float"])
    return found["double"]


def tell_rounding(name: str, double: Mapping[str, Any], single: Mapping[str, Any]) -> None:
    """How far fp32 is from what is stored: what a test's tolerance must allow."""
    import numpy as np

    def off(prefix: str) -> float:
        parts = [(double[key], single[key]) for key in double if key.startswith(prefix)]
        return max(float(np.max(np.abs(np.subtract(a, b))) / np.ravel(np.abs(a))[0]) for a, b in parts)

    print(name, {prefix: f"{off(prefix):.1e}" for prefix in ("sr", "loss/", "gradient/", "after/")}, "off in fp32")
    print("   ", {key: f"{float(value):.6f}" for key, value in double.items() if key.startswith("loss/")})


def store(name: str, arrays: Mapping[str, Any], out: Path) -> None:
    import numpy as np
    import torch

    versions = {package: metadata.version(package) for package in ("basicsr", "torchvision", "numpy")}
    versions |= {"torch": torch.__version__, "python": platform.python_version()}
    path = out / f"training_{name}.npz"
    np.savez_compressed(path, versions=np.array(json.dumps(versions)), **arrays)
    size = path.stat().st_size
    assert size < LARGEST_FILE, f"{path.name} has {size} bytes"
    assert all(np.isfinite(array).all() for array in arrays.values())
    print(f"{path.name:32} {size / 1000:6.1f} kB, {len(arrays)} arrays")


def inside(out: Path) -> None:
    """Make all files; runs in the throwaway environment."""
    import torch

    torch.set_num_threads(2)
    prepare_imports()
    losses = pixel_losses() | perceptual_losses() | adversarial_losses() | penalties() | artifact_maps()
    store("losses", losses, out)
    for name in STEPS:
        store(name, step(name), out)


def main() -> None:
    """Read the options and run the part that is asked for."""
    parser = argparse.ArgumentParser(description="Make the golden values of training with the original basicsr.")
    parser.add_argument("--torch", default="torch", help="what pip installs as torch, e.g. torch==2.13.0")
    parser.add_argument(
        "--beside", type=Path, help="site-packages whose torch, torchvision, numpy, opencv to use instead"
    )
    parser.add_argument("--environment", type=Path, help="only build the environment, in this folder")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .npz files (default: this script's)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.inside:
        inside(out)
    else:
        make(options, out)


if __name__ == "__main__":
    main()
