"""A process that computes only while it is asked to, so that rivals take turns: a line of JSON each way.

It says one line when it is ready, and one for each line that it is given; peers/serve.py is such a process.
"""

import contextlib
import json
import subprocess
import tempfile
from collections.abc import Sequence
from typing import Any


class SilentError(Exception):
    """The process ended instead of answering; the last line of what it said on standard error."""


class Asked:
    """`ready`: what the process said first. Raises SilentError, and OSError where it cannot be started."""

    def __init__(self, command: Sequence[str]) -> None:
        self._errors = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 (`end` closes it)
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True
        )
        self.ready: Any = self._answer()

    def ask(self, question: object) -> Any:
        assert self._process.stdin
        with contextlib.suppress(BrokenPipeError):  # what it said last says why
            print(question, file=self._process.stdin, flush=True)
        return self._answer()

    def end(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._errors.close()

    def _answer(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if line:
            return json.loads(line)
        code = self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        raise SilentError(f"ended with {code}: {lines[-1] if lines else 'and said nothing'}")
