"""The report's parts, each a function from records to HTML; html.py puts them together. All text from a log is escaped."""

import datetime
import math
from collections.abc import Sequence
from html import escape
from typing import Any, cast

from upscale_training.report.log import Line, Records, step_of
from upscale_training.report.panel import Finding, findings, overall
from upscale_training.report.strips import Cell, Strip
from upscale_training.report.views import (
    Curve,
    Pace,
    State,
    best_of,
    curves,
    lower_is_better,
    number,
    stages,
    state_of,
    total_steps,
)
from upscale_training.report.words import amount, duration, moment, named, share, size

_BADGES: dict[State, str] = {"running": "mute", "finished": "good", "interrupted": "warn", "stopped": "bad"}


def heading(name: str, records: Records, pace: Pace, now: float) -> str:
    """State, step, and when it will be done; under it the stages as a bar."""
    state, reason = state_of(records)
    total, step = total_steps(records), records.step
    parts = [f"step {step:,}" + (f" of {total:,}" if total else "")]
    if records.steps and len(stages(records)) > 1:
        parts.append(f"stage <b>{escape(str(records.steps[-1].get('stage', '')))}</b>")
    if math.isfinite(pace.step_seconds):
        parts.append(f"{duration(pace.step_seconds)} a step")
    if state == "running" and math.isfinite(pace.left_seconds):
        clock = datetime.datetime.fromtimestamp(now + pace.left_seconds).astimezone()
        parts.append(f"{duration(pace.left_seconds)} left (until about {clock:%a %H:%M})")
    why = f'<p class="alarm bad"><b>Stopped:</b> {escape(reason)}</p>' if reason else ""
    if state == "interrupted":
        why = "<p>The same command with <code>--resume</code> goes on from here.</p>"
    return (
        f'<header><div class="top"><h1>{escape(name)}</h1><span class="badge {_BADGES[state]}">{state}</span></div>'
        f"<p>{' · '.join(parts)}</p>{_progress(records, total, step)}{_story(records)}{why}{_live(records, pace, now)}</header>"
    )


def _story(records: Records) -> str:
    """Where the network came from."""
    told = [str(line["detail"]) for line in records.actions if line.get("action") == "start" and line.get("detail")]
    return f'<p class="soft">Began {escape(told[0])}</p>' if told else ""


def _progress(records: Records, total: int | None, step: int) -> str:
    if not total:
        return ""
    bars = (
        f'<div style="flex-grow:{stage.ends - stage.begins}"><i><b style="width:{_percent(step, stage.begins, stage.ends)}">'
        f"</b></i><span>{escape(stage.name)} · {stage.ends - stage.begins:,} steps</span></div>"
        for stage in stages(records)
        if stage.ends > stage.begins
    )
    return f'<div class="progress">{"".join(bars)}</div>'


def _percent(step: int, begins: int, ends: int) -> str:
    return f"{100 * min(1.0, max(0.0, (step - begins) / (ends - begins))):.1f}%"


def _live(records: Records, pace: Pace, now: float) -> str:
    """A box to tick for reloading, and a warning that the script uncovers when the page has grown old."""
    if records.end is not None:
        return ""
    late = 900 + 20 * (pace.step_seconds if math.isfinite(pace.step_seconds) else 0)
    return (
        f'<p class="tools soft"><label><input type="checkbox" id="live" data-time="{now:.0f}" data-late="{late:.0f}"> '
        f"reload every half minute</label></p>"
        f'<p id="late" class="alarm warn" hidden>This page was last written {moment(now)}. If the run should be going on, it was '
        f"interrupted: start the same command again with <code>--resume</code>.</p>"
    )


def alarms(records: Records) -> str:
    """Each kind of alarm once, with its meaning and remedy; then what the guard did."""
    together: dict[str, list[Line]] = {}
    for line in records.alarms:
        together.setdefault(str(line.get("alarm", "alarm")), []).append(line)
    boxes = "".join(_alarm(name, lines, records.step) for name, lines in together.items())
    if not boxes and records.steps:
        boxes = '<p class="calm good">No alarm was raised.</p>'
    done = "".join(
        f"<li><b>{escape(str(line.get('action', '')))}</b>{_at(line)}{_dash(line.get('detail'))}"
        f"{_because(line.get('reason'))}</li>"
        for line in records.actions
        if line.get("action") != "start"
    )
    listed = f'<details open><summary>What was done</summary><ul class="actions">{done}</ul></details>' if done else ""
    return f'<section class="alarms">{boxes}{listed}</section>'


def _alarm(name: str, lines: Sequence[Line], now: int) -> str:
    first, last = step_of(lines[0]), step_of(lines[-1])
    fresh = last >= now - max(1, now // 10)
    when = f"at step {first:,}" if len(lines) == 1 else f"{len(lines)} times, from step {first:,} to {last:,}"
    past = "" if fresh else f"; not since (now at step {now:,})"
    value, limit = number(lines[-1].get("value")), number(lines[-1].get("limit"))
    measured = f" Measured {amount(value)}, limit {amount(limit)}." if math.isfinite(limit) else ""
    meaning, remedy = (escape(str(lines[-1].get(key) or "")) for key in ("meaning", "remedy"))
    advice = f"<p><b>What to do:</b> {remedy}</p>" if remedy else ""
    return (
        f'<div class="alarm {"bad" if fresh else "warn"}"><h3>{escape(name[:1].upper() + name[1:])}</h3>'
        f'<p>{meaning}</p>{advice}<p class="when">{when}{past}.{measured}</p></div>'
    )


def _at(line: Line) -> str:
    return f' <span class="soft">at step {step_of(line):,}</span>' if "step" in line else ""


def _dash(detail: object) -> str:
    return f" – {escape(str(detail))}" if detail else ""


def _because(reason: object) -> str:
    return f' <span class="soft">({escape(str(reason))})</span>' if reason else ""


def figures(records: Records, pace: Pace) -> str:
    """The numbers to look at first: metrics against the start and plain bicubic, speed, waiting, memory."""
    metrics = curves(records.validations, "metrics")
    tiles = [_metric(name, curve, bicubic(records, name)) for name, curve in metrics.items()]
    if math.isfinite(pace.pictures_per_second):
        tiles.append(
            _tile("pictures a second", amount(pace.pictures_per_second), f"{duration(pace.step_seconds)} a step")
        )
    if math.isfinite(pace.waiting):
        slow = pace.waiting > 0.1
        advice = "more --workers would help" if slow else "the data keep up"
        tiles.append(_tile("waiting for data", share(pace.waiting), advice, "worse" if slow else ""))
    if math.isfinite(pace.memory):
        tiles.append(_tile("memory, at most", size(pace.memory), str(records.start.get("device", ""))))
    if skipped := skipped_steps(records):
        tiles.append(_tile("skipped steps", f"{skipped:,}", "their gradients were not finite", "worse"))
    return f'<dl class="tiles">{"".join(tiles)}</dl>' if tiles else ""


def skipped_steps(records: Records) -> int:
    """How many steps were left out: lines tell the share of them since the line before."""
    shares = [(step_of(line), number(line.get("skipped"))) for line in records.steps]
    before = [0, *(step for step, _ in shares)]
    return round(
        sum(part * max(1, step - last) for (step, part), last in zip(shares, before, strict=False) if part > 0)
    )


def bicubic(records: Records, metric: str) -> float:
    """What plain bicubic reaches, where the start line says so."""
    said = records.start.get("bicubic")
    return number(cast("dict[str, Any]", said).get(metric)) if isinstance(said, dict) else math.nan


def _metric(name: str, curve: Curve, plain: float) -> str:
    notes: list[tuple[str, str]] = []
    if curve.steps[0] == 0 and len(curve.steps) > 1:
        notes.append(_against(name, curve.last, curve.values[0], "the start"))
    notes.append(_against(name, curve.last, plain, "bicubic"))
    best = best_of(name, curve)
    if best is not None and best != len(curve.steps) - 1:
        notes.append((f"best {amount(curve.values[best])} at step {curve.steps[best]:,}", ""))
    small = "".join(f'<small class="{style}">{escape(text)}</small>' for text, style in notes if text)
    return f'<div class="card"><dt>{escape(named(name))}</dt><dd>{amount(curve.last)}{small}</dd></div>'


def _against(name: str, value: float, other: float, whose: str) -> tuple[str, str]:
    """In words, and the style of the words; empty where there is nothing to compare."""
    gap = abs(value - other)
    if not math.isfinite(gap):
        return "", ""
    if float(f"{gap:.4f}") == 0:
        return f"as {whose}", ""
    style = "better" if (value < other) == lower_is_better(name) else "worse"
    return f"{gap:.2g} {style} than {whose}", style


def _tile(title: str, value: str, note: str, style: str = "") -> str:
    return f'<div class="card"><dt>{title}</dt><dd>{value}<small class="{style}">{escape(note)}</small></dd></div>'


def health(records: Records) -> str:
    """The panel: a card for each measure, with its light in words and its limits on a bar."""
    found = findings(records)
    light, words = overall(found)
    cards = "".join(_finding(finding) for finding in found)
    return f'<section><h2>Health <span class="badge {light}">{words}</span></h2><div class="grid health">{cards}</div></section>'


_LIGHTS = {"good": "healthy", "warn": "close", "bad": "beyond", "mute": "not judged"}


def _finding(finding: Finding) -> str:
    measure = finding.measure
    value = "" if math.isnan(finding.value) else f'<span class="value">{escape(measure.text(finding.value))}</span>'
    limit = f' <span class="soft">healthy: {escape(finding.limits_in_words)}</span>' if value else ""
    return (
        f'<div class="card"><h3>{escape(measure.title)}<span class="badge {finding.light}">{_LIGHTS[finding.light]}</span></h3>'
        f'{value}{limit}{_meter(finding)}<p>{escape(finding.sentence)}</p><p class="note">{escape(measure.what)}</p></div>'
    )


def _meter(finding: Finding) -> str:
    if math.isnan(finding.value):
        return ""
    left, right = finding.place(finding.measure.low), finding.place(finding.measure.high)
    return (
        f'<div class="meter"><i style="left:{left:.1%};width:{max(0.0, right - left):.1%}"></i>'
        f'<b style="left:{finding.place(finding.value):.1%}"></b></div>'
    )


def pictures(found: Sequence[Strip]) -> str:
    """The strips, each a table of one row, in its own scrolling box."""
    if not found:
        return ""
    rows = "".join(f'<div class="scroll">{_strip(strip)}</div>' for strip in found)
    controls = '<button class="back">←</button> <button class="on">→</button> <button class="close">close</button>'
    return (
        '<section><h2>The same pictures over time</h2><p class="soft">Their most detailed parts, pixel by pixel. Click one for a '
        "closer look; the arrow keys then go through the steps.</p>"
        f'{rows}</section><dialog><div><span></span><nav>{controls}</nav></div><img alt="a closer look"></dialog>'
    )


def _strip(strip: Strip) -> str:
    heads = "".join(f'<th scope="col">{escape(cell.title)}</th>' for cell in strip.cells)
    cells = "".join(f"<td>{_cell(strip, cell)}</td>" for cell in strip.cells)
    name = f'<tr><th class="name" colspan="{len(strip.cells)}">{escape(strip.name)}</th></tr>'
    return f'<table class="strip"><thead>{name}<tr>{heads}</tr></thead><tbody><tr>{cells}</tr></tbody></table>'


def _cell(strip: Strip, cell: Cell) -> str:
    if cell.source is None:
        return f'<div class="missing" style="width:{strip.width}px;height:{strip.height}px">not there</div>'
    alt = escape(f"{strip.name}, {cell.title}")
    return f'<button><img src="{cell.source}" width="{strip.width}" height="{strip.height}" alt="{alt}"></button>'
