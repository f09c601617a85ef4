"""A chart as inline SVG with its legend in HTML: lines over steps, with the borders of stages, alarms and actions marked."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

from upscale_training.report.axes import Axis, axis_for
from upscale_training.report.views import Curve, Stretch, coarse, smooth
from upscale_training.report.words import amount, short

COLORS = 8
"""How many colors the page's style has for lines; more lines are dashed."""

_WIDTH, _HEIGHT = 340.0, 190.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 6.0, 16.0, 20.0
_SMOOTH_FROM, _MOST_POINTS, _MOST_MARKS = 40, 240, 40


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step; `kind` is alarm or action."""

    step: int
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Level:
    """A value to compare with: a limit, the start, plain bicubic."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Backdrop:
    """What all charts of a run share: the steps from 0 to `last`, stages, and what happened."""

    last: int
    stages: Sequence[Stretch] = ()
    marks: Sequence[Mark] = ()


@dataclass(frozen=True, slots=True)
class Chart:
    """`note`: how to read it. `jumps`: many values are drawn faint, under a smooth line. `best`: name of a curve → index of
    its best value, which gets a ring."""

    title: str
    curves: Mapping[str, Curve]
    note: str = ""
    levels: Sequence[Level] = ()
    may_log: bool = True
    jumps: bool = True
    best: Mapping[str, int] = field(default_factory=dict[str, int])


def drawn(chart: Chart, backdrop: Backdrop) -> str:
    """A <figure>; a chart without any number says so in words."""
    finite = [value for curve in chart.curves.values() for value in curve.values if math.isfinite(value)]
    note = f'<p class="note">{escape(chart.note)}</p>' if chart.note else ""
    heading = f'<figcaption><b>{escape(chart.title)}</b><output class="at"></output></figcaption>'
    if not any(curve.values for curve in chart.curves.values()):
        return f'<figure class="card">{heading}<p class="none">Not measured.</p>{note}</figure>'
    levels = [level for level in chart.levels if math.isfinite(level.value)]
    down = axis_for(finite, [level.value for level in levels], chart.may_log)
    across = Axis(0.0, float(max(1, backdrop.last)))
    parts = [*_grid(across, down), *_borders(across, backdrop.stages), *_levels(down, levels)]
    for index, (name, curve) in enumerate(chart.curves.items()):
        parts += _line(index, curve, across, down, [stage.begins for stage in backdrop.stages] if chart.jumps else None)
        if name in chart.best:
            parts.append(_ring(index, curve, chart.best[name], across, down))
    parts += _marks(across, backdrop.marks)
    label = escape(f"{chart.title}; latest: " + ", ".join(f"{n} {amount(c.last)}" for n, c in chart.curves.items()))
    svg = (
        f'<svg class="chart" viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" role="img" aria-label="{label}" '
        f'data-x="{across.low:g} {across.high:g}" data-y="{down.low!r} {down.high!r}" data-log="{int(down.log)}" '
        f'data-box="{_LEFT:g} {_TOP:g} {_WIDTH - _RIGHT:g} {_HEIGHT - _BOTTOM:g}">{"".join(parts)}'
        f'<line class="cursor" x1="0" x2="0" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}"/></svg>'
    )
    return f'<figure class="card">{heading}{_legend(chart)}{svg}{note}</figure>'


def _legend(chart: Chart) -> str:
    entries = (
        f'<li><svg class="key" viewBox="0 0 18 8"><path class="line {_style(index)}" d="M0 4H18"/></svg>'
        f'{escape(name if len(chart.curves) > 1 else "latest")} <output data-line="{index}">{amount(curve.last)}</output></li>'
        for index, (name, curve) in enumerate(chart.curves.items())
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def _style(index: int) -> str:
    return f"c{index % COLORS}" + (" dashed" if index >= COLORS else "")


def _x(axis: Axis, step: float) -> float:
    return _LEFT + axis.place(step) * (_WIDTH - _LEFT - _RIGHT)


def _y(axis: Axis, value: float) -> float:
    place = min(1.02, max(-0.02, axis.place(value)))  # what was cut off leaves the chart visibly
    return _HEIGHT - _BOTTOM - place * (_HEIGHT - _TOP - _BOTTOM)


def _grid(across: Axis, down: Axis) -> Iterator[str]:
    for value in down.ticks():
        y = _y(down, value)
        yield f'<path class="grid" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
        yield f'<text class="tick" x="{_LEFT - 5:g}" y="{y + 3.5:.1f}" text-anchor="end">{short(value)}</text>'
    for step in across.ticks():
        x = _x(across, step)
        anchor = "end" if x > _WIDTH - _RIGHT - 12 else "middle"
        yield f'<text class="tick" x="{x:.1f}" y="{_HEIGHT - 6:g}" text-anchor="{anchor}">{short(step)}</text>'


def _borders(across: Axis, stages: Sequence[Stretch]) -> Iterator[str]:
    shown = [stage for stage in stages if stage.begins < across.high]
    for stage in shown if len(shown) > 1 else []:
        x = _x(across, stage.begins)
        if stage.begins:
            yield f'<path class="border" d="M{x:.1f} {_TOP - 10:g}V{_HEIGHT - _BOTTOM:g}"/>'
        room = int((_x(across, min(stage.ends, across.high)) - x) / 5.5)
        yield f'<text class="stage" x="{x + 3:.1f}" y="{_TOP - 5:g}">{escape(stage.name[: max(0, room)])}</text>'


def _levels(down: Axis, levels: Sequence[Level]) -> Iterator[str]:
    above = math.inf
    for level in sorted(levels, key=lambda level: -level.value):
        y = _y(down, level.value)
        text = y - 3 if y - above > 13 or math.isinf(above) else y + 10  # two that are close write on different sides
        above = y
        yield f'<path class="level" d="M{_LEFT:g} {y:.1f}H{_WIDTH - _RIGHT:g}"/>'
        yield f'<text class="stage" x="{_WIDTH - _RIGHT - 3:g}" y="{text:.1f}" text-anchor="end">{escape(level.text)}</text>'


def _line(index: int, curve: Curve, across: Axis, down: Axis, borders: Sequence[int] | None) -> Iterator[str]:
    """What a roll back gave up is dotted; many values are faint, and a smooth line, within `borders`, stands for them."""
    stands, given_up = curve.branches()
    for branch in given_up:
        yield _path(_thinned(branch), f"line given-up {_style(index)}", across, down)
    main = stands
    if borders is not None and len(stands.steps) >= _SMOOTH_FROM:
        few = coarse(stands, _MOST_POINTS)
        main = smooth(few, len(few.steps) // 20, borders)
        yield _path(_thinned(stands), f"line raw {_style(index)}", across, down)
    yield _path(_thinned(main), f'line main {_style(index)}" data-line="{index}', across, down)
    alone = [
        n for n in range(len(main.steps)) if not any(_known(main, at) for at in (n - 1, n + 1)) and _known(main, n)
    ]
    for n in alone[:_MOST_MARKS]:
        x, y = _x(across, main.steps[n]), _y(down, main.values[n])
        yield f'<circle class="dot {_style(index)}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'
    lost = [step for step, value in zip(curve.steps, curve.values, strict=True) if not math.isfinite(value)]
    for step in lost[:: max(1, len(lost) // _MOST_MARKS)]:
        yield f'<text class="lost" x="{_x(across, step):.1f}" y="{_TOP + 9:g}"><title>step {step:,}: no number</title>×</text>'


def _known(curve: Curve, index: int) -> bool:
    return 0 <= index < len(curve.values) and math.isfinite(curve.values[index])


def _thinned(curve: Curve) -> Curve:
    """At most about _MOST_POINTS points: of each group the least and the largest, in order, so that no jump is hidden."""
    group = math.ceil(len(curve.steps) / (_MOST_POINTS / 2))
    if group <= 2:
        return curve
    kept: set[int] = {0, len(curve.steps) - 1}
    for begin in range(0, len(curve.steps), group):
        indices = range(begin, min(begin + group, len(curve.steps)))
        kept |= {index for index in indices if not _known(curve, index)}
        known = [index for index in indices if _known(curve, index)]
        kept |= {pick(known, key=curve.values.__getitem__) for pick in (min, max) if known}
    order = sorted(kept)
    return Curve([curve.steps[index] for index in order], [curve.values[index] for index in order])


def _path(curve: Curve, style: str, across: Axis, down: Axis) -> str:
    drawn_parts: list[str] = []
    pen = "M"
    for step, value in zip(curve.steps, curve.values, strict=True):
        if math.isfinite(value):
            drawn_parts.append(f"{pen}{_x(across, step):.1f} {_y(down, value):.2f}")
            pen = "L"
        else:
            pen = "M"
    return f'<path class="{style}" d="{"".join(drawn_parts)}"/>'


def _ring(index: int, curve: Curve, best: int, across: Axis, down: Axis) -> str:
    step, value = curve.steps[best], curve.values[best]
    title = f"<title>best: {amount(value)} at step {step:,}</title>"
    return f'<circle class="ring {_style(index)}" cx="{_x(across, step):.1f}" cy="{_y(down, value):.1f}" r="4">{title}</circle>'


def _marks(across: Axis, marks: Sequence[Mark]) -> Iterator[str]:
    """Triangles for alarms, diamonds for actions, on the step axis; what lies within three pixels is one."""
    at: dict[tuple[str, int], list[Mark]] = {}
    for mark in marks:
        at.setdefault((mark.kind, round(_x(across, mark.step) / 3)), []).append(mark)
    for (kind, _), together in at.items():
        x, y = _x(across, together[0].step), _HEIGHT - _BOTTOM
        shape = (
            f"M{x:.1f} {y - 8:g}l4.5 8h-9z" if kind == "alarm" else f"M{x:.1f} {y - 18:g}l4.5 4.5l-4.5 4.5l-4.5-4.5z"
        )
        texts = dict.fromkeys(f"step {mark.step:,}: {mark.text}" for mark in together)
        yield f'<path class="mark {escape(kind)}" d="{shape}"><title>{escape(chr(10).join(list(texts)[:8]))}</title></path>'
