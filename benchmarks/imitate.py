"""How well `upscale-train imitate` reads 60 hidden chains: folders of 3 to 8 val pictures, and single pictures.

    python benchmarks/imitate.py ../shared/data/val          # prints a table; results/imitate.json and imitate.svg

Truth: noise is the σ added to each channel, in 8-bit levels, when it was added (a later resize changes what is left of it);
luma noise its share in luma (0.669 of it, if colored); blur the σ of the chain's Gaussian in pixels of the picture that was
then given noise (σ / scale: what shrinking itself blurs, and the scene's own blur, are not in it); quality the last JPEG's.
A blur below a fifth of a pixel or noise below two levels is hardly there: relative tolerances have a floor, given in the table.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from imitate_chains import Chain, applied, draw, original, write

from upscale_training.imitate.guess import COLOR_TO_LUMA, Guess
from upscale_training.imitate.look import Findings, findings, look_at
from upscale_training.imitate.reading import paths_in, read

RESULTS = Path(__file__).parent / "results"
SEED = 505
SINGLES = 1
"""Pictures of each folder that are read alone as well."""
TOLERANCES = {
    "noise": (0.15, 0.5),
    "luma noise": (0.15, 0.5),
    "blur": (0.20, 0.15),
    "quality": (0.0, 5.0),
    "later": (0.02, 0.0),
}
"""(relative, floor) of what counts as right: levels, levels, pixels, points, factor."""
Row = dict[str, Any]


def truth(chain: Chain) -> Row:
    return {
        "noise": chain.noise,
        "luma noise": chain.noise * (COLOR_TO_LUMA if chain.color else 1),
        "blur": chain.seen_blur,
        "quality": chain.last_quality,
        "later": chain.later or 1.0,
        "color": chain.color,
        "subsampling": chain.subsampling if chain.last_quality and not chain.later else None,
    }


def read_out(found: Findings) -> Row:
    guess: Guess = found.common
    return {
        "noise": guess.noise,
        "luma noise": guess.luma_noise,
        "blur": guess.blur,
        "quality": int(np.median(found.qualities)) if 2 * len(found.qualities) > len(found.looks) else None,
        "later": float(np.median([look.later for look in found.looks])),
        "color": guess.color,
        "subsampling": found.subsampling,
    }


def one_chain(paths: list[Path], number: int) -> list[Row]:
    """Rows {"pictures": n, "truth": …, "found": …} of one hidden chain: its folder, then single pictures."""
    cv2.setNumThreads(1)
    chance = np.random.default_rng([SEED, number])
    chain = draw(chance)
    chosen = chance.permutation(len(paths))[: int(chance.integers(3, 9))]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for name, index in enumerate(chosen):
            levels, data = applied(original(paths[int(index)]), chain, chance)
            write(folder, f"{name}", levels, data)
        files = paths_in(folder)
        found = [look_at(folder), *(findings([read(file)]) for file in files[:SINGLES])]
    counts = [len(files)] + [1] * SINGLES
    facts = {"chain": number, "saved": "png" if chain.saved is None else "jpeg", "scale": round(chain.scale, 2)}
    return [
        {**facts, "pictures": count, "truth": truth(chain), "found": read_out(each)}
        for count, each in zip(counts, found, strict=True)
    ]


def off(row: Row, what: str) -> float | None:
    """Found - true; None where there is nothing to compare (no JPEG was there or none was found)."""
    true, found = row["truth"][what], row["found"][what]
    return None if true is None or found is None else found - true


def right(row: Row, what: str) -> bool | None:
    """Within tolerance. A missed JPEG, or one that never was, is wrong; None where there was none and none is found."""
    true, found = row["truth"][what], row["found"][what]
    if true is None and found is None:
        return None
    relative, floor = TOLERANCES[what]
    return true is not None and found is not None and abs(found - true) <= max(relative * true, floor)


def summary(rows: list[Row]) -> list[Row]:
    """For each quantity: share within tolerance and quantiles of the error (relative for noise and blur, of those above a level of
    2 or a blur of 0.5)."""
    lines: list[Row] = []
    for what, (relative, floor) in TOLERANCES.items():
        judged = [verdict for row in rows if (verdict := right(row, what)) is not None]
        least = {"noise": 2.0, "luma noise": 2.0, "blur": 0.5}.get(what)
        pairs = [(row, error) for row in rows if (error := off(row, what)) is not None]
        errors = [
            error / row["truth"][what] if least else error
            for row, error in pairs
            if not least or row["truth"][what] >= least
        ]
        quantiles = np.quantile(np.abs(errors), (0.5, 0.75, 0.9, 1.0))
        names = ("median", "75 %", "90 %", "worst")
        lines.append(
            {
                "what": what,
                "tolerance": " or ".join(
                    filter(None, (f"{relative:.0%}" if relative else "", f"{floor:g}" if floor else ""))
                ),
                "right": f"{sum(judged)}/{len(judged)}",
                "share": round(float(np.mean(judged)), 3),
                "mean error": round(float(np.mean(errors)), 3),
                **{name: round(float(value), 3) for name, value in zip(names, quantiles, strict=True)},
            }
        )
    return lines


def picture(rows: list[Row]) -> str:
    """An SVG: found against true for noise, blur and quality; bands are the tolerances, dots folders, rings single pictures."""
    panels = [("noise", 20.0, "noise σ, levels"), ("blur", 3.0, "blur σ, pixels"), ("quality", 100.0, "JPEG quality")]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" width="960" height="350" font-family="sans-serif" font-size="13">'
    ]
    parts.append('<rect width="960" height="350" fill="white"/>')
    for place, (what, most, title) in enumerate(panels):
        relative, floor = TOLERANCES[what]
        parts.append(f'<g transform="translate({50 + 315 * place},30)">')
        parts.append(
            f'<text x="130" y="-10" text-anchor="middle">{title}</text><rect width="260" height="260" fill="#f4f4f4"/>'
        )
        ends = np.linspace(0, most, 60)
        widths = np.maximum(relative * ends, floor)
        band = [*zip(ends, ends + widths, strict=True), *reversed([*zip(ends, ends - widths, strict=True)])]
        points = " ".join(f"{x / most * 260:.1f},{260 - np.clip(y / most, 0, 1) * 260:.1f}" for x, y in band)
        parts.append(f'<polygon points="{points}" fill="#cfe3cf"/><path d="M0 260L260 0" stroke="#7a7"/>')
        for row in rows:
            x, y = row["truth"][what], row["found"][what]
            if x is None or y is None:
                continue
            look = 'fill="#1f5fa8" r="4"' if row["pictures"] > 1 else 'fill="none" stroke="#d07020" r="3"'
            parts.append(
                f'<circle cx="{min(1, x / most) * 260:.1f}" cy="{260 - min(1.0, y / most) * 260:.1f}" {look}/>'
            )
        parts.append(f'<text x="0" y="276">0</text><text x="260" y="276" text-anchor="end">{most:g}</text>')
        parts.append('<text x="130" y="290" text-anchor="middle">true → (found ↑)</text></g>')
    parts.append(
        '<text x="50" y="342">dots: folders of 3 to 8 pictures; rings: single pictures; green: tolerance</text></svg>'
    )
    return "\n".join(parts)


def table(lines: list[Row]) -> str:
    widths = {key: max(len(key), *(len(str(line[key])) for line in lines)) for key in lines[0]}
    head = " | ".join(key.ljust(width) for key, width in widths.items())
    return "\n".join(
        [head, *(" | ".join(str(line[key]).ljust(width) for key, width in widths.items()) for line in lines)]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", type=Path)
    parser.add_argument("--chains", type=int, default=60)
    parser.add_argument("--name", default="imitate", help="of the results; empty stores none")
    options = parser.parse_args()
    paths = sorted(options.pictures.glob("*.webp"))
    with ProcessPoolExecutor(2) as pool:
        made = pool.map(partial(one_chain, paths), range(options.chains), chunksize=1)
        rows = [row for several in made for row in several]
    folders, singles = ([row for row in rows if (row["pictures"] > 1) == many] for many in (True, False))
    result = {"folders": summary(folders), "single pictures": summary(singles)}
    for name, lines in result.items():
        print(f"\n{name}\n{table(lines)}")
        loud = [row for row in (folders if name == "folders" else singles) if row["truth"]["luma noise"] > 2]
        colors = [row["found"]["color"] == row["truth"]["color"] for row in loud]
        chroma = [row for row in (folders if name == "folders" else singles) if row["truth"]["subsampling"]]
        same = [row["found"]["subsampling"] == row["truth"]["subsampling"] for row in chroma]
        print(f"color or gray: {sum(colors)}/{len(colors)}, chroma subsampling: {sum(same)}/{len(same)}")
    if options.name:
        (RESULTS / f"{options.name}.json").write_text(json.dumps({**result, "rows": rows}, indent=1) + "\n")
        (RESULTS / f"{options.name}.svg").write_text(picture(rows) + "\n")


if __name__ == "__main__":
    main()
