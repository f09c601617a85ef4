"""`upscale`: the command; the only place that prints, draws progress and exits."""

import contextlib
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upscale import __version__
from upscale.errors import UpscaleError
from upscale.options import Options, declared, options

if TYPE_CHECKING:
    from upscale.checkpoint import Checkpoint
    from upscale.enlarge import Enlarger
    from upscale.manifest import Manifest
    from upscale.media.folder import Task
    from upscale.media.formats import Format
    from upscale.media.isolated.decoder import Decoder
    from upscale.pipeline import Outcome, Work
    from upscale.sizes import Size

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@click.command(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@declared
@click.version_option(__version__, prog_name="upscale")
def command(**values: Any) -> int:
    """Enlarges pictures with a super-resolution network.

    INPUT is a picture (PNG, JPEG, WebP, AVIF, TIFF, BMP, PPM, JPEG 2000, GIF; HEIC and JPEG XL as an extra), a folder, a
    pattern, or - for stdin. in.png becomes in_x4.png beside it, folder/ becomes folder_x4/; originals are never touched.

    \b
      upscale photo.jpg
      upscale holiday/ --recursive -o large/ --resume
      upscale sprite.png --model x4plus-anime --scale 2
      upscale scan.tif --fit 6000 --format webp
      cat in.png | upscale - > out.png

    Exit codes: 0 done, 1 some inputs failed, 2 wrong usage, 130 interrupted.
    """
    return _run(options(**values))


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
    from upscale.engines.machine import return_large_blocks
    from upscale.media.isolated.decoder import Decoder
    from upscale.media.reading.opened import MAX_PIXELS

    return_large_blocks()
    with Decoder(None if options.allow_huge else MAX_PIXELS) as decoder:
        decoder.start()  # loads its libraries while we load ours
        return _with(decoder, options)


def _with(decoder: "Decoder", options: Options) -> int:
    from upscale.model import open_model
    from upscale.sizes import Size

    checkpoint = open_model(options.model, options.denoise)
    size = options.size or Size(scale=checkpoint.spec.scale)
    found = _tasks(checkpoint, size, options)
    if all(task.error is not None for task in found):
        return _finish([_refused(task, options) for task in found], options)
    with contextlib.ExitStack() as stack:
        found = stack.enter_context(_with_stdin(found))
        enlarger = _open(checkpoint, options)
        work = _work(enlarger, decoder, size, options)
        if options.dry_run:
            return _dry_run(found, work, options)
        work.manifests.update(_lists(found, checkpoint, size, options, stack))
        return _enlarge(found, work, options)


def _tasks(checkpoint: "Checkpoint", size: "Size", options: Options) -> "list[Task]":
    from upscale.manifest import results_in
    from upscale.media.folder import Places, tasks

    places = Places(
        options.out,
        size.tag,
        checkpoint.spec.name,
        _format(options),
        options.name,
        options.recursive,
        options.overwrite,
        options.resume,
    )
    try:
        return tasks(options.inputs, places, results_in)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _format(options: Options) -> "Format | None":
    from upscale.media.formats import BY_SUFFIX

    return None if options.format is None else BY_SUFFIX[f".{options.format}"]


def _open(checkpoint: "Checkpoint", options: Options) -> "Enlarger":
    from upscale.chain import Settings
    from upscale.engines.choose import Wish
    from upscale.enlarge import Enlarger

    wish = Wish(options.engine, options.device, options.precision)
    settings = Settings(
        options.tile, options.wrap, options.color_fix, options.strength, options.tta, options.alpha == "bleed"
    )

    def report(text: str) -> None:
        _say(f"warning: {text}", options)

    enlarger = Enlarger(checkpoint, wish, settings, report)
    engine = enlarger.engine
    _say(
        f"{checkpoint.spec.name} on {engine.device} by {engine.name} in {engine.precision} ({enlarger.reason})", options
    )
    return enlarger


def _work(enlarger: "Enlarger", decoder: "Decoder", size: "Size", options: Options) -> "Work":
    from upscale.pipeline import Work

    def report(text: str) -> None:
        _say(text, options)

    stdout = getattr(sys.stdout, "buffer", None)
    return Work(
        enlarger,
        decoder,
        size,
        _format(options),
        options.quality,
        options.background,
        options.overwrite,
        options.resume,
        stdout=stdout,
        report=report,
    )


def _lists(
    found: "Sequence[Task]", checkpoint: "Checkpoint", size: "Size", options: Options, stack: contextlib.ExitStack
) -> "dict[Path, Manifest]":
    """The lists of finished files, kept for folders, for several inputs, and where --resume asks for it."""
    from upscale.checkpoint import digest
    from upscale.manifest import Manifest

    batch = options.resume or len(found) > 1 or any(Path(text).is_dir() for text in options.inputs)
    roots = {task.root for task in found if task.root is not None and task.error is None and not task.stdin}
    if not batch or not roots:
        return {}
    settings = {
        "version": __version__,
        "model": digest(checkpoint),
        "size": size.tag,
        "look": [options.strength, options.color_fix, options.tta, options.wrap, options.alpha],
        "file": [options.quality, options.background],
        "arithmetic": [options.device, options.engine, options.precision],
    }
    lists: dict[Path, Manifest] = {}
    for root in sorted(roots):
        lists[root] = Manifest.open(root, settings)
        stack.callback(_close, lists[root], options)
    return lists


def _close(manifest: "Manifest", options: Options) -> None:
    manifest.close()
    for warning in manifest.warnings:
        _say(f"warning: {warning}", options)


@contextlib.contextmanager
def _with_stdin(found: "list[Task]") -> "Generator[list[Task]]":
    """The tasks with what comes through stdin laid down in a file, since pictures are read from more than one place."""
    from dataclasses import replace

    if not any(task.stdin for task in found):
        yield found
        return
    with tempfile.TemporaryDirectory(prefix="upscale-") as folder:
        spool = Path(folder) / "stdin"
        with spool.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file)
        yield [replace(task, source=spool) if task.stdin else task for task in found]


def _enlarge(found: "list[Task]", work: "Work", options: Options) -> int:
    from upscale.pipeline import run
    from upscale.progress import Bars

    outcomes: list[Outcome] = []
    watched = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison] - 2>&-
    if any(task.stdout for task in found) and sys.stdout.isatty():
        raise click.UsageError("the picture would go to the terminal; use -o, or send stdout to a file")
    with Bars(len(found), quiet=options.quiet or not watched) as bars:
        for outcome in run(found, work, bars.picture):
            bars.finished(outcome.record)
            with bars.aside():
                _show(outcome, options, told=work.enlarger.warnings)
            outcomes.append(outcome)
    skipped = sum(outcome.record.status == "skipped" for outcome in outcomes)
    if skipped:
        _say(f"{skipped} of {len(outcomes)} were finished already", options)
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

        click.echo(json.dumps(record.as_dict()), err=record.output == "-")
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


def _dry_run(found: "Iterable[Task]", work: "Work", options: Options) -> int:
    from upscale.pipeline import failure

    outcomes: list[Outcome] = []
    for task in found:
        try:
            _show_plan(task, work, options)
        except UpscaleError as error:
            outcomes.append(failure(task, error))
            _show(outcomes[-1], options)
    return _finish(outcomes, options)


def _show_plan(task: "Task", work: "Work", options: Options) -> None:
    """Raises UpscaleError as the work itself would."""
    import json

    from upscale.pipeline import planned

    plan = planned(task, work)
    job, bands = plan.job, [{"rows": part.rows, "tail_rows": part.tail_rows} for part in plan.job.plans]
    if options.json:
        record = {
            "input": str(task.source),
            "output": str(task.target),
            "status": "planned",
            "input_size": [job.frame.width, job.frame.height],
            "output_size": [job.out_width, job.out_height],
            "frames": plan.frames,
            "passes": job.passes,
            "bands": bands,
            "bytes_needed": job.bytes_needed + plan.bytes_to_write,
            "warnings": plan.warnings,
        }
        click.echo(json.dumps(record))
        return
    cut = "; ".join(f"bands of {part['rows']} rows, tail {part['tail_rows']}" for part in bands) or "no network"
    frames = f"{plan.frames} frames of " if plan.frames > 1 else ""
    click.echo(
        f"{task.source} → {task.target}: {frames}{job.frame.width}×{job.frame.height} → {job.out_width}×{job.out_height}, "
        f"{cut}, about {(job.bytes_needed + plan.bytes_to_write) / 1e6:,.0f} MB"
    )
    for warning in plan.warnings:
        _say(f"warning: {task.target}: {warning}", options)


def _say(text: str, options: Options) -> None:
    if not options.quiet:
        click.echo(f"upscale: {text}", err=True)
