"""Whole runs, tiny ones: what they leave behind, how they go on after a kill, and what stops them."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from click.testing import CliRunner

import upscale
from upscale.checkpoint import Checkpoint, read_checkpoint, write_safetensors
from upscale.errors import OutputError
from upscale.files import lock
from upscale.keys import parameter_shapes
from upscale.spec import ModelSpec
from upscale_training.changes import Changes, changed
from upscale_training.cli import main
from upscale_training.errors import RecipeError, RunError, StoppedError
from upscale_training.judge import Verdict, learns_to_see
from upscale_training.losses import feature_matching, perceptual
from upscale_training.order import Order
from upscale_training.run import carried_out
from upscale_training.script import load_recipe

RECIPE = '''
"""A tiny game of two stages; the environment may ask it to die, or to run out of memory, at a step."""

import os
import signal

import torch
import torch.nn.functional as F

from upscale.spec import ModelSpec
from upscale_training.adversary import AdversaryRecipe
from upscale_training.adversary.patch import PatchDiscriminator
from upscale_training.degrade.presets import PRESETS
from upscale_training.recipe import Cuts, Recipe, Stage
from upscale_training.script import main
from upscale_training.terms import Term

calls = []


def l1(sr, hr):
    calls.append(len(sr))
    if os.environ.get("DIE_AT") == str(len(calls)):
        os.kill(os.getpid(), signal.SIGKILL)
    if os.environ.get("FULL_ABOVE") and len(sr) > int(os.environ["FULL_ABOVE"]):
        raise torch.OutOfMemoryError("full")
    return F.l1_loss(sr, hr)


def patch():
    return PatchDiscriminator(8, 2, norm="none")


terms = (Term("l1", 1.0, l1),)
main(
    Recipe(
        "tiny",
        ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu"),
        (
            Stage("pixel", 4, terms, batch=4, crop=32, learning_rate=1e-3),
            Stage("gan", 8, terms, AdversaryRecipe(patch), batch=4, crop=32, learning_rate=1e-3),
        ),
        PRESETS["mild"],
        cuts=Cuts((0.5, 1.0)),
        precision="fp32",
        log_every=2,
        validate_every=6,
        checkpoint_every=3,
    )
)
'''


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with a recipe and eight pictures of blurred noise."""
    (tmp_path / "photos").mkdir()
    for index in range(8):
        noise = np.random.default_rng(index).integers(0, 256, (72, 80, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / "photos" / f"{index}.png"), cv2.GaussianBlur(noise, (0, 0), 1.5))
    (tmp_path / "recipe.py").write_text(RECIPE, encoding="utf-8")
    return tmp_path


def order(place: Path, name: str = "run", **more: Any) -> Order:
    return Order(place / "recipe.py", (place / "photos",), place / name, device="cpu", **more)


def in_a_process(place: Path, name: str, *more: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "upscale_training", "run", str(place / "recipe.py")]
    command += ["--data", str(place / "photos"), "-o", str(place / name), "--device", "cpu", *more]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=300, check=False
    )


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]


def last_state(run: Path) -> dict[str, Any]:
    return torch.load(sorted((run / "checkpoints").iterdir())[-1], weights_only=True)


def test_a_generator_may_wait_for_its_discriminator_longer_than_a_line_of_the_log(place: Path) -> None:
    """For whole lines of the log nothing of the generator is measured; the first version could not write such a line."""
    script = place / "recipe.py"
    script.write_text(RECIPE.replace("AdversaryRecipe(patch)", "AdversaryRecipe(patch, generator_from=5)"))
    assert carried_out(order(place), []) == "finished"
    lines = [line for line in log(place / "run") if line["kind"] == "step" and line["stage"] == "gan"]
    assert ["losses" in line for line in lines] == [False, False, False, True, True]
    assert all(line["skipped"] == 0 for line in lines)


def test_a_run_leaves_a_model_a_log_pictures_and_a_report(place: Path) -> None:
    lines: list[dict[str, Any]] = []
    assert carried_out(order(place), [lines.append]) == "finished"
    run = place / "run"
    enlarged = upscale.load(run / "model.safetensors")(np.zeros((10, 12, 3), np.uint8))
    assert enlarged.shape == (20, 24, 3)
    notes = read_checkpoint(run / "model.safetensors").notes
    assert notes["recipe"] == "tiny"
    assert "psnr_y" in json.loads(notes["scores"])
    kinds = [line["kind"] for line in log(run)]
    assert kinds[0] == "start"
    assert kinds[-1] == "end"
    assert [line["step"] for line in log(run) if line["kind"] == "validation"] == [0, 6, 12]
    assert {line["stage"] for line in log(run) if line["kind"] == "step"} == {"pixel", "gan"}
    assert len(lines) == len(kinds)
    assert [path.name for path in sorted((run / "checkpoints").iterdir())] == ["00000009.ckpt", "00000012.ckpt"]
    assert (run / "recipe.py").read_text(encoding="utf-8") == RECIPE
    assert "<html" in (run / "report.html").read_text(encoding="utf-8")[:400]
    for line in log(run):
        for file in line.get("pictures", {}).values() if line["kind"] == "validation" else ():
            assert (run / file).is_file()


def test_a_killed_run_goes_on_to_the_same_weights(place: Path) -> None:
    """Killed in the middle of a step of the second stage; all that learns is equal, bit for bit, to an unbroken run's."""
    assert in_a_process(place, "whole").returncode == 0
    killed = in_a_process(place, "broken", DIE_AT="11")
    assert killed.returncode == -signal.SIGKILL
    resumed = in_a_process(place, "broken", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    whole, broken = last_state(place / "whole"), last_state(place / "broken")
    assert whole["number"] == broken["number"] == 12
    compared = 0
    for part in ("network", "ema"):
        for key, value in whole["players"][part].items():
            assert torch.equal(value, broken["players"][part][key]), key
            compared += 1
    for key, value in whole["players"]["adversary"]["net"].items():
        assert torch.equal(value, broken["players"]["adversary"]["net"][key]), key
    assert compared > 10
    one, other = (read_checkpoint(place / name / "model.safetensors") for name in ("whole", "broken"))
    assert all(np.array_equal(value, other.arrays[key]) for key, value in one.arrays.items())


def test_two_processes_learn_what_one_learns(place: Path) -> None:
    """Each on half of every batch, with averaged gradients (torchrun, gloo)."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    command += ["-m", "upscale_training", "run", str(place / "recipe.py"), "--data", str(place / "photos")]
    command += ["-o", str(place / "two"), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    carried_out(order(place, "one"), [])
    one, two = last_state(place / "one"), last_state(place / "two")
    for key, value in one["players"]["network"].items():
        torch.testing.assert_close(value, two["players"]["network"][key], rtol=2e-2, atol=2e-4)
    assert [line["kind"] for line in log(place / "two")].count("start") == 1


def test_short_memory_makes_smaller_micro_batches_and_the_same_weights(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    carried_out(order(place, "ample"), [])
    monkeypatch.setenv("FULL_ABOVE", "1")
    lines: list[dict[str, Any]] = []
    carried_out(order(place, "short"), [lines.append])
    told = [line["detail"] for line in lines if line.get("action") == "smaller micro-batches"]
    assert told == ["2 in a batch", "4 in a batch"]
    ample, short = last_state(place / "ample"), last_state(place / "short")
    assert short["players"]["parts"] == 4
    for key, value in ample["players"]["network"].items():
        torch.testing.assert_close(value, short["players"]["network"][key], rtol=2e-2, atol=2e-4)


def test_memory_for_not_even_one_crop_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FULL_ABOVE", "0")
    with pytest.raises(RecipeError, match="not even one crop of 32 pixels fits"):
        carried_out(order(place), [])


def test_a_stopped_run_goes_on(place: Path) -> None:
    seen: list[dict[str, Any]] = []
    assert carried_out(order(place), [seen.append], lambda: len(seen) > 5) == "interrupted"
    stopped = last_state(place / "run")["number"]
    assert 0 < stopped < 12
    assert carried_out(order(place, resume=True), []) == "finished"
    assert last_state(place / "run")["number"] == 12


def test_a_full_disk_leaves_the_last_checkpoint_whole(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.save

    def full(state: Any, file: Any) -> None:
        if state["number"] > 5:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OutputError, match="make room, then --resume"):
        carried_out(order(place), [])
    assert last_state(place / "run")["number"] == 4
    monkeypatch.undo()
    assert carried_out(order(place, resume=True), []) == "finished"


def test_a_run_is_never_overwritten_unasked(place: Path) -> None:
    carried_out(order(place, changes=Changes(steps=2)), [])
    with pytest.raises(RunError, match="holds a run already"):
        carried_out(order(place), [])
    assert carried_out(order(place, overwrite=True, changes=Changes(steps=2)), []) == "finished"
    with pytest.raises(RunError, match="no checkpoint to go on from"):
        carried_out(order(place, "new", resume=True), [])


def test_overwriting_leaves_a_living_runs_files_alone(place: Path) -> None:
    carried_out(order(place, changes=Changes(steps=2)), [])
    before = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.name != ".lock"}
    with (place / "run" / ".lock").open("w") as held:
        assert lock(held.fileno())
        with pytest.raises(RunError, match="another run is at work"):
            carried_out(order(place, overwrite=True), [])
    after = {path: path.stat().st_mtime_ns for path in (place / "run").rglob("*") if path.name != ".lock"}
    assert after == before


def test_a_run_that_died_before_its_first_checkpoint_begins_anew(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run" / "log.jsonl").write_text('{"kind": "start", "time": 1.0, "step": 0}\n')
    with pytest.raises(RunError, match="start without --resume"):
        carried_out(order(place, resume=True, changes=Changes(steps=2)), [])
    assert carried_out(order(place, changes=Changes(steps=2)), []) == "finished"


def test_what_lies_in_the_folder_and_is_no_runs_stays(place: Path) -> None:
    """Somebody's recipe.py is not replaced unasked, and a folder called pictures is not emptied even when asked."""
    (place / "run" / "pictures").mkdir(parents=True)
    (place / "run" / "pictures" / "mine.png").write_bytes(b"mine")
    (place / "run" / "recipe.py").write_text("# mine")
    with pytest.raises(RunError, match="something else"):
        carried_out(order(place, changes=Changes(steps=2)), [])
    assert (place / "run" / "recipe.py").read_text() == "# mine"
    carried_out(order(place, overwrite=True, changes=Changes(steps=2)), [])
    assert (place / "run" / "pictures" / "mine.png").read_bytes() == b"mine"


def test_a_run_among_its_own_pictures_is_refused(place: Path) -> None:
    for out in (place / "photos", place / "photos" / "run"):
        with pytest.raises(RunError, match="lies among the pictures"):
            carried_out(replace(order(place), out=out), [])


def test_a_resumed_run_says_that_its_recipe_was_changed(place: Path) -> None:
    seen: list[dict[str, Any]] = []
    carried_out(order(place), [seen.append], lambda: len(seen) > 5)
    recipe = place / "recipe.py"
    recipe.write_text(recipe.read_text().replace("learning_rate=1e-3", "learning_rate=1e-4"))
    later: list[dict[str, Any]] = []
    carried_out(order(place, resume=True), [later.append])
    assert next(line["action"] for line in later if line["kind"] == "action") == "another recipe"
    assert "another recipe" not in [line.get("action") for line in seen]


@pytest.mark.parametrize("steps", [12, 2])
def test_losses_that_are_never_numbers_end_the_run(place: Path, steps: int) -> None:
    recipe = place / "recipe.py"
    recipe.write_text(recipe.read_text().replace("return F.l1_loss(sr, hr)", "return F.l1_loss(sr, hr) * float('nan')"))
    with pytest.raises(StoppedError, match="no step gives gradients"):
        carried_out(order(place, changes=Changes(steps=steps)), [])


def test_a_loss_that_leaves_is_no_finished_run(place: Path) -> None:
    recipe = place / "recipe.py"
    recipe.write_text(recipe.read_text().replace("    return F.l1_loss(sr, hr)", "    raise SystemExit(0)"))
    with pytest.raises(RecipeError, match=r"the loss of the term l1 calls sys.exit\(0\)"):
        carried_out(order(place), [])


def test_pixels_alone_are_judged_by_psnr_and_what_is_spoiled_by_nothing(place: Path) -> None:
    pixel, gan = load_recipe(place / "recipe.py").stages
    assert not learns_to_see(pixel)
    assert learns_to_see(gan)
    assert learns_to_see(replace(pixel, terms=(perceptual(1.0),)))
    worse = Verdict({"psnr_y": 20.0, "lpips_alex": 0.1}, {}, {}, 0.1)
    better = Verdict({"psnr_y": 21.0, "lpips_alex": 0.2}, {}, {}, 0.2)
    assert better.by_pixels < worse.by_pixels


def test_pixel_only_leaves_out_adversaries_and_what_needs_them_or_a_backbone(place: Path) -> None:
    recipe = load_recipe(place / "recipe.py")
    pixel, gan = recipe.stages
    full = replace(gan, terms=(*gan.terms, perceptual(1.0), feature_matching(1.0)))
    left = changed(replace(recipe, stages=(pixel, full)), Changes(pixel_only=True))
    assert left.stages[1].adversary is None
    assert [term.name for term in left.stages[1].terms] == ["l1"]
    with pytest.raises(RecipeError, match="without terms"):
        changed(replace(recipe, stages=(replace(gan, terms=(perceptual(1.0),)),)), Changes(pixel_only=True))
    assert carried_out(order(place, changes=Changes(steps=2, pixel_only=True)), []) == "finished"


def test_other_pictures_than_the_run_began_with_are_refused(place: Path) -> None:
    carried_out(order(place, changes=Changes(steps=2)), [])
    cv2.imwrite(str(place / "photos" / "more.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(RunError, match="other pictures"):
        carried_out(order(place, resume=True), [])


def test_a_damaged_checkpoint_is_named(place: Path) -> None:
    carried_out(order(place, changes=Changes(steps=2)), [])
    latest = sorted((place / "run" / "checkpoints").iterdir())[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"\.ckpt: damaged"):
        carried_out(order(place, resume=True), [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1/0\n", ":1: ZeroDivisionError"),
        ("from upscale_training.recipe import Recipe\n", "calls main(Recipe(...)) 0 times"),
        ("def broken(:\n", ":1: SyntaxError"),
        ("import nowhere_to_be_found\n", ":1: ModuleNotFoundError"),
    ],
)
def test_a_wrong_recipe_is_told_by_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "wrong.py").write_text(text, encoding="utf-8")
    with pytest.raises(RecipeError) as caught:
        load_recipe(tmp_path / "wrong.py")
    assert said in str(caught.value)
    assert "wrong.py" in str(caught.value)


def test_a_recipe_may_import_what_lies_beside_it(place: Path) -> None:
    (place / "mine.py").write_text("from upscale_training.degrade.presets import PRESETS\nchosen = PRESETS['mild']\n")
    (place / "other.py").write_text("from mine import chosen\n" + RECIPE.replace('PRESETS["mild"]', "chosen"))
    assert load_recipe(place / "other.py").name == "tiny"


def test_a_start_with_a_grid_can_be_fine_tuned_and_resumed(place: Path) -> None:
    """Nothing that a run can do helps against what its start brings along."""
    spec = ModelSpec("gridded", "compact", 2, features=8, blocks=2, activation="prelu")
    arrays = {key: np.zeros(shape, np.float32) for key, shape in parameter_shapes(spec).items()}
    last = max((key for key in arrays if key.endswith("bias")), key=lambda key: int(key.split(".")[1]))
    arrays[last] += np.tile([0.0042, -0.0042, -0.0042, 0.0042], 3).astype(np.float32)
    write_safetensors(Checkpoint(spec, arrays), place / "gridded.safetensors")
    text = RECIPE.replace("cuts=", f"start={str(place / 'gridded.safetensors')!r}, cuts=").replace("1e-3", "1e-7")
    (place / "recipe.py").write_text(text.replace("validate_every=6", "validate_every=2"), encoding="utf-8")
    asked = iter([False] * 5)
    assert carried_out(order(place), [], lambda: next(asked, True)) == "interrupted"
    assert carried_out(order(place, resume=True), []) == "finished"
    checks = [line["health"] for line in log(place / "run") if line["kind"] == "validation"]
    assert 1.05 < checks[0]["checkerboard"] < 1.15
    assert {check["checkerboard_start"] for check in checks} == {checks[0]["checkerboard"]}
    assert "alarm" not in {line["kind"] for line in log(place / "run")}


def test_finetune_writes_its_recipe_and_a_smoke_run_works(place: Path) -> None:
    command = ["finetune", str(place / "photos"), "--from", "animevideov3", "--losses", "pixel", "--smoke"]
    result = CliRunner().invoke(main, [*command, "-o", str(place / "mine"), "--device", "cpu"])
    assert result.exit_code == 0, result.output
    assert load_recipe(place / "mine" / "recipe.py").start == "animevideov3"
    assert upscale.load(place / "mine" / "model.safetensors").scale == 4


def test_finetune_that_is_refused_or_only_tried_changes_nothing(place: Path) -> None:
    out = place / "mine"
    command = [
        "finetune",
        str(place / "photos"),
        "--from",
        "animevideov3",
        "--pixel-only",
        "--device",
        "cpu",
        "-o",
        str(out),
    ]
    tried = CliRunner().invoke(main, [*command, "--smoke", "--dry-run"])
    assert tried.exit_code == 0, tried.output
    assert not out.exists()
    assert CliRunner().invoke(main, [*command, "--smoke"]).exit_code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for more in (["--overwrite", "--dry-run"], []):
        CliRunner().invoke(main, [*command, "--smoke", "--rate", "0.5", *more])
    with (out / ".lock").open("w") as held:
        assert lock(held.fileno())
        refused = CliRunner().invoke(main, [*command, "--smoke", "--rate", "0.5", "--overwrite"])
    assert "another run is at work" in refused.output
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_recipe_with_its_own_degradation_can_be_run_from_folder_to_folder(place: Path) -> None:
    own = place / "mine.py"
    own.write_text(
        "from upscale_training.degrade.resize import shrink\n\n\ndef degradation(scale):\n    return shrink(scale)\n"
    )
    command = ["finetune", str(place / "photos"), "--from", "animevideov3", "--pixel-only", "--degradation", str(own)]
    first = CliRunner().invoke(main, [*command, "--smoke", "--device", "cpu", "-o", str(place / "one")])
    assert first.exit_code == 0, first.output
    for recipe, out in (("one", "two"), ("two", "three")):
        again = ["run", str(place / recipe / "recipe.py"), "--data", str(place / "photos"), "-o", str(place / out)]
        result = CliRunner().invoke(main, [*again, "--smoke", "--device", "cpu"])
        assert result.exit_code == 0, result.output
        assert (place / out / "degradation.py").read_bytes() == own.read_bytes()


def test_contradicting_or_senseless_options_are_usage_errors(place: Path) -> None:
    command = ["finetune", str(place / "photos"), "-o", str(place / "run")]
    for more in (
        ["--resume", "--overwrite"],
        ["--rate", "nan"],
        ["--rate", "inf"],
        ["--rate", "0"],
        ["--seed", str(2**80)],
    ):
        assert CliRunner().invoke(main, [*command, *more]).exit_code == 2, more


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["finetune", "nowhere", "-o", "x"], "nowhere: no such file or folder"),
        (["run", "none.py", "--data", ".", "-o", "x"], "none.py: no such recipe"),
        (["finetune", ".", "--from", "no-such-model", "-o", "x"], "no-such-model"),
    ],
)
def test_errors_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
