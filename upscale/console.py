"""What `upscale` says: one line for each outcome, plans, warnings, and the failures again at the end."""

import contextlib
import json
import traceback
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import click

from upscale.errors import OutputError
from upscale.options import Options

if TYPE_CHECKING:
    from upscale.filmplan import FilmPlan
    from upscale.media.folder import Task
    from upscale.work import Outcome, Planned, Record


class Console:
    """Records and plans go to stdout, all else to stderr; when a picture goes to stdout, its record goes to stderr too."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._records_to_stderr = False

    def leave_stdout(self, taken: bool) -> None:
        """Whether a picture goes there."""
        self._records_to_stderr = taken

    def say(self, text: str) -> None:
        if not self._options.quiet:
            tell(f"upscale: {text}")

    def warn(self, text: str) -> None:
        self.say(f"warning: {text}")

    def outcome(self, outcome: "Outcome", told: Collection[str] = ()) -> None:
        """Warnings that were `told` when they arose are not repeated."""
        record = outcome.record
        if self._options.json:
            self._record(json.dumps(record.as_dict()))
        for warning in record.warnings:
            if warning not in told:
                self.warn(f"{record.output}: {warning}")
        if record.status == "failed":
            self._failed(outcome)
        elif record.output_size and record.input_size:
            sizes = "{}×{} → {}×{}".format(*record.input_size, *record.output_size)
            self.say(f"{record.output}: {sizes}{_frames(record)} in {record.seconds:.1f} s")

    def failures(self, outcomes: "Sequence[Outcome]") -> bool:
        """Lists them where there were several inputs; whether there are any."""
        failed = [outcome.record for outcome in outcomes if outcome.record.status == "failed"]
        if failed and len(outcomes) > 1:
            tell(f"upscale: {len(failed)} of {len(outcomes)} inputs failed:")
            for record in failed:
                tell(f"  {record.error}")
        return bool(failed)

    def plan(self, task: "Task", plan: "Planned") -> None:
        job, bands = plan.job, [{"rows": part.rows, "tail_rows": part.tail_rows} for part in plan.job.plans]
        if self._options.json:
            sizes = {
                "input_size": [job.geometry.width, job.geometry.height],
                "output_size": [job.out_width, job.out_height],
                "frames": plan.frames,
            }
            means = {"passes": job.passes, "bands": bands, "bytes_needed": plan.bytes_needed, "warnings": plan.warnings}
            names = {"input": str(task.source), "output": str(task.target), "status": "planned"}
            self._record(json.dumps({**names, **sizes, **means}))
            return
        cut = "; ".join(f"bands of {part['rows']} rows, tail {part['tail_rows']}" for part in bands) or "no network"
        frames = f"{plan.frames} frames of " if plan.frames > 1 else ""
        sizes = f"{job.geometry.width}×{job.geometry.height} → {job.out_width}×{job.out_height}"
        self._record(f"{task.source} → {task.target}: {frames}{sizes}, {cut}, about {plan.bytes_needed / 1e6:,.0f} MB")
        for warning in plan.warnings:
            self.warn(f"{task.target}: {warning}")

    def film_plan(self, task: "Task", plan: "FilmPlan") -> None:
        encoding, geometry, info = plan.encoding, plan.job.geometry, plan.info
        if self._options.json:
            sizes = {"input_size": [geometry.width, geometry.height], "output_size": [encoding.width, encoding.height]}
            how = {
                "frames": info.frames,
                "seconds": info.seconds,
                "codec": encoding.codec.name,
                "warnings": plan.warnings,
            }
            names = {"input": str(task.source), "output": str(task.target), "status": "planned"}
            self._record(json.dumps({**names, **sizes, **how, "pix_fmt": encoding.pixel_format}))
            return
        frames = f"{info.frames} frames" if info.frames else f"{info.seconds or 0:.1f} s"
        sizes = f"{geometry.width}×{geometry.height} → {encoding.width}×{encoding.height}"
        streams = f", {sum(one.how != 'drop' for one in plan.carried)} other streams" if plan.carried else ""
        how = f"{encoding.codec.name} {encoding.pixel_format} in {plan.container.name}{streams}"
        self._record(f"{task.source} → {task.target}: {frames} of {sizes}, {how}")
        for warning in plan.warnings:
            self.warn(f"{task.target}: {warning}")

    def _failed(self, outcome: "Outcome") -> None:
        tell(f"upscale: failed: {outcome.record.error}")
        if self._options.verbose and outcome.error is not None:
            for line in "".join(traceback.format_exception(outcome.error)).splitlines():
                tell(line)

    def _record(self, text: str) -> None:
        """A line of what was asked for. Raises OutputError where nobody can take it."""
        if self._records_to_stderr:
            tell(text)
            return
        try:
            click.echo(_harmless(text))
        except OSError as error:
            raise OutputError(f"stdout takes no more ({error.strerror}); send it to a file with room") from error


def _frames(record: "Record") -> str:
    """Of a video: how many frames, how fast."""
    if record.video is None:
        return ""
    same = f", {record.video['same']} of them as the one before" if record.video["same"] else ""
    return f", {record.frames} frames{same}, {record.video['fps'] or 0:.2f} a second,"


def tell(text: str) -> None:
    """A line on stderr. Where that is full or closed, work goes on without."""
    with contextlib.suppress(OSError):
        click.echo(_harmless(text), err=True)


def _harmless(text: str) -> str:
    """Names of files may hold line ends, and what terminals take for orders."""
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in text)
