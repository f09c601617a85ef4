"""Make the golden tensors in this folder with the original basicsr package.

Our networks must compute what basicsr's RRDBNet and SRVGGNetCompact compute, for the state dicts that those classes
save. The way to know is to ask the original code. But basicsr drags in old packages and no longer imports as a whole
beside a current torchvision, so it must never enter our own environment. This script therefore builds a throwaway
virtual environment, installs basicsr there, runs a few tiny networks with seeded random weights, and stores weights,
input and output of each as one small .npz file. The tests need only those files.

    python make_golden.py                         # Python 3.11 (3.12 should do; basicsr does not build on 3.13)
    python make_golden.py --torch torch==2.13.0   # with a chosen torch

The script runs twice: first in the caller's Python (standard library only), where it sets up the environment, and
then, as `--inside`, in that environment. There basicsr's own, unmodified files build and run the networks; only the
`__init__.py` files of the packages on the way are passed over, since they import the whole of basicsr (data sets,
metrics, video readers) and with it packages that are of no concern here.
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
from importlib import metadata, util
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
BASICSR = "basicsr==1.4.2"
LARGEST_FILE = 200_000  # bytes
GRID = 1 / 256  # weights are multiples of this
GAIN = {"RRDBNet": 1.5, "SRVGGNetCompact": 2.5}  # a weight's variance times its fan-in

RRDB = ("rrdbnet_arch", "RRDBNet")
COMPACT = ("srvgg_arch", "SRVGGNetCompact")
RRDB_SIZE = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_block": 2, "num_grow_ch": 8}
COMPACT_SIZE = {"num_in_ch": 3, "num_out_ch": 3, "num_feat": 16, "num_conv": 4}

# name: (module and class, constructor arguments, height and width of the input, enlargement, seed)
# Real-ESRGAN's x2 and x1 networks start with a pixel-unshuffle, so their inputs are multiples of 2 and 4.
CASES: dict[str, tuple[tuple[str, str], dict[str, Any], tuple[int, int], int, int]] = {
    "rrdb_x4": (RRDB, {**RRDB_SIZE, "scale": 4}, (13, 10), 4, 101),
    "rrdb_x2": (RRDB, {**RRDB_SIZE, "scale": 2}, (14, 10), 2, 102),
    "rrdb_x1": (RRDB, {**RRDB_SIZE, "scale": 1}, (12, 20), 1, 103),
    "compact_x4_prelu": (COMPACT, {**COMPACT_SIZE, "upscale": 4, "act_type": "prelu"}, (13, 10), 4, 104),
    "compact_x2_leakyrelu": (COMPACT, {**COMPACT_SIZE, "upscale": 2, "act_type": "leakyrelu"}, (11, 15), 2, 105),
    "compact_x3_relu": (COMPACT, {**COMPACT_SIZE, "upscale": 3, "act_type": "relu"}, (9, 13), 3, 106),
}


# ---------------------------------------------------------------- outside: the environment


def build_environment(folder: Path, torch: str) -> Path:
    """Make a virtual environment with torch and basicsr in it; return its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [str(python), "-I", "-m", "pip", "install", "--quiet"]
    # basicsr's setup.py asks for cython, numpy and torch through setup_requires. They must be there beforehand,
    # together with what builds a wheel: left to itself, setuptools would fetch a second torch with all its libraries.
    subprocess.run([*pip, torch, "numpy", "cython", "setuptools<85", "wheel"], check=True)
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", BASICSR], check=True)
    return python


def make(torch: str, out: Path, keep: bool) -> None:
    """Set up the environment, run this script inside it, and clear away."""
    if not (3, 11) <= sys.version_info[:2] <= (3, 12):
        sys.exit(f"this needs Python 3.11 or 3.12 (basicsr does not build on newer), not {platform.python_version()}")
    folder = Path(tempfile.mkdtemp(prefix="golden-basicsr-"))
    try:
        python = build_environment(folder, torch)
        command = [str(python), "-I", str(Path(__file__).resolve()), "--inside", "--out", str(out)]
        subprocess.run(command, check=True, cwd=folder)
    finally:
        if keep:
            print(f"kept the environment: {folder}")
        else:
            shutil.rmtree(folder)


# ---------------------------------------------------------------- inside: the tensors


def bare_package(name: str) -> types.ModuleType:
    """Register a package at its true place without running its `__init__.py`, so that submodules can be imported."""
    spec = util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(f"{name} is not installed as a package")
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules[name] = package
    return package


def prepare_imports() -> None:
    """Make basicsr's architecture files importable on their own."""
    bare_package("basicsr")
    bare_package("basicsr.archs")
    utils = bare_package("basicsr.utils")
    # `from basicsr.utils import get_root_logger`: the real one, from the one file that holds it
    utils.get_root_logger = importlib.import_module("basicsr.utils.logger").get_root_logger
    # arch_util.py imports torchvision for deformable convolutions, which these networks do not have; the empty
    # module has no attributes, so any use of it would fail rather than go unnoticed
    sys.modules["torchvision"] = types.ModuleType("torchvision")


def fill_randomly(network: Any, generator: Any, gain: float) -> None:
    """Draw all weights anew, at a size that carries the signal through every layer.

    (basicsr starts its dense blocks at a tenth of that, where an error in them would hardly show.) Values are rounded
    to multiples of GRID: still ordinary fp32 numbers, but the files compress well.
    """
    import torch

    filled = set()
    with torch.no_grad():
        for name, module in network.named_modules():
            if isinstance(module, torch.nn.Conv2d):
                fan_in = module.weight[0].numel()
                drawn = {
                    "weight": torch.randn(module.weight.shape, generator=generator) * (gain / fan_in) ** 0.5,
                    "bias": torch.randn(module.bias.shape, generator=generator) * 0.1,
                }
            elif isinstance(module, torch.nn.PReLU):
                drawn = {"weight": torch.rand(module.weight.shape, generator=generator) * 0.3 + 0.1}
            else:
                continue
            for key, values in drawn.items():
                getattr(module, key).copy_((values / GRID).round() * GRID)
                filled.add(f"{name}.{key}")
    assert filled == set(network.state_dict()), "every tensor of the state dict must have been drawn"


def make_case(name: str, out: Path) -> None:
    """Run one network and store its weights, input and output."""
    import numpy as np
    import torch

    (module, cls), arguments, (height, width), scale, seed = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    network = getattr(importlib.import_module(f"basicsr.archs.{module}"), cls)(**arguments).eval()
    fill_randomly(network, generator, GAIN[cls])
    picture = torch.rand((1, 3, height, width), generator=generator)
    with torch.inference_mode():
        output = network(picture.clone())
        # the float64 run tells how far fp32 rounding alone moves the output: what a test's tolerance must allow
        exact = network.double()(picture.double())
        network.float()

    plain = torch.nn.functional.interpolate(picture, scale_factor=scale, mode="nearest")
    assert output.shape == plain.shape
    assert output.dtype == torch.float32
    assert 0.2 < output.std() < 3, f"{name}: output has spread {output.std():.3f}"
    assert (output - plain).std() > 0.2, f"{name}: output hardly differs from a plain resize"

    versions = {
        "basicsr": metadata.version("basicsr"),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "class": cls,
        "arguments": arguments,
        "seed": seed,
    }
    arrays = {f"weight/{key}": value.numpy() for key, value in network.state_dict().items()}
    assert all(array.dtype == np.float32 for array in arrays.values())
    arrays["input"] = picture.numpy()
    arrays["output"] = output.numpy()
    path = out / f"{name}.npz"
    np.savez_compressed(path, versions=np.array(json.dumps(versions)), **arrays)
    size = path.stat().st_size
    assert size < LARGEST_FILE, f"{path.name} has {size} bytes"
    print(
        f"{path.name:26} {size / 1000:6.1f} kB  output {tuple(output.shape)}, {output.min():.2f} to {output.max():.2f},"
        f" spread {output.std():.2f}; from plain resize {(output - plain).std():.2f};"
        f" from float64 {(output - exact).abs().max():.1e}"
    )


def inside(out: Path) -> None:
    """Make all cases; runs in the throwaway environment."""
    import torch

    torch.set_num_threads(1)
    prepare_imports()
    for name in CASES:
        make_case(name, out)


def main() -> None:
    """Read the options and run the part that is asked for."""
    parser = argparse.ArgumentParser(description="Make the golden tensors with the original basicsr.")
    parser.add_argument("--torch", default="torch", help="what pip installs as torch, e.g. torch==2.13.0")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .npz files (default: this script's)")
    parser.add_argument("--keep", action="store_true", help="keep the virtual environment")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    out = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    if options.inside:
        inside(out)
    else:
        make(options.torch, out, options.keep)


if __name__ == "__main__":
    main()
