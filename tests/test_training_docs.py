"""What training/README.md says is what the program does."""

import re
from pathlib import Path

import pytest

from upscale_training import losses
from upscale_training.adversary import games
from upscale_training.cli import main
from upscale_training.degrade.files import from_script
from upscale_training.degrade.presets import PRESETS
from upscale_training.health.limits import LIMITS
from upscale_training.script import load_recipe

ROOT = Path(__file__).parent.parent
README = (ROOT / "training" / "README.md").read_text(encoding="utf-8")


def test_every_alarm_is_explained_as_the_program_explains_it() -> None:
    table = README[README.index("<!-- alarms") : README.index("<!-- end of alarms")]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [limit.name for limit in LIMITS]
    for row, limit in zip(rows, LIMITS, strict=True):
        bound = f"above {limit.most:g}" if limit.most is not None else f"below {limit.least:g}"
        assert row[1:3] == [limit.meaning, limit.remedy]
        assert row[3].removesuffix(" |") == f"{bound}: {limit.why}"


def test_presets_losses_and_games_are_those_that_exist() -> None:
    presets = README[README.index("| preset |") : README.index("**From examples.**")]
    assert set(re.findall(r"^\| `(\w+)` \|", presets, re.MULTILINE)) == set(PRESETS)
    sentence = README[README.index("Ready ones:") : README.index("**A weight**")]
    assert set(re.findall(r"`(\w+)`", sentence)) == {name for name in losses.__all__ if name[0].islower()} - {
        "needs_backbone",
        "prepare",
    }
    sentence = README[README.index("Games:") : README.index("**Several GPUs**")]
    assert all(hasattr(games, name) for name in re.findall(r"`(\w+)`", sentence))


def test_commands_and_options_exist() -> None:
    for command, rest in re.findall(r"^upscale-train ([\w-]+)(.*)$", README, re.MULTILINE):
        known = {name for parameter in main.commands[command].params for name in parameter.opts}
        assert set(re.findall(r"(?<=\s)--?[a-z][\w-]*", rest)) <= known


@pytest.mark.parametrize("path", sorted((ROOT / "training" / "recipes").glob("*.py")), ids=lambda path: path.stem)
def test_recipes_load_without_weights(path: Path) -> None:
    assert load_recipe(path).steps > 1000
    assert f"[{path.name}](recipes/{path.name})" in README


def test_the_example_of_a_degradation_works(tmp_path: Path) -> None:
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    (tmp_path / "mine.py").write_text(example, encoding="utf-8")
    assert callable(from_script(tmp_path / "mine.py")(4))
