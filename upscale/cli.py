"""`upscale`: the command; the only place that prints, draws progress and exits."""

import contextlib
import io
import itertools
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from upscale import __version__
from upscale.console import Console, tell
from upscale.errors import OutputError, PictureError, UpscaleError
from upscale.options import Command, Options, declared, options

if TYPE_CHECKING:
    from collections.abc import Callable

    from upscale.media.folder import Places, Task
    from upscale.media.isolated.decoder import Decoder
    from upscale.progress import Bars
    from upscale.work import Outcome, Work
    from upscale.workshop import Workshop

EXIT_DONE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


@click.command(cls=Command, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@declared
@click.version_option(__version__, prog_name="upscale")
def command(**values: Any) -> int:
    """Enlarges pictures and videos with a super-resolution network.

    INPUT is a picture (PNG, JPEG, WebP, AVIF, TIFF, BMP, PPM, JPEG 2000, GIF; HEIC and JPEG XL as an extra), a video (whatever
    FFmpeg opens), a folder, a pattern, or - for a picture from stdin. in.png becomes in_x4.png beside it, folder/ becomes
    folder_x4/; originals are never touched. A video that was interrupted goes on when the same command is given again.

    \b
      upscale photo.jpg
      upscale holiday/ --recursive -o large/ --resume
      upscale sprite.png --model x4plus-anime --scale 2
      upscale scan.tif --fit 6000 --format webp
      cat in.png | upscale - > out.png
      upscale film.mp4 --scale 2
      upscale frames/ -o film.mp4 --fps 24

    Exit codes: 0 done, 1 some inputs failed, 2 wrong usage, 130 interrupted.
    """
    return _run(options(**values))


def main() -> None:
    """Entry point: turns whatever happens into one line and an exit code."""
    for name, level in (("OPENCV_LOG_LEVEL", "SILENT"), ("SVT_LOG", "0")):
        os.environ.setdefault(name, level)  # their errors reach us, and are told once
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
    from upscale.media.formats import MAX_PIXELS
    from upscale.media.isolated.decoder import Decoder

    with Decoder(None if options.allow_huge else MAX_PIXELS) as decoder, contextlib.ExitStack() as stack:
        decoder.start()  # loads its libraries while we load ours
        return _with(decoder, stack, options, Console(options))


def _with(decoder: "Decoder", stack: contextlib.ExitStack, options: Options, console: Console) -> int:
    from upscale.pipeline import failure
    from upscale.workshop import Workshop

    shop = Workshop(options, decoder, console.say, console.warn)
    found = _tasks(shop.places(), options)
    console.leave_stdout(options.out == Path("-") or any(task.stdout for task in found))
    outcomes: list[Outcome] = []
    if all(task.error is not None for task in found):  # no engine is needed to say so
        for task in found:
            outcomes.append(failure(task))
            console.outcome(outcomes[-1])
    else:
        found = stack.enter_context(_with_stdin(found))
        outcomes = _planned(found, shop, console) if options.dry_run else _done(found, shop, stack, options, console)
    return EXIT_FAILED if console.failures(outcomes) else EXIT_DONE


def _tasks(places: "Places", options: Options) -> "list[Task]":
    from upscale.manifest import results_in
    from upscale.media.folder import tasks

    try:
        found = tasks(options.inputs, places, results_in)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if any(task.stdout for task in found) and sys.stdout is not None and sys.stdout.isatty():  # pyright: ignore[reportUnnecessaryComparison] - >&-
        raise click.UsageError("the picture would go to the terminal; use -o, or send stdout to a file")
    return found


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


def _done(
    found: "list[Task]", shop: "Workshop", stack: contextlib.ExitStack, options: Options, console: Console
) -> "list[Outcome]":
    from upscale.progress import Bars

    outcomes: list[Outcome] = []
    manifests, kinds = shop.manifests(found, stack), {task.video for task in found}
    works = {video: replace(shop.video_work if video else shop.picture_work, manifests=manifests) for video in kinds}
    watched = sys.stderr is not None and sys.stderr.isatty()  # pyright: ignore[reportUnnecessaryComparison] - 2>&-
    with Bars(len(found), quiet=options.quiet or not watched) as bars:
        for video, group in itertools.groupby(found, key=lambda task: task.video):
            work = works[video]

            def show(outcome: "Outcome", work: "Work" = work) -> None:
                bars.finished(outcome.record)
                with bars.aside():
                    console.outcome(outcome, told=work.enlarger.warnings)
                outcomes.append(outcome)

            _show_all((_films if video else _pictures)(list(group), work, bars), show)
    skipped = sum(outcome.record.status == "skipped" for outcome in outcomes)
    if skipped:
        console.say(f"{skipped} of {len(outcomes)} were finished already")
    return outcomes


def _show_all(found: "Generator[Outcome]", show: "Callable[[Outcome], None]") -> None:
    """Each outcome as it comes. Ctrl-C may come while one is shown: then `found` hears of it and gives what is finished."""
    try:
        for outcome in found:
            show(outcome)
    except KeyboardInterrupt as interrupt:
        with contextlib.suppress(KeyboardInterrupt, StopIteration):
            show(found.throw(interrupt))
            for outcome in found:
                show(outcome)
        raise


def _pictures(found: "list[Task]", work: "Work", bars: "Bars") -> "Generator[Outcome]":
    from upscale.pipeline import run

    return run(found, work, bars.picture)


def _films(found: "list[Task]", work: "Work", bars: "Bars") -> "Generator[Outcome]":
    from upscale.film import run_film

    return (run_film(task, work, bars.film(task)) for task in found)


def _planned(found: "list[Task]", shop: "Workshop", console: Console) -> "list[Outcome]":
    """What --dry-run shows; the outcomes are those of inputs that would fail."""
    from upscale.pipeline import failure
    from upscale.work import planned

    failed: list[Outcome] = []
    for task in found:
        try:
            if task.video:
                from upscale.film import planned_film

                console.film_plan(task, planned_film(task, shop.video_work))
            else:
                console.plan(task, planned(task, shop.picture_work))
        except UpscaleError as error:
            failed.append(failure(task, error))
            console.outcome(failed[-1])
    return failed
