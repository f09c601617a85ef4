"""`upscale-train`: training, fine-tuning, and looking at both. Options → values; the only place that prints and exits.

Everything heavy is imported inside the commands, so that `--help` is instant.
"""

import math
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from upscale.one_line_errors import one_line_errors
from upscale_training.cli_tools import DEGRADATION, evaluate, imitate, import_options, learn, preview, report

if TYPE_CHECKING:
    from upscale_training.backbones import BackboneName
    from upscale_training.finetune import Losses
    from upscale_training.order import Order

Folder = click.Path(path_type=Path)
_INTERRUPTED = 130


def _options(*options: Callable[..., Any]) -> Callable[..., Any]:
    def applied(command: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            command = option(command)
        return command

    return applied


RUN = _options(
    click.option("-o", "--out", type=Folder, required=True, help="Folder of the run."),
    click.option(
        "--val", type=Folder, multiple=True, help="Pictures to judge by, never trained on. [default: 12 are set aside]"
    ),
    click.option("--batch", type=click.IntRange(1), help="Crops in a step."),
    click.option("--crop", type=click.IntRange(32), help="Side of the crops in pixels of the result."),
    click.option("--seed", type=click.IntRange(0, 2**63 - 1), help="Decides on all chance."),
    click.option(
        "--backbone-file", "backbones", multiple=True, metavar="NAME=FILE", help="Weights, such as vgg19=vgg19.pth."
    ),
    click.option("--pixel-only", is_flag=True, help="No terms that need a backbone's weights, no adversary."),
    click.option("--smoke", is_flag=True, help="A few small steps of every stage, to see that all works."),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1, mps."),
    click.option("--workers", type=click.IntRange(0), help="Processes that make samples. [default: by device]"),
    click.option("--resume", is_flag=True, help="Go on with the run in OUT."),
    click.option("--overwrite", is_flag=True, help="Begin anew where OUT holds a run."),
    click.option("--dry-run", is_flag=True, help="Check pictures, memory and time by a trial, and train nothing."),
    click.option("--guard/--no-guard", default=True, show_default=True, help="Act on alarms, or only raise them."),
)


def _rate(_context: click.Context, _option: click.Parameter, value: float) -> float:
    if not 0 < value < math.inf:
        raise click.BadParameter(f"{value} is no learning rate; give a positive number, such as 1e-4")
    return value


@click.group(cls=one_line_errors("upscale-train"), context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Trains and fine-tunes networks that `upscale --model` opens."""


@main.command()
@click.argument("recipe", type=Folder)
@click.option("--data", type=Folder, multiple=True, required=True, help="Pictures to learn from: folders or files.")
@click.option("--steps", type=click.IntRange(1), help="Of the whole run. [default: the recipe's]")
@RUN
def run(recipe: Path, data: tuple[Path, ...], steps: int | None, **options: Any) -> None:
    """Train as RECIPE says, a Python script such as those in training/recipes."""
    _train(_order(recipe, data, steps, options), options["dry_run"])


@main.command()
@click.argument("photos", type=Folder, nargs=-1, required=True)
@click.option("--from", "start", default="x4plus", show_default=True, help="Model to begin with: a name or a file.")
@DEGRADATION
@click.option("--scale", type=click.Choice(["1", "2", "4", "8"]), help="Of the result. [default: as --from]")
@click.option("--losses", type=click.Choice(["gan", "perceptual", "pixel"]), default="gan", show_default=True)
@click.option("--backbone", type=click.Choice(["vgg19", "vgg16"]), default="vgg19", show_default=True)
@click.option("--steps", type=click.IntRange(1), default=5000, show_default=True)
@click.option("--rate", type=float, default=1e-4, show_default=True, callback=_rate, help="Learning rate.")
@RUN
def finetune(
    photos: tuple[Path, ...],
    start: str,
    degradation: str,
    scale: str | None,
    losses: "Losses",
    backbone: "Literal['vgg19', 'vgg16']",
    steps: int,
    rate: float,
    **options: Any,
) -> None:
    """Fine-tune a model on PHOTOS. Writes OUT/recipe.py, which can be changed and run again, and trains as it says."""
    from upscale_training.finetune import Wish, written
    from upscale_training.generator import spec_for
    from upscale_training.run_folder import RunFolder

    folder = RunFolder(options["out"])
    name = folder.path.resolve().name
    kept = {key: options[key] for key in ("batch", "crop", "seed") if options[key] is not None}
    kind = "pixel" if options["pixel_only"] else losses
    if options["resume"] and folder.recipe.exists():
        click.echo(f"upscale-train: goes on as {folder.recipe} says, whatever the options are", err=True)
        _train(_order(folder.recipe, photos, None, options), options["dry_run"])
        return
    with tempfile.TemporaryDirectory() as place:  # what is refused or only tried must not change the folder
        spec = spec_for(start, name, int(scale) if scale else None)
        wish = Wish(name, start, degradation, spec, steps, rate=rate, losses=kind, backbone=backbone, **kept)
        _train(_order(written(wish, Path(place)), photos, None, options), options["dry_run"])


for command in (preview, imitate, learn, evaluate, import_options, report):
    main.add_command(command)


def run_as_script(recipe: Path) -> None:
    """`python recipe.py --data …` is `upscale-train run recipe.py --data …`."""
    main(["run", str(recipe), *sys.argv[1:]], prog_name=f"python {recipe.name}")


def _order(recipe: Path, data: tuple[Path, ...], steps: int | None, options: dict[str, Any]) -> "Order":
    from upscale_training.changes import Changes
    from upscale_training.order import Order

    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume goes on and --overwrite begins anew: give one of them")
    changes = Changes(steps, **{key: options[key] for key in ("batch", "crop", "seed", "pixel_only", "smoke")})
    kept = {key: options[key] for key in ("out", "val", "device", "workers", "resume", "overwrite", "guard")}
    return Order(recipe, data, changes=changes, backbones=dict(map(_named, options["backbones"])), **kept)


def _named(text: str) -> "tuple[BackboneName, Path]":
    from upscale_training.backbones import BACKBONES

    name, sign, file = text.partition("=")
    if not sign or name not in BACKBONES:
        raise click.BadParameter(
            f"{text}: give NAME=FILE; the names are {', '.join(BACKBONES)}", param_hint="--backbone-file"
        )
    return name, Path(file)


def _train(order: "Order", dry: bool) -> None:
    """Trains until the end or Ctrl-C: the first one ends the run after its step, with a checkpoint."""
    from upscale_training.report.terminal import Terminal
    from upscale_training.run import carried_out, rehearsed

    if dry:
        findings = rehearsed(order)
        click.echo("\n".join([*findings.facts, *(f"warning: {line}" for line in findings.warnings)]))
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: _ask(asked))
    try:
        with Terminal() as terminal:
            reason = carried_out(order, [terminal.tell], lambda: bool(asked))
    finally:
        signal.signal(signal.SIGINT, before)
    if reason == "interrupted":
        click.echo(f"upscale-train: stopped; go on with --resume -o {order.out}", err=True)
        sys.exit(_INTERRUPTED)
    ready = f"{order.out / 'model.safetensors'} is ready{_judged(order.out)}"
    click.echo(f"upscale-train: {ready}; what happened: {order.out / 'report.html'}", err=True)


def _judged(out: Path) -> str:
    """Which step's network it is: not always the last one's."""
    from upscale.checkpoint import read_checkpoint
    from upscale_training.run_folder import RunFolder

    step = read_checkpoint(RunFolder(out).model).notes.get("step")
    return f" (the network of step {step}, judged best)" if step else ""


def _ask(asked: list[int]) -> None:
    asked.append(1)
    if len(asked) > 1:
        raise KeyboardInterrupt


if __name__ == "__main__":
    main()
