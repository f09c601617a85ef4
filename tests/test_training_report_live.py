"""The terminal's bar and lines, and TensorBoard's files."""

import io
import sys
from pathlib import Path
from typing import Any

import pytest
from test_training_report_fakes import lines, write_run

from upscale_training.report.log import read_log
from upscale_training.report.tensorboard import open_tensorboard, scalars
from upscale_training.report.terminal import Terminal


def told(watched: bool, collapses: bool = True, every: int | None = None) -> str:
    stream = io.StringIO()
    with Terminal(stream, watched, every) as terminal:
        for line in lines(collapses):
            terminal.tell(line)
    return stream.getvalue()


def test_a_log_file_gets_a_line_now_and_then_and_every_event() -> None:
    text = told(watched=False, every=200)
    said = text.splitlines()
    assert "\r" not in text
    assert sum("img/s" in line for line in said) == 7 + 4  # 200 to 1400, and after the roll back 1220 to 1820
    assert sum("ALARM discriminator wins" in line for line in said) == 5
    assert sum("roll back, to step 1200 (discriminator wins)" in line for line in said) == 1
    assert any("PSNR (Y) 2" in line for line in said)
    assert any("skipped photos/<broken>.jpg: truncated" in line for line in said)
    assert said[-1] == "upscale-train: finished at step 2,000"
    assert any("left" in line and "D real" in line for line in said)


def test_a_terminal_gets_a_bar_with_alarms_above_it() -> None:
    text = told(watched=True)
    assert "2000/2000" in text
    assert "l1 0.0" in text
    assert "D real" in text
    alarm = next(part for part in text.split("\n") if "ALARM" in part)
    assert alarm.split("\r")[-1].startswith(
        "upscale-train: step 1,140: ALARM discriminator wins: The discriminator tells"
    )


def test_a_resumed_bar_goes_on_where_the_run_does() -> None:
    stream = io.StringIO()
    with Terminal(stream, watched=True) as terminal:
        terminal.tell({"kind": "start", "step": 600, "steps": 1000})
        terminal.tell({"kind": "step", "step": 700, "losses": {"l1": 0.5}})
    assert "700/1000" in stream.getvalue()


def test_many_bad_pictures_do_not_flood_the_terminal() -> None:
    stream = io.StringIO()
    with Terminal(stream, watched=False) as terminal:
        for number in range(100):
            terminal.tell({"kind": "bad picture", "path": f"{number}.jpg", "reason": "torn"})
    assert stream.getvalue().count("torn") == 10
    assert "see the report" in stream.getvalue()


def _events(folder: Path) -> Any:
    loader: Any = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="no tensorboard here"
    )
    found = loader.EventAccumulator(str(folder))
    found.Reload()
    return found


def test_tensorboard_reads_scalars_pictures_and_alarms(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", collapses=True, until=1360, side=(24, 24))
    with open_tensorboard(run, pytest.fail) as tell:
        for line in lines(collapses=True, until=1360):
            tell(line)
    found = _events(run / "tensorboard")
    records = read_log(run / "log.jsonl")
    l1 = found.Scalars("losses/l1")
    assert [event.step for event in l1] == [line["step"] for line in records.steps]
    assert l1[3].value == pytest.approx(records.steps[3]["losses"]["l1"])
    assert {"metrics/psnr_y", "health/diversity", "health/drift R", "run/waiting", "game/held_out"} <= set(
        found.Tags()["scalars"]
    )
    assert len(found.Images("pictures/budgie")) > 0
    assert "alarms/text_summary" in found.Tags()["tensors"]


def test_a_resumed_run_hides_what_is_void(tmp_path: Path) -> None:
    for begin, steps in ((0, (10, 20, 30)), (20, (25, 35))):
        with open_tensorboard(tmp_path) as tell:
            tell({"kind": "start", "step": begin, "time": 1e9 + begin})
            for number in steps:
                tell({"kind": "step", "step": number, "time": 1e9 + number, "losses": {"l1": float(begin)}})
    events = _events(tmp_path / "tensorboard").Scalars("losses/l1")
    assert [(event.step, event.value) for event in events] == [(10, 0), (20, 0), (25, 20), (35, 20)]


def test_without_tensorboard_it_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard.writer", None)
    said: list[str] = []
    with open_tensorboard(tmp_path, said.append) as tell:
        for line in (*lines(until=100), {"kind": "start", "step": 0}):
            tell(line)
    assert said == ["no TensorBoard files are written: pip install tensorboard (or upscale[train]) for them"]
    assert not (tmp_path / "tensorboard").exists()


def test_scalars_have_names_that_tensorboard_groups() -> None:
    line = {"kind": "step", "step": 1, "losses": {"l1": 1, "bad": None}, "waiting": 0.5, "game": 3, "health": None}
    found = dict(scalars(line))
    assert found.pop("losses/bad") != found.get("losses/bad")
    assert found == {"losses/l1": 1.0, "run/waiting": 0.5}
