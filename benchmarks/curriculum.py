"""A curriculum against the flat schedule: validation LPIPS over the seconds of training, and when both reach the same.

    python benchmarks/curriculum.py ../shared/data -o /tmp/curriculum            # half an hour on two cores

The curriculum is training/recipes/progressive_x4.py, the flat schedule flat_x4.py beside this file. Seconds are those of steps
alone: validations, checkpoints and reports are left out on both sides. What is below ×4 is judged at its own scale, so those
validations are left out too: the curriculum's curve begins where it enlarges four times.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from common import RESULTS, ROOT, save, table

from upscale_training.order import Order
from upscale_training.recipe import Recipe
from upscale_training.report.log import read_log
from upscale_training.run import carried_out
from upscale_training.run_folder import RunFolder
from upscale_training.script import load_recipe

RECIPES = {
    "curriculum": ROOT / "training" / "recipes" / "progressive_x4.py",
    "flat": Path(__file__).with_name("flat_x4.py"),
}


@dataclass(frozen=True, slots=True)
class Judged:
    """A validation at ×4, after so many seconds of training."""

    step: int
    seconds: float
    lpips: float
    psnr: float


def main() -> None:
    options = _options()
    found = {name: judged(load_recipe(script), trained(script, options)) for name, script in RECIPES.items()}
    equal = max(min(one.lpips for one in course) for course in found.values())
    rows = [_row(name, course, equal) for name, course in found.items()]
    print(table(rows))
    courses = {
        name: [[one.step, round(one.seconds, 1), one.lpips, one.psnr] for one in course]
        for name, course in found.items()
    }
    save("curriculum", rows, torch=torch.__version__, threads=torch.get_num_threads(), equal=equal, courses=courses)
    (RESULTS / "curriculum.svg").write_text(plot(found) + "\n", encoding="utf-8")


def trained(script: Path, options: argparse.Namespace) -> Path:
    """The run's folder; one that is finished is read, one that was cut off goes on."""
    out = options.out / script.stem
    data = options.data
    resume = bool(RunFolder(out).checkpoints())
    carried_out(Order(script, (data / "train",), out, (data / "val",), device=options.device, resume=resume), [])
    return out


def judged(recipe: Recipe, run: Path) -> list[Judged]:
    records = read_log(run / "log.jsonl")
    full = recipe.network.scale
    course = list[Judged]()
    for line in records.validations:
        index, _ = recipe.stage_at(max(0, line["step"] - 1))
        if recipe.spec_in(recipe.stages[index]).scale == full:
            metrics = line["metrics"]
            course.append(
                Judged(
                    line["step"], seconds_until(records.steps, line["step"]), metrics["lpips_alex"], metrics["psnr_y"]
                )
            )
    return course


def seconds_until(lines: list[dict[str, Any]], step: int) -> float:
    """Each line of the log gives the mean of the steps since the one before."""
    total, before = 0.0, 0
    for line in lines:
        if line["step"] <= step:
            total += (line["step"] - before) * line["seconds"]
            before = line["step"]
    return total


def _row(name: str, course: list[Judged], equal: float) -> dict[str, Any]:
    best = min(course, key=lambda one: one.lpips)
    reached = next(one.seconds for one in course if one.lpips <= equal)
    return {
        "schedule": name,
        "best LPIPS": round(best.lpips, 4),
        "PSNR (Y) there": round(best.psnr, 2),
        "seconds of steps": round(course[-1].seconds),
        f"seconds to {equal:.4f}": round(reached),
    }


def plot(found: dict[str, list[Judged]]) -> str:
    """LPIPS over minutes, as an SVG."""
    wide, high, left, top = 640, 320, 60, 30
    minutes = max(course[-1].seconds for course in found.values()) / 60
    values = [one.lpips for course in found.values() for one in course if one.step]
    low, most = 0.98 * min(values), 1.02 * max(values)

    def at(minute: float, lpips: float) -> str:
        return f"{left + wide * minute / minutes:.1f},{top + high * (most - min(lpips, most)) / (most - low):.1f}"

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{wide + 90}" height="{high + 80}" font-family="sans-serif">',
        f'<rect width="{wide + 90}" height="{high + 80}" fill="white"/>',
        f'<rect x="{left}" y="{top}" width="{wide}" height="{high}" fill="#f4f4f4"/>',
        f'<text x="{left}" y="18">LPIPS (alex) of validation pictures, over minutes of training steps</text>',
    ]
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = at(share * minutes, low + share * (most - low)).split(",")
        parts.append(f'<text x="{x}" y="{top + high + 18}" text-anchor="middle">{share * minutes:.1f}</text>')
        parts.append(f'<text x="{left - 6}" y="{y}" text-anchor="end">{low + share * (most - low):.3f}</text>')
    for index, (name, color) in enumerate(zip(found, ("#c0392b", "#2563a8"), strict=True)):
        line = " ".join(at(one.seconds / 60, one.lpips) for one in found[name])
        parts.append(f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts.append(f'<text x="{left + 10 + 120 * index}" y="{top + high + 42}" fill="{color}">{name}</text>')
    return "\n".join([*parts, "</svg>"])


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder with train/ and val/")
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--device", default="auto")
    return parser.parse_args()


if __name__ == "__main__":
    main()
