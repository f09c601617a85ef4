"""Make degradation_kernels.npz with the original basicsr: its blur kernels and its unsharp masking.

Our kernels claim to be basicsr's, so basicsr itself computes what they must be. This script takes its two files
`data/degradations.py` and `utils/img_process_util.py` out of the published archive, checks the archive's sha256, and runs them
unmodified in a throwaway process. They need numpy, scipy, OpenCV and torch, which may be any installed ones, and import one
function of torchvision that no longer exists and that no kernel uses: an empty stand-in takes its place, so that any use of
it would fail. basicsr itself is never installed.

    pip download --no-deps --no-binary :all: basicsr==1.4.2     # or from https://pypi.org/project/basicsr/1.4.2/#files
    python tests/golden/make_degradations.py basicsr-1.4.2.tar.gz
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import platform
import subprocess
import sys
import tarfile
import tempfile
import types
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SHA256 = "b89b595a87ef964cda9913b4d99380ddb6554c965577c0c10cb7b78e31301e87"
FILES = {"degradations": "basicsr/data/degradations.py", "img_process_util": "basicsr/utils/img_process_util.py"}

# name: (basicsr's function, its arguments). Sizes, sigmas, angles and betas from the ranges of Real-ESRGAN's options.
GAUSSIAN, GENERALIZED, PLATEAU = "bivariate_Gaussian", "bivariate_generalized_Gaussian", "bivariate_plateau"
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "gaussian_iso": (GAUSSIAN, {"kernel_size": 21, "sig_x": 2.7, "sig_y": 2.7, "theta": 0.0, "isotropic": True}),
    "gaussian_sharp": (GAUSSIAN, {"kernel_size": 7, "sig_x": 0.2, "sig_y": 0.2, "theta": 0.0, "isotropic": True}),
    "gaussian_aniso": (GAUSSIAN, {"kernel_size": 15, "sig_x": 2.9, "sig_y": 0.8, "theta": 0.7, "isotropic": False}),
    "generalized_iso": (
        GENERALIZED,
        {"kernel_size": 13, "sig_x": 1.9, "sig_y": 1.9, "theta": 0.0, "beta": 0.6, "isotropic": True},
    ),
    "generalized_aniso": (
        GENERALIZED,
        {"kernel_size": 21, "sig_x": 1.1, "sig_y": 2.6, "theta": -2.1, "beta": 3.3, "isotropic": False},
    ),
    "plateau_iso": (
        PLATEAU,
        {"kernel_size": 11, "sig_x": 1.4, "sig_y": 1.4, "theta": 0.0, "beta": 1.0, "isotropic": True},
    ),
    "plateau_aniso": (
        PLATEAU,
        {"kernel_size": 17, "sig_x": 0.7, "sig_y": 2.2, "theta": 2.8, "beta": 1.7, "isotropic": False},
    ),
    "sinc_wide": ("circular_lowpass_kernel", {"kernel_size": 21, "cutoff": 0.65}),
    "sinc_full": ("circular_lowpass_kernel", {"kernel_size": 21, "cutoff": 3.14}),
    "sinc_small": ("circular_lowpass_kernel", {"kernel_size": 7, "cutoff": 1.3}),
}


def make(archive: Path, out: Path) -> None:
    """Unpack the two files and run this script in a process of its own."""
    found = hashlib.sha256(archive.read_bytes()).hexdigest()
    if found != SHA256:
        sys.exit(f"{archive} is not basicsr 1.4.2 as published: its sha256 is {found}")
    with tempfile.TemporaryDirectory(prefix="golden-basicsr-") as name, tarfile.open(archive) as tar:
        for member in FILES.values():
            source = tar.extractfile(f"basicsr-1.4.2/{member}")
            assert source is not None
            (Path(name) / Path(member).name).write_bytes(source.read())
        script = str(Path(__file__).resolve())
        subprocess.run([sys.executable, "-I", script, name, "--inside", "--out", str(out)], check=True, cwd=name)


def inside(folder: Path, out: Path) -> None:
    """Compute all cases; runs in the throwaway process."""
    import cv2
    import numpy as np
    import scipy

    for name in ("torchvision", "torchvision.transforms", "torchvision.transforms.functional_tensor"):
        sys.modules[name] = types.ModuleType(name)
    sys.modules["torchvision.transforms.functional_tensor"].rgb_to_grayscale = None  # pyright: ignore
    original, sharpening = (_loaded(folder / Path(path).name, name) for name, path in FILES.items())
    arrays = {
        f"kernel/{name}": getattr(original, function)(**arguments) for name, (function, arguments) in CASES.items()
    }
    y, x = np.mgrid[0:40, 0:56]
    picture = np.stack([(x // 9 + y // 7) % 2 * 0.5 + 0.2, x / 56, y / 60 + 0.1 * (x > 30)], axis=2)
    picture = (np.rint(picture * 255) / 255).astype(np.float32)
    arrays |= {"usm/input": picture, "usm/output": sharpening.usm_sharp(picture).astype(np.float32)}
    versions = {
        "basicsr": "1.4.2",
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "opencv": cv2.__version__,
        "python": platform.python_version(),
        "cases": {name: {"function": function, **arguments} for name, (function, arguments) in CASES.items()},
    }
    path = out / "degradation_kernels.npz"
    np.savez_compressed(path, versions=np.array(json.dumps(versions)), **arrays)
    print(f"{path.name}: {len(CASES)} kernels and a sharpened picture, {path.stat().st_size / 1000:.1f} kB")


def _loaded(path: Path, name: str) -> types.ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Read the options and run the part that is asked for."""
    parser = argparse.ArgumentParser(description="Make the golden blur kernels with the original basicsr.")
    parser.add_argument("source", type=Path, help="basicsr-1.4.2.tar.gz")
    parser.add_argument("--out", type=Path, default=HERE, help="folder for the .npz file (default: this script's)")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    (inside if options.inside else make)(options.source, options.out.resolve())


if __name__ == "__main__":
    main()
