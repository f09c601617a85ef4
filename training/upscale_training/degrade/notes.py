"""What a degradation drew: steps take notes, which contact sheets and tests read. Where nobody records, nothing is kept."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

Note = tuple[str, dict[str, Any]]
"""The step's name and the values that it drew."""

_recorder: ContextVar[list[Note] | None] = ContextVar("degradation_notes", default=None)


def note(step: str, **drawn: Any) -> None:
    """Say what a step drew, in the units of its parameters: `note("jpeg", quality=53)`. Numpy's numbers become Python's."""
    notes = _recorder.get()
    if notes is not None:
        notes.append((step, {name: _plain(value) for name, value in drawn.items()}))


@contextmanager
def recorded() -> Generator[list[Note]]:
    """The notes of all steps that run inside, in their order. An inner recording keeps its notes from the outer one."""
    notes: list[Note] = []
    token = _recorder.set(notes)
    try:
        yield notes
    finally:
        _recorder.reset(token)


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
