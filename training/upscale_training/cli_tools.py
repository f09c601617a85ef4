"""The commands beside training: looking at degradations, learning them from examples, measuring, importing option files."""

import contextlib
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import click

Folder = click.Path(path_type=Path)
DEGRADATION = click.option(
    "--degradation",
    default="mild",
    show_default=True,
    help="A preset's name, a file that imitate or learn wrote, or your own.",
)
_LINES = 12
"""So many warnings are told; a folder may hold a thousand thumbnails."""

OVERWRITE = click.option("--overwrite", is_flag=True, help="Replace OUT where it exists.")


@click.command()
@click.argument("photos", type=Folder, nargs=-1, required=True)
@DEGRADATION
@click.option("--scale", type=click.Choice(["1", "2", "4", "8"]), default="4", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--rows", type=click.IntRange(1, 40), default=4, show_default=True, help="Pictures on the sheet.")
@click.option("-o", "--out", type=Folder, default="preview.png", show_default=True)
@OVERWRITE
def preview(
    photos: tuple[Path, ...], degradation: str, scale: str, seed: int, rows: int, out: Path, overwrite: bool
) -> None:
    """Draw a sheet of what a network would learn from: originals, degraded several times, and what was drawn."""
    from upscale_training.data.pictures import list_pictures
    from upscale_training.degradations import preset_of
    from upscale_training.degrade.checked import made
    from upscale_training.preview import contact_sheet, read_some

    _check_picture(out, overwrite, photos)
    chosen = made(preset_of(degradation), int(scale))
    pictures, bad = read_some(list_pictures(photos, 64), rows)
    _warn([f"left out: {one.reason}" for one in bad])
    _write_picture(out, contact_sheet(pictures, chosen, int(scale), seed))


@click.command()
@click.argument("examples", type=Folder)
@click.option("-o", "--out", type=Folder, default="degradation.py", show_default=True, help="Python file to write.")
@OVERWRITE
def imitate(examples: Path, out: Path, overwrite: bool) -> None:
    """Estimate what spoiled the pictures in EXAMPLES and write a degradation that does the same."""
    from upscale_training.imitate.look import look_at
    from upscale_training.imitate.recipe import recipe_text, summary

    _check_named(out, overwrite, ".py", "what is estimated is written as Python; choose a name with .py")
    found = look_at(examples)
    click.echo(summary(found))
    _write_text(out, recipe_text(found, examples))
    click.echo(f"upscale-train: wrote {out}; use it with --degradation {out}", err=True)


@click.command()
@click.argument("bad", type=Folder)
@click.option("-o", "--out", type=Folder, default="degradation.npz", show_default=True, help="File to write.")
@OVERWRITE
def learn(bad: Path, out: Path, overwrite: bool) -> None:
    """Learn noise, blur and compression from the pictures in BAD, which need no originals: a pool to draw from in training."""
    from upscale_training.unpaired import learned_from, summary

    _check_named(out, overwrite, ".npz", "what is learned is stored as .npz; choose such a name")
    pool = learned_from(bad)
    click.echo(summary(pool))
    with _writing(out):
        pool.save(out)
    click.echo(f"upscale-train: wrote {out}; use it with --degradation {out}", err=True)


@click.command()
@click.option("--model", required=True, help='A name, a file, or "bicubic".')
@click.option("--pairs", type=Folder, help="A folder with lr/ and hr/.")
@click.option("--hr", type=Folder, help="A folder of originals, which --degradation spoils.")
@DEGRADATION
@click.option("--scale", type=click.IntRange(1), help="For bicubic with --hr.")
@click.option("--metric", "metrics", multiple=True, help="Only these: psnr_y, lpips_alex, … [default: all]")
@click.option("--device", default="auto", show_default=True)
@click.option("--precision", type=click.Choice(["fp32", "auto"]), default="fp32", show_default=True)
@click.option("--sheet", type=Folder, help="Also write a picture sheet.")
@click.option("--overwrite", is_flag=True, help="Replace the sheet where it exists.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def evaluate(
    model: str,
    pairs: Path | None,
    hr: Path | None,
    degradation: str,
    scale: int | None,
    metrics: tuple[str, ...],
    device: str,
    precision: Literal["fp32", "auto"],
    sheet: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Measure a model on pictures with their originals: PSNR, SSIM, LPIPS, DISTS, NIQE."""
    from upscale_training import evaluate as measuring
    from upscale_training.degradations import preset_of
    from upscale_training.metrics.suite import METRICS
    from upscale_training.sheet import Sheet

    places = [place for place in (pairs, hr) if place]
    if len(places) != 1:
        raise click.UsageError("give --pairs (a folder with lr/ and hr/) or --hr (a folder of originals), one of them")
    if model == measuring.BICUBIC and hr and not scale:
        raise click.UsageError("bicubic has no scale of its own: give --scale with --hr")
    if sheet:
        _check_picture(sheet, overwrite, places)
    if unknown := [name for name in metrics if name not in METRICS]:
        raise click.BadParameter(f"{unknown[0]} is none of {', '.join(METRICS)}", param_hint="--metric")
    collected = Sheet() if sheet else None
    report = measuring.evaluate_command(
        model,
        pairs=pairs,
        hr=hr,
        preset=preset_of(degradation) if hr else None,
        scale=scale,
        device=device,
        precision=precision,
        metrics=[name for name in METRICS if name in metrics] or METRICS,
        watch=collected,
    )
    _warn(report.warnings)
    click.echo(measuring.to_json(report) if as_json else measuring.to_table(report))
    if sheet and collected:
        with _writing(sheet):
            collected.save(sheet)


@click.command("import-options")
@click.argument("file", type=Folder)
@click.option("-o", "--out", type=Folder, default="recipe.py", show_default=True)
@OVERWRITE
def import_options(file: Path, out: Path, overwrite: bool) -> None:
    """Turn a BasicSR or Real-ESRGAN option file (YAML) into a recipe."""
    from upscale_training.options_file import recipe_from_options

    _check(out, overwrite)
    text, notes = recipe_from_options(file)
    _write_text(out, text)
    for note in notes:
        click.echo(f"upscale-train: note: {note}", err=True)
    click.echo(
        f"upscale-train: wrote {out}; train with `upscale-train run {out} --data PHOTOS/ -o runs/{out.stem}`", err=True
    )


@click.command()
@click.argument("run", type=Folder)
def report(run: Path) -> None:
    """Write RUN/report.html anew from the run's log and pictures."""
    from upscale_training.report.html import write_report

    click.echo(write_report(run))


def _warn(lines: Sequence[str]) -> None:
    more = [f"and {len(lines) - _LINES} more"] if len(lines) > _LINES else []
    for line in (*lines[:_LINES], *more):
        click.echo(f"upscale-train: warning: {' '.join(line.split())}", err=True)


def _check(out: Path, overwrite: bool) -> None:
    from upscale.errors import OutputError

    if out.exists() and not overwrite:
        raise OutputError(f"{out} exists; --overwrite replaces it")


def _check_named(out: Path, overwrite: bool, suffix: str, told: str) -> None:
    """Raises OutputError for what exists, and with `told` for a name that does not end in `suffix`."""
    from upscale.errors import OutputError

    _check(out, overwrite)
    if out.suffix != suffix:
        raise OutputError(f"{out}: {told}")


def _check_picture(out: Path, overwrite: bool, sources: Sequence[Path]) -> None:
    """Raises OutputError for what exists, what is among the pictures of `sources`, and a kind that cannot be written."""
    from upscale.errors import OutputError
    from upscale_training.data.pictures import list_pictures

    if not _writable(out):
        raise OutputError(f"{out}: no picture can be written under such a name; choose one that ends in .png")
    _check(out, overwrite)
    if not out.exists():
        return
    found = list_pictures(sources, 1)
    if any(out.samefile(one.path) for one in (*found.entries, *found.bad)):
        raise OutputError(f"{out}: is one of the pictures that are read; choose another name")


def _writable(out: Path) -> bool:
    """Whether its ending is a kind of picture that Pillow writes here."""
    from PIL import Image

    from upscale.media.formats import BY_SUFFIX

    ending = out.suffix.lower()
    return ending in BY_SUFFIX and Image.registered_extensions().get(ending) in Image.SAVE


@contextlib.contextmanager
def _writing(out: Path) -> Generator[None]:
    from upscale.errors import OutputError

    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise OutputError(f"{out}: cannot be written ({why}); make room, or choose another place") from error


def _write_text(out: Path, text: str) -> None:
    from upscale.files import replacing

    with _writing(out), replacing(out) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _write_picture(out: Path, picture: Any) -> None:
    from PIL import Image

    from upscale.files import replacing

    with _writing(out), replacing(out) as temporary:
        Image.fromarray(picture).save(temporary)
    click.echo(f"upscale-train: wrote {out}", err=True)
