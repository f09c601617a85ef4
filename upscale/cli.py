"""`upscale`: options → one frozen Options value; the only place that prints, draws progress and exits."""

import io
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upscale import __version__
from upscale.errors import UpscaleError

if TYPE_CHECKING:
    from upscale.checkpoint import Checkpoint
    from upscale.enlarge import Enlarger
    from upscale.media.folder import Task
    from upscale.pipeline import Outcome

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@dataclass(frozen=True, slots=True)
class Options:
    """Everything that was asked for, checked; the same for one picture and for a thousand."""

    inputs: tuple[str, ...]
    out: Path | None
    scale: float | None
    model: str
    denoise: float | None
    device: str
    engine: Any
    precision: Any
    tile: Any
    wrap: Any
    recursive: bool
    overwrite: bool
    json: bool
    dry_run: bool
    verbose: int
    quiet: bool


class _Tile(click.ParamType):  # pyright: ignore[reportMissingTypeArgument] - generic only from click 8.4 on
    name = "auto|whole|ROWS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value in ("auto", "whole"):
            return value
        from upscale.plans import check_tile

        try:
            return check_tile(int(value))
        except ValueError:
            self.fail(f"{value!r} is neither auto, whole nor a number of rows", param, ctx)
        except UpscaleError as error:
            self.fail(str(error), param, ctx)


class _Number(click.FloatRange):
    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if number != number:
            self.fail("nan is not a number", param, ctx)
        return number


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File (one input) or folder for the results.")
@click.option(
    "--scale", type=_Number(0.5, 16), help="How much larger, 0.5 to 16. [default: the model's own, 4 for most]"
)
@click.option("--model", default="x4plus", show_default=True, help="A name (`upscale-models list`) or a file.")
@click.option("--denoise", type=_Number(0, 1), help="How strongly noise is removed; only with general-x4v3.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N or mps.")
@click.option("--engine", type=click.Choice(["auto", "openvino", "torch"]), default="auto", show_default=True)
@click.option(
    "--precision",
    type=click.Choice(["auto", "fp32", "bf16", "fp16"]),
    default="auto",
    show_default=True,
    help="Arithmetic inside the network; fp32 is the reference.",
)
@click.option(
    "--tile",
    type=_Tile(),
    default="auto",
    show_default=True,
    help="At most so many rows at a time. Less memory, the same picture.",
)
@click.option(
    "--wrap",
    type=click.Choice(["none", "x", "y", "xy"]),
    default="none",
    show_default=True,
    help="For textures that tile: across left and right (x), top and bottom (y).",
)
@click.option("-r", "--recursive", is_flag=True, help="Descend into folders.")
@click.option("--overwrite", is_flag=True, help="Replace results that exist already.")
@click.option("--json", is_flag=True, help="One JSON record per input on stdout.")
@click.option("--dry-run", is_flag=True, help="Print what would be done: sizes, bands, memory.")
@click.option("-v", "--verbose", count=True, help="More words; tracebacks of failures.")
@click.option("-q", "--quiet", is_flag=True, help="Failures only.")
@click.version_option(__version__, prog_name="upscale")
def command(**values: Any) -> int:
    """Enlarges pictures with a super-resolution network.

    INPUT is a picture (PNG, JPEG, WebP, TIFF), a folder or a pattern. in.png becomes in_x4.png beside it, folder/ becomes
    folder_x4/; the originals are never touched.

    \b
      upscale photo.jpg
      upscale holiday/ --recursive -o large/
      upscale sprite.png --model x4plus-anime --scale 2

    Exit codes: 0 done, 1 some inputs failed, 2 wrong usage, 130 interrupted.
    """
    return _run(Options(**values))


def main() -> None:
    """Entry point: turns whatever happens into one line and an exit code."""
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # its errors reach us, and are told once
    stdout: Any = sys.stdout
    if isinstance(stdout, io.TextIOWrapper):
        stdout.reconfigure(errors="backslashreplace")  # file names may hold what the terminal cannot show
    try:
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("upscale: interrupted; finished files are kept", err=True)
        code = EXIT_INTERRUPTED
    except UpscaleError as error:
        click.echo(f"upscale: error: {error}", err=True)
        code = EXIT_FAILED
    sys.exit(code)


def _run(options: Options) -> int:
    from upscale.media.folder import Places, tasks
    from upscale.model import open_model

    checkpoint = open_model(options.model, options.denoise)
    scale = float(checkpoint.spec.scale if options.scale is None else options.scale)
    try:
        found = tasks(options.inputs, Places(options.out, scale, options.recursive, options.overwrite))
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if all(task.error is not None for task in found):
        return _finish([_refused(task, options) for task in found], options)
    enlarger = _open(checkpoint, options)
    if options.dry_run:
        return _dry_run(found, enlarger, scale, options)
    return _enlarge(found, enlarger, scale, options)


def _open(checkpoint: "Checkpoint", options: Options) -> "Enlarger":
    from upscale.engines.choose import Wish
    from upscale.enlarge import Enlarger

    wish = Wish(options.engine, options.device, options.precision)
    enlarger = Enlarger(checkpoint, wish, options.tile, options.wrap, lambda text: _say(f"warning: {text}", options))
    engine = enlarger.engine
    _say(
        f"{checkpoint.spec.name} on {engine.device} by {engine.name} in {engine.precision} ({enlarger.reason})", options
    )
    return enlarger


def _enlarge(found: "list[Task]", enlarger: "Enlarger", scale: float, options: Options) -> int:
    from upscale.pipeline import run
    from upscale.progress import Bars

    outcomes: list[Outcome] = []
    watched = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison] - 2>&-
    with Bars(len(found), quiet=options.quiet or not watched) as bars:
        for outcome in run(found, enlarger, scale, bars.picture):
            bars.finished(outcome.record)
            with bars.aside():
                _show(outcome, options, told=enlarger.warnings)
            outcomes.append(outcome)
    return _finish(outcomes, options)


def _refused(task: "Task", options: Options) -> "Outcome":
    from upscale.pipeline import failure

    outcome = failure(task)
    _show(outcome, options)
    return outcome


def _show(outcome: "Outcome", options: Options, told: Sequence[str] = ()) -> None:
    """Prints one input's outcome; warnings that were `told` when they arose are not repeated."""
    record = outcome.record
    if options.json:
        import json

        click.echo(json.dumps(record.as_dict()))
    for warning in (warning for warning in record.warnings if warning not in told):
        _say(f"warning: {record.output}: {warning}", options)
    if record.status == "failed":
        click.echo(f"upscale: failed: {record.error}", err=True)
        if options.verbose and outcome.error is not None:
            import traceback

            click.echo("".join(traceback.format_exception(outcome.error)), err=True)
    elif record.output_size and record.input_size:
        sizes = "{}×{} → {}×{}".format(*record.input_size, *record.output_size)
        _say(f"{record.output}: {sizes} in {record.seconds:.1f} s", options)


def _finish(outcomes: "list[Outcome]", options: Options) -> int:
    failed = [outcome.record for outcome in outcomes if outcome.record.status == "failed"]
    if failed and len(outcomes) > 1:
        click.echo(f"upscale: {len(failed)} of {len(outcomes)} inputs failed:", err=True)
        for record in failed:
            click.echo(f"  {record.error}", err=True)
    return EXIT_FAILED if failed else EXIT_DONE


def _dry_run(found: "list[Task]", enlarger: "Enlarger", scale: float, options: Options) -> int:
    import json

    from upscale.media.still import read_size
    from upscale.pipeline import failure

    outcomes: list[Outcome] = []
    for task in found:
        try:
            if task.error is not None:
                raise task.error
            width, height = read_size(task.source)
        except UpscaleError as error:
            outcomes.append(failure(task, error))
            _show(outcomes[-1], options)
            continue
        job = enlarger.job(width, height, scale)
        rows = [{"rows": plan.rows, "tail_rows": plan.tail_rows} for plan in job.plans]
        if options.json:
            size = {"input_size": [width, height], "output_size": [job.out_width, job.out_height]}
            plan = {"passes": job.passes, "bands": rows, "bytes_needed": job.bytes_needed}
            click.echo(
                json.dumps({"input": str(task.source), "output": str(task.target), "status": "planned", **size, **plan})
            )
        else:
            bands = (
                "; ".join(f"bands of {plan['rows']} rows, tail {plan['tail_rows']}" for plan in rows) or "no network"
            )
            click.echo(
                f"{task.source} → {task.target}: {width}×{height} → {job.out_width}×{job.out_height}, "
                f"{bands}, about {job.bytes_needed / 1e6:,.0f} MB"
            )
    return _finish(outcomes, options)


def _say(text: str, options: Options) -> None:
    if not options.quiet:
        click.echo(f"upscale: {text}", err=True)
