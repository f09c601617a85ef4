"""Progress bars: one over the files, one within a large picture. Silent when nobody is looking."""

import contextlib
from collections.abc import Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from upscale.engines import Progress

if TYPE_CHECKING:
    from upscale.filming import FilmProgress, Progressed
    from upscale.media.folder import Task
    from upscale.work import Record

_STEPS = 1000


class Bars:
    """tqdm bars on stderr with the time left and megapixels a second; `quiet` draws nothing."""

    def __init__(self, files: int, quiet: bool) -> None:
        self._quiet = quiet
        self._pixels = 0
        self._files: Any = None
        self._picture: Any = None
        if quiet:
            return
        from tqdm import tqdm

        self._files = tqdm(total=files, unit="file", desc="files", position=0, disable=files < 2)

    def picture(self, task: "Task") -> Progress | None:
        """The progress of one picture's bar, which replaces the one before."""
        if self._quiet:
            return None
        from tqdm import tqdm

        self._close_picture()
        form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"
        bar: Any = tqdm(total=_STEPS, desc=task.source.name[-40:], position=1, leave=False, bar_format=form, delay=1)
        self._picture = bar

        def told(done: float) -> None:
            bar.update(int(done * _STEPS) - bar.n)

        return told

    def film(self, task: "Task") -> "FilmProgress | None":
        """The progress of one video's bar: frames, frames a second, what is left, and where the time goes."""
        if self._quiet:
            return None
        from tqdm import tqdm

        self._close_picture()
        bar: Any = tqdm(desc=task.source.name[-40:], position=1, leave=False, unit="frame", dynamic_ncols=True)
        self._picture = bar

        def told(done: "Progressed") -> None:
            bar.total = done.total
            bar.initial = done.kept
            busy = sum(done.busy.values()) or 1.0
            shares = ", ".join(f"{name} {seconds / busy:.0%}" for name, seconds in done.busy.items())
            bar.set_postfix_str(shares, refresh=False)
            bar.update(done.kept + done.frames - bar.n)

        return told

    def finished(self, record: "Record") -> None:
        if self._quiet:
            return
        if record.output_size and record.status == "done":
            self._pixels += record.output_size[0] * record.output_size[1] * record.frames
        elapsed = self._files.format_dict["elapsed"] or 1e-9
        self._files.set_postfix_str(f"{self._pixels / elapsed / 1e6:.2f} Mpixel/s out")
        self._files.update()

    @contextlib.contextmanager
    def aside(self) -> Generator[None]:
        """A block that prints: the bars make way for it and come back below."""
        bars = [bar for bar in (self._files, self._picture) if bar is not None and not bar.disable]
        shown = [bar for bar in bars if bar.last_print_t >= bar.start_t + bar.delay]
        for bar in shown:
            bar.clear()
        yield
        for bar in shown:
            bar.refresh()

    def _close_picture(self) -> None:
        if self._picture is not None:
            self._picture.close()
            self._picture = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_picture()
        if self._files is not None:
            self._files.close()
