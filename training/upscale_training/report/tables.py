"""The report's tables: data, skipped pictures, versions, configuration."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any, cast

from upscale_training.report.log import Records, step_of
from upscale_training.report.views import number
from upscale_training.report.words import moment


def facts(records: Records) -> str:
    """Data, bad pictures, versions and configuration, as tables to unfold."""
    start = records.start
    counts = start.get("pictures")
    data = {f"{name} pictures": held for name, held in _mapping(counts).items()}
    bad = {str(line.get("path", "")): line.get("reason", "") for line in records.bad_pictures}
    data |= {f"left out, {index + 1}": why for index, why in enumerate(_listed(start.get("left_out")))}
    data |= {f"note {index + 1}": note for index, note in enumerate(_listed(start.get("warnings")))}
    told = ("command", "device", "precision")
    machine = {key: start[key] for key in told if key in start} | _mapping(start.get("versions"))
    history = {f"started at step {step_of(line):,}": moment(number(line.get("time"))) for line in records.starts}
    if records.damaged:
        history["lines of the log that could not be read"] = str(records.damaged)
    tables = (
        _table("Data", data, True),
        _table(f"Pictures that were skipped: {len(bad)}", bad, len(bad) < 10),
        _table("Machine and versions", machine, False),
        _table("Starts", history, False),
        _table("Configuration", _flat(start.get("config")), False),
    )
    return f"<section><h2>The run</h2>{''.join(tables)}</section>"


def _mapping(value: object) -> dict[str, Any]:
    return dict(cast("Mapping[str, Any]", value)) if isinstance(value, dict) else {}


def _listed(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def _flat(value: object, name: str = "") -> dict[str, object]:
    """Nested values under dotted names."""
    inner: Iterable[tuple[object, object]]
    if isinstance(value, dict) and value:
        inner = cast("dict[object, object]", value).items()
    elif isinstance(value, list) and any(isinstance(held, dict | list) for held in cast("list[object]", value)):
        inner = ((index + 1, held) for index, held in enumerate(cast("list[object]", value)))
    else:
        return {name: value} if name else {}
    found: dict[str, object] = {}
    for key, held in inner:
        found |= _flat(held, f"{name}.{key}" if name else str(key))
    return found


def _table(title: str, rows: Mapping[str, object], unfolded: bool) -> str:
    if not rows:
        return ""
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(_said(value))}</td></tr>" for name, value in rows.items())
    return f'<details{" open" if unfolded else ""}><summary>{escape(title)}</summary><table class="facts">{lines}</table></details>'


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_said(held) for held in cast("list[object]", value))
    return "none" if value is None else {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
