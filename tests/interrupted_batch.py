"""A small batch that is killed, and goes on, again and again; run by test_manifest.py in a process without threads.

`python interrupted_batch.py steps` kills it at each of its steps in turn, `... moments N` with SIGKILL at N random moments. Each
time it is run once more to its end, and must leave exactly the files of a run that nobody disturbed.
"""

import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from upscale.files import clear_stale, replacing
from upscale.manifest import Manifest
from upscale.media.folder import Places, tasks

SETTINGS = {"model": "tiny", "scale": 4}
COUNT = 6
Step = Callable[[], None]


def batch(place: Path, step: Step) -> None:
    """As the pipeline does it, with bytes instead of pictures; one of the inputs always fails."""
    found = tasks([str(place / "in")], Places(place / "out", recursive=True, resume=True))
    for folder in {task.target.parent for task in found if task.target}:
        clear_stale(folder)
    step()
    with Manifest.open(place / "out", SETTINGS) as manifest:
        step()
        for task in found:
            verdict = manifest.verdict(task)
            assert verdict != "foreign", f"{task.target} is ours"
            if verdict == "finished" or task.target is None:
                continue
            manifest.begin(task)
            step()
            content = task.source.read_bytes()
            if content == b"damaged":
                continue
            task.target.parent.mkdir(exist_ok=True)
            with replacing(task.target) as temporary:
                temporary.write_bytes(content)
                step()
                temporary.write_bytes(content * 4)
                step()
            step()
            manifest.finish(task)
            step()
    step()


def prepare(place: Path) -> None:
    for index in range(COUNT):
        source = place / "in" / ("sub" if index % 2 else "") / f"{index} ü.png"
        source.parent.mkdir(parents=True, exist_ok=True)
        source.write_bytes(b"damaged" if index == 3 else b"picture %d" % index * 50)


def files(place: Path) -> dict[str, bytes]:
    return {
        path.relative_to(place).as_posix(): path.read_bytes() if path.is_file() else b"a folder"
        for path in place.rglob("*")
    }


def in_a_child(work: Callable[[], None], meanwhile: Callable[[int], None]) -> None:
    child = os.fork()
    if child == 0:
        work()
        os._exit(0)
    meanwhile(child)
    os.waitpid(child, 0)


def killed_at(number: int) -> Step:
    steps = iter(range(number + 1))

    def step() -> None:
        if next(steps) == number:
            os._exit(9)

    return step


def kill_after(seconds: float) -> Callable[[int], None]:
    def kill(child: int) -> None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)

    return kill


def check(disturb: Callable[[Path], None], what: str, expected: dict[str, bytes]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        prepare(place)
        disturb(place)
        batch(place, lambda: None)
        found = files(place)
        assert found.keys() == expected.keys(), f"{what}: {sorted(found.keys() ^ expected.keys())}"
        assert found == expected, f"{what}: {[name for name in found if found[name] != expected[name]]}"


def undisturbed() -> tuple[dict[str, bytes], int]:
    """The files, and how many steps were taken."""
    taken: list[None] = []
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        batch(Path(folder), lambda: taken.append(None))
        return files(Path(folder)), len(taken)


def at_each_step(expected: dict[str, bytes], steps: int) -> None:
    def disturb(place: Path, numbers: list[int]) -> None:
        for number in numbers:
            in_a_child(partial(batch, place, killed_at(number)), lambda _: None)

    for first in range(steps):
        check(partial(disturb, numbers=[first]), f"killed at {first}", expected)
        for then in range(first % 9, steps, 9):
            check(partial(disturb, numbers=[first, then]), f"killed at {first}, then at {then}", expected)


def at_random_moments(expected: dict[str, bytes], number: int) -> None:
    def disturb(place: Path, seconds: float) -> None:
        in_a_child(lambda: batch(place, lambda: time.sleep(0.001)), kill_after(seconds))

    moments = random.Random(0)
    for _ in range(number):
        seconds = moments.uniform(0, 0.04)
        check(partial(disturb, seconds=seconds), f"killed after {seconds:.4f} s", expected)


def main(how: str, number: int = 0) -> None:
    expected, steps = undisturbed()
    assert len(expected) == 2 * COUNT - 1 + 4 + 1, "inputs, results but one, two folders each with one below, the list"
    if how == "steps":
        at_each_step(expected, steps)
    else:
        at_random_moments(expected, number)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
