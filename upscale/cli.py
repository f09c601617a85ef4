"""`upscale`: the command; the only place that prints, draws progress and exits."""

import contextlib
import io
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upscale import __version__
from upscale.console import Console, tell
from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.options import Options, declared, options

if TYPE_CHECKING:
    from upscale.checkpoint import Checkpoint
    from upscale.enlarge import Enlarger
    from upscale.manifest import Manifest
    from upscale.media.folder import Task
    from upscale.media.formats import Format
    from upscale.media.isolated.decoder import Decoder
    from upscale.sizes import Size
    from upscale.work import Outcome, Work

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
    with contextlib.suppress(ValueError):  # in another thread than the first
        for name in ("SIGTERM", "SIGHUP"):  # end as Ctrl-C does: nothing half is left
            if hasattr(signal, name):
                signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        code = command.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        tell("upscale: interrupted; finished files are kept")
        code = EXIT_INTERRUPTED
    except UpscaleError as error:
        tell(f"upscale: error: {error}")
        code = EXIT_FAILED
    sys.exit(code)


def _run(options: Options) -> int:
    from upscale.engines.machine import return_large_blocks
    from upscale.media.formats import MAX_PIXELS
    from upscale.media.isolated.decoder import Decoder

    return_large_blocks()
    with Decoder(None if options.allow_huge else MAX_PIXELS) as decoder, contextlib.ExitStack() as stack:
        decoder.start()  # loads its libraries while we load ours
        return _with(decoder, stack, options, Console(options))


def _with(decoder: "Decoder", stack: contextlib.ExitStack, options: Options, console: Console) -> int:
    from upscale.model import open_model
    from upscale.pipeline import failure
    from upscale.sizes import Size

    checkpoint = open_model(options.model, options.denoise)
    size = options.size or Size(scale=checkpoint.spec.scale)
    found = _tasks(checkpoint, size, options)
    console.leave_stdout(options.out == Path("-") or any(task.stdout for task in found))
    outcomes: list[Outcome] = []
    if all(task.error is not None for task in found):  # no engine is needed to say so
        for task in found:
            outcomes.append(failure(task))
            console.outcome(outcomes[-1])
    else:
        found = stack.enter_context(_with_stdin(found))
        work = _work(_enlarger(checkpoint, options, console), decoder, size, options, console)
        if options.dry_run:
            outcomes = _planned(found, work, console)
        else:
            work.manifests.update(_manifests(found, checkpoint, size, options, stack, console))
            outcomes = _done(found, work, options, console)
    return EXIT_FAILED if console.failures(outcomes) else EXIT_DONE


def _tasks(checkpoint: "Checkpoint", size: "Size", options: Options) -> "list[Task]":
    from upscale.manifest import results_in
    from upscale.media.folder import Places, tasks

    how = {"recursive": options.recursive, "overwrite": options.overwrite, "resume": options.resume}
    places = Places(options.out, size.tag, checkpoint.spec.name, _format(options), options.name, **how)
    try:
        found = tasks(options.inputs, places, results_in)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if any(task.stdout for task in found) and sys.stdout is not None and sys.stdout.isatty():  # pyright: ignore[reportUnnecessaryComparison] - >&-
        raise click.UsageError("the picture would go to the terminal; use -o, or send stdout to a file")
    return found


def _format(options: Options) -> "Format | None":
    from upscale.media.formats import BY_SUFFIX

    return None if options.format is None else BY_SUFFIX[f".{options.format}"]


def _enlarger(checkpoint: "Checkpoint", options: Options, console: Console) -> "Enlarger":
    from upscale.chain import Settings
    from upscale.engines.choose import Wish
    from upscale.enlarge import Enlarger

    settings = Settings(
        options.tile, options.wrap, options.color_fix, options.strength, options.tta, options.alpha == "bleed"
    )
    enlarger = Enlarger(checkpoint, Wish(options.engine, options.device, options.precision), settings, console.warn)
    engine = enlarger.engine
    console.say(f"{checkpoint.spec.name} on {engine.device} by {engine.name} in {engine.precision} ({enlarger.reason})")
    return enlarger


def _work(enlarger: "Enlarger", decoder: "Decoder", size: "Size", options: Options, console: Console) -> "Work":
    from upscale.work import Work

    return Work(
        enlarger,
        decoder,
        size,
        _format(options),
        options.quality,
        options.background,
        options.overwrite,
        options.resume,
        stdout=getattr(sys.stdout, "buffer", None),
        report=console.say,
    )


def _manifests(
    found: "Sequence[Task]",
    checkpoint: "Checkpoint",
    size: "Size",
    options: Options,
    stack: contextlib.ExitStack,
    console: Console,
) -> "dict[Path, Manifest]":
    """The lists of what is finished, kept for folders, for several inputs, and where --resume asks for it."""
    from upscale.checkpoint import digest
    from upscale.manifest import BusyError, Manifest

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
    manifests: dict[Path, Manifest] = {}
    for real, names in _by_place(roots).items():
        try:
            manifest = Manifest.open(real, settings)
        except BusyError as error:
            if options.resume:
                raise
            console.warn(f"{error}; this run keeps no list there")  # and can do without, but not be resumed
            continue
        stack.callback(_close, manifest, console)
        manifests |= dict.fromkeys(names, manifest)
    return manifests


def _by_place(roots: "Iterable[Path]") -> "dict[Path, list[Path]]":
    """Folders by what they really are: one may have been given under several names."""
    found: dict[Path, list[Path]] = {}
    for root in sorted(roots):
        found.setdefault(Path(os.path.realpath(root)), []).append(root)
    return found


def _close(manifest: "Manifest", console: Console) -> None:
    manifest.close()
    for warning in manifest.warnings:
        console.warn(warning)


@contextlib.contextmanager
def _with_stdin(found: "list[Task]") -> "Generator[list[Task]]":
    """The tasks with what comes through stdin laid down in a file, since pictures are read from more than one place."""
    if not any(task.stdin for task in found):
        yield found
        return
    if sys.stdin is None:  # pyright: ignore[reportUnnecessaryComparison] - <&-
        raise PictureError("-: stdin is closed; send a picture into it")
    with tempfile.TemporaryDirectory(prefix="upscale-") as folder:
        spool = Path(folder) / "stdin"
        try:
            with spool.open("wb") as file:
                shutil.copyfileobj(sys.stdin.buffer, file)
        except OSError as error:
            raise OutputError(f"{spool}: cannot be written ({error.strerror}); set TMPDIR to a larger place") from error
        yield [replace(task, source=spool) if task.stdin else task for task in found]


def _done(found: "list[Task]", work: "Work", options: Options, console: Console) -> "list[Outcome]":
    from upscale.pipeline import run
    from upscale.progress import Bars

    outcomes: list[Outcome] = []
    watched = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison] - 2>&-
    with Bars(len(found), quiet=options.quiet or not watched) as bars:
        for outcome in run(found, work, bars.picture):
            bars.finished(outcome.record)
            with bars.aside():
                console.outcome(outcome, told=work.enlarger.warnings)
            outcomes.append(outcome)
    skipped = sum(outcome.record.status == "skipped" for outcome in outcomes)
    if skipped:
        console.say(f"{skipped} of {len(outcomes)} were finished already")
    return outcomes


def _planned(found: "list[Task]", work: "Work", console: Console) -> "list[Outcome]":
    """What --dry-run shows; the outcomes are those of inputs that would fail."""
    from upscale.pipeline import failure
    from upscale.work import planned

    failed: list[Outcome] = []
    for task in found:
        try:
            console.plan(task, planned(task, work))
        except UpscaleError as error:
            failed.append(failure(task, error))
            console.outcome(failed[-1])
    return failed
