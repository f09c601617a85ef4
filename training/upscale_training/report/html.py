"""One HTML file that tells a run: nothing beside it, no request, no server, and no script needed for reading."""

import math
import time
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

from upscale.files import replacing
from upscale_training.errors import RunError
from upscale_training.report import sections, tables
from upscale_training.report.chart import Backdrop, Chart, Level, Mark, drawn
from upscale_training.report.log import NAME, Records, read_log, step_of
from upscale_training.report.strips import Strip, strips
from upscale_training.report.style import SCRIPT, STYLE
from upscale_training.report.views import Curve, best_of, curve, curves, lower_is_better, pace, stages
from upscale_training.report.words import moment, named

REPORT = "report.html"

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def write_report(run: Path) -> Path:
    """Writes report.html into a run's folder, from its log and pictures; the old one stays until the new one is whole.

    Raises RunError where there is no log, or the page cannot be written.
    """
    page = report(run.resolve().name, read_log(run / NAME), run)
    path = run / REPORT
    try:
        with replacing(path) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise RunError(
            f"{path}: the report cannot be written ({error.strerror}); make room or free the name"
        ) from error
    return path


def report(name: str, records: Records, run: Path, now: float | None = None) -> str:
    """The page. `now`: seconds since 1970, for what is said about time. `run`: the folder in which the log's pictures lie."""
    return page(name, records, strips(run, records), time.time() if now is None else now)


def page(name: str, records: Records, shown: Sequence[Strip], now: float) -> str:
    speed = pace(records)
    parts = (
        sections.heading(name, records, speed, now),
        sections.alarms(records),
        sections.figures(records, speed),
        sections.health(records),
        sections.pictures(shown),
        *_curves(records),
        tables.facts(records),
        f"<footer>Written {moment(now)} from {NAME}.</footer>",
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{escape(name)}</title><link rel="icon" href="data:,"><style>{STYLE}</style></head>\n'
        f"<body>{chr(10).join(part for part in parts if part)}<script>{SCRIPT}</script></body></html>\n"
    )


def _curves(records: Records) -> Iterator[str]:
    last = max((step_of(line) for line in (*records.steps, *records.validations)), default=0)
    backdrop = Backdrop(last, stages(records), _marks(records))
    groups = (
        ("Validation", _validation(records)),
        ("Losses and the game", _game(records)),
        ("The machine", _machine(records)),
    )
    for title, charts in groups:
        found = [drawn(chart, backdrop) for chart in charts if any(held.values for held in chart.curves.values())]
        inner = f'<div class="grid">{"".join(found)}</div>' if found else '<p class="none">Nothing measured yet.</p>'
        yield f"<section><h2>{title}</h2>{inner}</section>"


def _marks(records: Records) -> tuple[Mark, ...]:
    alarms = [Mark(step_of(line), "alarm", str(line.get("alarm", ""))) for line in records.alarms]
    actions = [Mark(step_of(line), "action", str(line.get("action", ""))) for line in records.actions if step_of(line)]
    return (*alarms, *actions)


def _validation(records: Records) -> Iterator[Chart]:
    for name, values in curves(records.validations, "metrics").items():
        best = best_of(name, values)
        levels = [Level(sections.bicubic(records, name), "bicubic")]
        if values.steps[0] == 0:
            levels.append(Level(values.values[0], "start"))
        better = "Lower is better." if lower_is_better(name) else "Higher is better."
        rings = {} if best is None else {named(name): best}
        yield Chart(
            named(name), {named(name): values}, f"{better} The ring marks the best.", levels, may_log=False, best=rings
        )


def _game(records: Records) -> Iterator[Chart]:
    losses, gradients = curves(records.steps, "losses"), curves(records.steps, "gradients")
    losses |= (
        {"total": losses.pop("total")} if "total" in losses else {}
    )  # last, so that terms have one color in all charts
    game, weights = curves(records.steps, "game"), curves(records.steps, "weights")
    yield Chart("Losses by term", losses, "As each term is, before its weight; total is weighted.")
    pulls = {name: held for name, held in gradients.items() if name not in ("generator", "discriminator")}
    yield Chart("Pull of each term", pulls, "Norm of its weighted gradient at the generator's output.")
    accuracies = {_RATED.get(name, name): held for name, held in game.items() if name in _RATED}
    note = "Near 50 % the game is balanced; near 100 % the discriminator has won."
    yield Chart("Share that the discriminator rates right", accuracies, note, [Level(0.5, "guessing")], may_log=False)
    rest = {name: held for name, held in game.items() if name not in _RATED}
    yield Chart("The discriminator's loss and penalties", rest)
    norms = {name: held for name, held in gradients.items() if name in ("generator", "discriminator")}
    yield Chart("Gradient norms", norms, "Over all parameters, before clipping.")
    yield Chart("Learning rates", curves(records.steps, "rates"), jumps=False)
    changing = {name: held for name, held in weights.items() if len(set(held.values)) > 1}
    yield Chart("Weights of the terms that change", changing, jumps=False)


_RATED = {"real": "real", "fake": "made", "known": "real, known", "held_out": "real, held out"}


def _machine(records: Records) -> Iterator[Chart]:
    yield Chart("Seconds a step", {"seconds": curve(records.steps, "seconds")}, "Without validations.", may_log=False)
    waiting = {"waiting": curve(records.steps, "waiting")}
    yield Chart("Waiting for data", waiting, "Share of a step's time.", may_log=False)
    memory = curve(records.steps, "memory")
    gigabytes = Curve(memory.steps, [value / 1e9 for value in memory.values])
    yield Chart("Memory in GB", {"memory": gigabytes}, "The most that was in use.", may_log=False, jumps=False)
    skipped = curve(records.steps, "skipped")
    if any(value > 0 or math.isnan(value) for value in skipped.values):
        yield Chart("Skipped steps", {"share": skipped}, "Their gradients were not finite.", may_log=False)
