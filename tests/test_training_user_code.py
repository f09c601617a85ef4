"""What people write, recipes and degradations: whatever is wrong in it is one line that names the place."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.nn.functional as F

from upscale.spec import ModelSpec
from upscale_training import losses
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.degrade.checked import made
from upscale_training.degrade.combine import chain
from upscale_training.errors import DataError, RecipeError
from upscale_training.recipe import Recipe, Stage
from upscale_training.script import load_recipe
from upscale_training.terms import Term
from upscale_training.user_code import executed

SPEC = ModelSpec("own", "compact", 2, features=4, blocks=1, activation="prelu")
L1 = losses.l1(1.0)


def written(folder: Path, text: str) -> Path:
    path = folder / "own.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\nb = c\n", "own.py:2: NameError: name 'c' is not defined"),
        ("a = 1\nb = (\n", "own.py:2: SyntaxError"),
        ("import sys\nsys.exit(0)\n", "own.py:2: sys.exit(0), which would end the program; leave it out"),
        ("raise SystemExit\n", "own.py:1: sys.exit(), which"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_by_its_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        executed(written(tmp_path, text), "own_code")
    assert said in str(caught.value)
    with pytest.raises(RecipeError, match=r"own\.py"):
        load_recipe(tmp_path / "own.py")


def test_the_line_is_found_by_a_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, "a = 1\nb = c\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match=r"^own\.py:2: NameError"):
        executed(Path("own.py"), "own_code")


def test_a_recipe_that_exits_fails_as_a_command_too(tmp_path: Path) -> None:
    recipe = written(tmp_path, "import sys\nsys.exit(0)\n")
    command = [
        sys.executable,
        "-m",
        "upscale_training",
        "run",
        str(recipe),
        "--data",
        str(tmp_path),
        "-o",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "own.py:2: sys.exit(0)" in done.stderr


def nothing(scale: int) -> Any:
    return None


def divided(scale: int) -> Any:
    return 1 / (scale - scale)


@pytest.mark.parametrize(
    ("preset", "said"),
    [
        (nothing, r"test_training_user_code\.py:\d+: nothing returned None, expected a function \(picture, rng\)"),
        (divided, r"test_training_user_code\.py:\d+: divided fails with ZeroDivisionError"),
        (chain(), r"the degradation Chain\(steps=\(\)\) fails with TypeError"),
    ],
)
def test_a_preset_that_makes_no_degradation(preset: Any, said: str) -> None:
    recipe = Recipe("own", SPEC, (Stage("only", 1, (L1,)),), preset)
    for ask in (lambda: made(preset, 2), lambda: recipe.degradation_in(recipe.stages[0])):
        with pytest.raises(RecipeError, match=said):
            ask()


def test_our_own_errors_go_through() -> None:
    def refusing(scale: int) -> Any:
        raise DataError("as it is")

    with pytest.raises(DataError, match=r"^as it is$"):
        made(refusing, 2)


@pytest.mark.parametrize(
    ("terms", "said"),
    [
        ((L1, losses.mse(1.0), L1), r"two terms are called l1, .*replace\(term, name='l1 2'\)"),
        (L1, "no tuple; with one alone, write a comma after it"),
        ((), "no terms, so nothing to learn"),
        ((L1, F.mse_loss), r"is no term; write Term\('name', 1.0, mse_loss\)"),
    ],
)
def test_terms_that_are_none_or_not_to_be_told_apart(terms: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=f"stage only: .*{said}"):
        Stage("only", 1, terms)
    Stage("only", 1, (L1, replace(L1, name="l1 2")))


def test_a_term_does_not_take_the_adversarys_name() -> None:
    own = (Term("adversary", 1.0, F.l1_loss),)
    with pytest.raises(RecipeError, match="two terms are called adversary"):
        Stage("only", 1, own, AdversaryRecipe(PatchDiscriminator))
    Stage("only", 1, own)


@pytest.mark.parametrize("rate", ["1e-4", None, float("nan"), float("inf"), -1e-4, True])
def test_a_learning_rate_is_a_number(rate: Any) -> None:
    with pytest.raises(RecipeError, match=r"stage only: .* is no learning rate; give a number such as 1e-4"):
        Stage("only", 1, (L1,), learning_rate=rate)


@pytest.mark.parametrize("preset", ["mild", 4])
def test_a_degradation_is_a_function(preset: Any) -> None:
    with pytest.raises(RecipeError, match=r"stage only: .* is no degradation; give a function of the scale"):
        Stage("only", 1, (L1,), degradation=preset)
    with pytest.raises(RecipeError, match=r"own: .* is no degradation; give a function of the scale"):
        Recipe("own", SPEC, (Stage("only", 1, (L1,)),), preset)
