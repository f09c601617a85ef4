"""A degradation learnt from bad pictures alone, against presets and the truth: fine-tuning with each, LPIPS on val.

    python benchmarks/unpaired.py ../shared/data -o /tmp/unpaired --ways mild learned true     # minutes for each way and chain

Hidden chains spoil pictures. The learner sees a folder of files that a chain made of the first pictures of train/; the
network (animevideov3) is then fine-tuned on the other pictures of train/, equally long with each way to spoil them, and
measured on the middles of the 30 pictures of val/, spoiled by the hidden chain. Nobody sees what belongs to a bad picture.
The chains are written with OpenCV and Pillow alone, so that nothing is judged by its own code.
"""

import argparse
import io
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from common import save, table
from PIL import Image

from upscale.image import Floats, from_float, to_float
from upscale.model import open_model
from upscale.nets import build
from upscale_training.data.held_out import middle
from upscale_training.data.pictures import read_picture
from upscale_training.evaluate import Case, evaluate
from upscale_training.judge import bytes_of, tensor
from upscale_training.metrics.suite import open_metrics
from upscale_training.run import Order, carried_out
from upscale_training.run_folder import RunFolder

Levels = npt.NDArray[np.float32]
SCALE = 4
BAD = 60
"""Pictures of train/ that are spoiled for the learner, and kept out of the fine-tuning."""
SIDE = 256
"""Middles of val's pictures that are measured, pixels."""
METRICS = ("lpips_alex", "psnr_y")
SLOW = ("lpips_vgg", "dists")
"""Measured on every third picture, since the losses saw what `lpips_alex` sees."""


@dataclass(frozen=True, slots=True)
class Hidden:
    """Blur (σ along, across, pixels of the large picture; angle in degrees) → 1/4 → noise → JPEG.

    `noise`: σ in 8-bit levels, `grain`: σ of its own blur down and across, pixels; `color`: share of its variance that is each
    channel's own; `shot`: it grows with the root of the brightness. `quality`: of the JPEG. `shrinker`: OpenCV's or Pillow's.
    """

    blur: tuple[float, float]
    angle: float
    shrinker: Any
    noise: float
    grain: tuple[float, float]
    color: float
    shot: bool
    quality: tuple[int, int]
    subsampling: str

    def __call__(self, picture: Floats, rng: np.random.Generator) -> Floats:
        """A crop's twin; the JPEG's grid begins at its corner. As a Degradation it is the truth to be learnt."""
        return np.asarray(Image.open(io.BytesIO(self.file(picture, rng))).convert("RGB"), np.float32) / 255

    def file(self, picture: Floats, rng: np.random.Generator) -> bytes:
        """The JPEG file."""
        height, width = (side // SCALE for side in picture.shape[:2])
        soft = cv2.filter2D(picture * 255, -1, self._kernel(), borderType=cv2.BORDER_REFLECT_101)
        soft = np.rint(np.clip(soft, 0, 255)).astype(np.uint8)
        if isinstance(self.shrinker, Image.Resampling):
            small = np.asarray(Image.fromarray(soft).resize((width, height), self.shrinker), np.float32)
        else:
            small = cv2.resize(soft, (width, height), interpolation=self.shrinker).astype(np.float32)
        small = small + self._grain((height, width), rng) * (np.sqrt((small + 8) / 128) if self.shot else 1)
        stream = io.BytesIO()
        quality = int(rng.integers(self.quality[0], self.quality[1] + 1))
        levels = np.rint(np.clip(small, 0, 255)).astype(np.uint8)
        Image.fromarray(levels).save(stream, "jpeg", quality=quality, subsampling=self.subsampling)
        return stream.getvalue()

    def _kernel(self) -> Levels:
        along, across = self.blur
        y, x = np.mgrid[-12:13, -12:13].astype(np.float32)
        turn = np.deg2rad(self.angle)
        u, v = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
        kernel = np.exp(-0.5 * ((u / along) ** 2 + (v / across) ** 2))
        return kernel / kernel.sum()

    def _grain(self, shape: tuple[int, int], rng: np.random.Generator) -> Levels:
        """(H, W, 3) of the chain's σ in each channel, whatever its blur."""
        common, own = rng.standard_normal((*shape, 1)), rng.standard_normal((*shape, 3))
        field = (np.sqrt(1 - self.color) * common + np.sqrt(self.color) * own).astype(np.float32)
        down, across = self.grain
        field = cv2.GaussianBlur(field, (0, 0), sigmaX=across, sigmaY=down)
        return self.noise * field / field.std()


CHAINS = {
    "camera": Hidden((1.2, 1.2), 0, cv2.INTER_AREA, 9.0, (0.7, 0.7), 0.6, False, (60, 60), "4:2:0"),
    "tape": Hidden((3.2, 1.4), 25, Image.Resampling.BICUBIC, 8.0, (0.3, 1.3), 0.3, True, (70, 90), "4:4:4"),
    "scan": Hidden((2.6, 1.0), 110, Image.Resampling.LANCZOS, 11.0, (0.9, 0.5), 0.8, True, (50, 85), "4:2:2"),
}
"""`tape`'s pictures are stored as PNG, so that no file tells the quality; the others' are JPEG files. The learner was made with a
view to what it found of `camera` and `tape`; `scan` was written down afterwards, and the learner was not changed for it."""

RECIPE = """
import sys
sys.path.insert(0, {here!r})
from upscale_training.generator import spec_for
from upscale_training.losses import l1, lpips
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import main
{imports}

stage = Stage("tune", {steps}, (l1(1.0), lpips(0.2, "alex")), batch={batch}, crop={crop}, learning_rate=2e-4,
    decay="cosine", warmup=20)
main(Recipe("{way}", spec_for("animevideov3", "{way}", {scale}), (stage,), {preset}, start="animevideov3", ema=0.98,
    seed=7, log_every=25, validate_every=10_000, checkpoint_every=10_000))
"""
"""`validate_every`: at the beginning and the end alone."""

WAYS = {
    "mild": ("from upscale_training.degrade.presets import mild", "mild"),
    "realesrgan": ("from upscale_training.degrade.presets import realesrgan", "realesrgan"),
    "true": ("from unpaired import the_truth", "the_truth({chain!r})"),
    "imitate": ("from upscale_training.degrade.files import from_script", "from_script(Path({file!r}))"),
    "learned": ("from upscale_training.unpaired import pool_preset", "pool_preset(Path({file!r}))"),
}
"""What a recipe says for each way to spoil its pictures. The presets know no chain: they are trained once for both."""


@dataclass(frozen=True, slots=True)
class Truth:
    """The hidden chain as a preset."""

    chain: str

    def __call__(self, scale: int) -> Hidden:
        if scale != SCALE:
            raise ValueError(f"the chains shrink to 1/{SCALE}")
        return CHAINS[self.chain]


def the_truth(chain: str) -> Truth:
    return Truth(chain)


def spoiled(data: Path, out: Path, chain: str) -> Path:
    """The folder of bad pictures, made once: whole pictures of train/, at most 1200 pixels of each."""
    folder = out / f"bad-{chain}"
    if not folder.is_dir():
        folder.mkdir(parents=True)
        for number, path in enumerate(_train(data)[:BAD]):
            whole = to_float(from_float(to_float(read_picture(path)), np.uint8))
            file = CHAINS[chain].file(middle(whole, 1200, SCALE), np.random.default_rng([1, number]))
            if chain == "tape":
                Image.open(io.BytesIO(file)).save(folder / f"{number:03}.png")
            else:
                (folder / f"{number:03}.jpg").write_bytes(file)
    return folder


def _train(data: Path) -> list[Path]:
    """In an order that mixes photographs and comics."""
    paths = sorted((data / "train").glob("*.webp"))
    return [paths[int(index)] for index in np.random.default_rng(0).permutation(len(paths))]


def others(data: Path, out: Path) -> Path:
    """Links to the pictures of train/ that were not spoiled: what is fine-tuned on."""
    folder = out / "good"
    folder.mkdir(parents=True, exist_ok=True)
    for path in _train(data)[BAD:]:
        link = folder / path.name
        if not link.exists():
            link.symlink_to(path.resolve())
    return folder


def fine_tuned(way: str, chain: str, file: Path, good: Path, options: argparse.Namespace) -> Path:
    """The folder of the finished run."""
    name = way if way in ("mild", "realesrgan") else f"{way}-{chain}"
    run: Path = options.out / "runs" / name
    if not (run / "model.safetensors").is_file() or not (run / "done").is_file():
        imports, preset = (text.format(chain=chain, file=str(file)) for text in WAYS[way])
        script: Path = options.out / f"recipe_{name.replace('-', '_')}.py"
        here = str(Path(__file__).resolve().parent)
        settings = {"steps": options.steps, "batch": options.batch, "crop": options.crop, "scale": SCALE}
        text = RECIPE.format(
            here=here, imports=f"from pathlib import Path\n{imports}", preset=preset, way=name, **settings
        )
        script.write_text(text)
        begun = time.process_time()
        few = options.out / "few"  # the run's own judge: hardly any work
        few.mkdir(exist_ok=True)
        for path in sorted((options.data / "val").glob("*.webp"))[:2]:
            (few / path.name).unlink(missing_ok=True)
            (few / path.name).symlink_to(path.resolve())
        carried_out(Order(script, (good,), run, val=(few,), workers=0, overwrite=True), [])
        (run / "done").write_text(f"{time.process_time() - begun:.0f} seconds of processor\n")
    return run


def measured(run: Path | None, cases: list[Case], sheet: Path | None = None) -> dict[str, float]:
    """Of the last step's average, whatever the run's own judge thought best; None: of animevideov3 as it is published."""
    spec_and_arrays = open_model("animevideov3")
    network = build(spec_and_arrays.spec)
    if run is None:
        state = {key: torch.tensor(value) for key, value in spec_and_arrays.arrays.items()}
    else:
        state = RunFolder(run).latest()["players"]["ema"]
    network.load_state_dict(state)

    @torch.inference_mode()
    def enlarge(lr: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
        return bytes_of(network(tensor(lr, torch.device("cpu"))))

    shown: list[npt.NDArray[Any]] = []
    report = evaluate(
        enlarge, cases, open_metrics(METRICS)[0], watch=lambda name, lr, result, original, values: shown.append(result)
    )
    slow = evaluate(enlarge, cases[::3], open_metrics(SLOW)[0])
    if sheet is not None:
        sheet.mkdir(parents=True, exist_ok=True)
        for case, result in zip(cases, shown, strict=True):
            Image.fromarray(result).save(sheet / f"{case.name}.png")
    return {**report.mean, **slow.mean}


@dataclass(frozen=True, slots=True)
class Held:
    """A picture of val/, its middle, spoiled by the hidden chain."""

    path: Path
    number: int
    chain: str

    def __call__(self) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        original = middle(to_float(read_picture(self.path)), SIDE, SCALE)
        small = CHAINS[self.chain](original, np.random.default_rng([2, self.number]))
        return from_float(small, np.uint8), from_float(original, np.uint8)


def cases_of(data: Path, chain: str) -> list[Case]:
    paths = sorted((data / "val").glob("*.webp"))
    return [Case(path.stem, Held(path, number, chain)) for number, path in enumerate(paths)]


def learn(way: str, folder: Path, file: Path) -> None:
    """Looks at the bad pictures alone."""
    if file.exists():
        return
    begun = time.process_time()
    if way == "learned":
        from upscale_training.unpaired import learned_from, summary

        learned = learned_from(folder)
        learned.save(file)
        print(summary(learned))
    else:
        from upscale_training.imitate.look import look_at
        from upscale_training.imitate.recipe import recipe_text

        file.write_text(recipe_text(look_at(folder), folder), encoding="utf-8")
    print(f"{file.name}: {time.process_time() - begun:.0f} seconds of processor", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train/ and val/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--chains", nargs="+", default=list(CHAINS), choices=list(CHAINS))
    parser.add_argument("--ways", nargs="+", default=["mild", "learned"], choices=list(WAYS))
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--keep", action="store_true", help="writes results/unpaired.json")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    options.out, options.data = options.out.resolve(), options.data.resolve()
    good, rows = others(options.data, options.out), list[dict[str, Any]]()
    for chain in options.chains:
        folder = spoiled(options.data, options.out, chain)
        cases = cases_of(options.data, chain)
        rows.append(_row(chain, "untrained", measured(None, cases), rows))
        for way in options.ways:
            file = options.out / (f"imitate_{chain}.py" if way == "imitate" else f"learned-{chain}.npz")
            if way in ("imitate", "learned"):
                learn(way, folder, file)
            run = fine_tuned(way, chain, file, good, options)
            rows.append(_row(chain, way, measured(run, cases, options.out / "results" / f"{chain}-{way}"), rows))
            print(json.dumps(rows[-1]), flush=True)
    print(table(rows))
    if options.keep:
        settings = {
            "steps": options.steps,
            "batch": options.batch,
            "crop": options.crop,
            "bad pictures": BAD,
            "side": SIDE,
        }
        save("unpaired", rows, **settings, losses="l1 + 0.2 lpips (alex)", network="animevideov3", val=30)


def _row(chain: str, way: str, means: dict[str, float], before: list[dict[str, Any]]) -> dict[str, Any]:
    """Means over val, and LPIPS against that of `mild` on the same chain."""
    row = {"chain": chain, "way": way, **{name: round(value, 4) for name, value in means.items()}}
    mild = next((other["lpips_alex"] for other in before if other["chain"] == chain and other["way"] == "mild"), None)
    return row | {"against mild": round(row["lpips_alex"] / mild - 1, 3) if mild else None}


if __name__ == "__main__":
    main()
