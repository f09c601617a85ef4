"""A log that outlives kill -9, and is read as the run went: resumes void, roll backs do not."""

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from upscale_training.errors import RunError
from upscale_training.report.log import Log, Records, read_log, records_of


def step(number: int, loss: float = 1.0) -> dict[str, Any]:
    return {"kind": "step", "step": number, "losses": {"l1": loss}}


def read_steps(records: Records) -> list[int]:
    return [line["step"] for line in records.steps]


def test_lines_come_back_with_a_time_and_plain_numbers(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        told = log.add(
            {
                "kind": "step",
                "step": np.int64(3),
                "losses": {"l1": torch.tensor(0.5), "nan": math.nan, "inf": np.float32(np.inf)},
                "path": tmp_path,
                "drift": np.array([1.0, 2.0]),
            }
        )
    (read,) = read_log(tmp_path / "log.jsonl").steps
    assert read == told
    assert read["step"] == 3
    assert read["losses"] == {"l1": 0.5, "nan": None, "inf": None}
    assert read["drift"] == [1.0, 2.0]
    assert read["path"] == tmp_path.as_posix()
    assert read["time"] > 1.6e9
    assert next(iter(read)) == "kind"


def test_a_log_is_strict_json_in_one_line_each(tmp_path: Path) -> None:
    with Log(tmp_path / "log.jsonl") as log:
        log.add({"kind": "alarm", "step": 1, "meaning": "two\nlines \u2028 ü \ud800", "value": math.nan})
        log.add(step(2))
    text = (tmp_path / "log.jsonl").read_text(encoding="utf-8")
    lines = [json.loads(line, parse_constant=lambda name: pytest.fail(name)) for line in text.rstrip("\n").split("\n")]
    assert [line["kind"] for line in lines] == ["alarm", "step"]


@pytest.mark.parametrize("cut", range(1, 24))
def test_a_torn_last_line_is_mended_on_opening(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log.jsonl"
    with Log(path) as log:
        log.add(step(1))
        log.add(step(2))
    path.write_bytes(path.read_bytes()[:-cut])
    whole = 2 if cut == 1 else 1  # all but the line's end is a whole line
    assert len(read_log(path).steps) == whole
    with Log(path) as log:
        log.add(step(9))
    records = read_log(path)
    assert read_steps(records) == [1, *([2] if whole == 2 else []), 9]
    assert records.damaged == 0


def test_what_was_added_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom upscale_training.report.log import Log\n"
        "log = Log(Path(sys.argv[1]))\nfor n in range(50): log.add({'kind': 'step', 'step': n})\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(path)])
    assert done.returncode == -signal.SIGKILL
    assert read_steps(read_log(path)) == list(range(50))


def test_foreign_lines_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'{"kind":"step","step":1}\n\x00\xff\n[1]\n{"kind":"dance"}\n\n{"kind":"step","step":"x"}\n{"kind":"step","step":2}\n'
    )
    records = read_log(path)
    assert read_steps(records) == [1, 2]
    assert records.damaged == 4


def test_a_resume_voids_what_came_after_its_step() -> None:
    killed = [
        {"kind": "start", "step": 0},
        step(100),
        step(200, 7),
        {"kind": "alarm", "step": 200, "alarm": "a"},
        step(250),
    ]
    records = records_of([*killed, {"kind": "start", "step": 200}, step(220), step(300)])
    assert read_steps(records) == [100, 200, 220, 300]
    assert len(records.alarms) == 1
    assert [line["step"] for line in records.starts] == [0, 200]


def test_a_resumed_step_that_is_told_again_counts_once() -> None:
    before = [{"kind": "start", "step": 0}, step(200, 7), {"kind": "validation", "step": 200}]
    records = records_of([*before, {"kind": "start", "step": 200}, {"kind": "validation", "step": 200, "again": 1}])
    assert [line.get("again") for line in records.validations] == [1]
    assert read_steps(records) == [200]


def test_bad_pictures_and_starts_are_never_void() -> None:
    lines = [
        {"kind": "start", "step": 0},
        step(10),
        {"kind": "bad picture", "step": 20, "path": "a"},
        {"kind": "start", "step": 10},
    ]
    records = records_of([*lines, step(20), {"kind": "start", "step": 0}])
    assert [line["path"] for line in records.bad_pictures] == ["a"]
    assert len(records.starts) == 3
    assert read_steps(records) == []


def test_a_roll_back_voids_nothing_even_when_a_resume_follows() -> None:
    fell = [{"kind": "start", "step": 0}, step(400), step(800), {"kind": "alarm", "step": 800, "alarm": "a"}]
    back = [{"kind": "action", "step": 800, "action": "roll back"}, step(500), step(600), step(650)]
    records = records_of([*fell, *back, {"kind": "start", "step": 600}, step(700)])
    assert read_steps(records) == [400, 800, 500, 600, 700]
    assert len(records.alarms) == len(records.actions) == 1
    assert records.step == 700


def test_a_run_has_ended_only_while_its_end_is_the_last_line() -> None:
    ended = [{"kind": "start", "step": 0}, step(5), {"kind": "end", "step": 5, "reason": "interrupted"}]
    assert records_of(ended).end is not None
    assert records_of([*ended, {"kind": "start", "step": 5}]).end is None


def test_a_missing_log_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"nowhere/log\.jsonl: no log"):
        read_log(tmp_path / "nowhere" / "log.jsonl")
    with pytest.raises(RunError, match="cannot be opened"):
        Log(tmp_path / "nowhere" / "log.jsonl")


def test_a_full_disk_leaves_no_half_line(small_disk: Path) -> None:
    log = Log(small_disk / "log.jsonl")
    with pytest.raises(RunError, match="make room"):  # noqa: PT012
        for number in range(1000):
            log.add(step(number) | {"filler": "x" * 3000})
    log.close()
    content = (small_disk / "log.jsonl").read_bytes()
    assert content.endswith(b"\n")
    assert read_log(small_disk / "log.jsonl").damaged == 0
    assert os.path.getsize(small_disk / "log.jsonl") > 100_000  # noqa: PTH202
