"""The watch over a run's log, and what the guard decides: alarms after patience, gentle measures first, an end at last."""

import json
import math
from typing import Any

import pytest

from upscale_training.health import limits
from upscale_training.health.guard import (
    MOST_ROLLBACKS,
    Guard,
    Rebalance,
    RestartDiscriminator,
    RollBack,
    SlowDiscriminator,
    Stop,
)
from upscale_training.health.limits import LIMITS
from upscale_training.health.watch import Alarm, Watch


def step(number: int, real: float = 0.7, fake: float = 0.7, total: float = 1.0, pull: float = 0.1) -> dict[str, Any]:
    return {
        "kind": "step",
        "step": number,
        "losses": {"total": total},
        "game": {"real": real, "fake": fake},
        "gradients": {"adversary": pull, "l1": 1.0},
        "skipped": 0.0,
    }


def validation(number: int, **health: Any) -> dict[str, Any]:
    lpips = health.pop("lpips_alex", 0.3)
    metrics = {"lpips_alex": lpips, "psnr_y": 25.0}
    sound = {"finite": True, "constant": 0.0, "checkerboard": 1.0, "drift": [0.1, 0.2, -0.1], "diversity": 0.9}
    return {
        "kind": "validation",
        "step": number,
        "metrics": metrics,
        "adversarial": True,
        "health": {**sound, **health},
    }


def names(watch: Watch, lines: list[dict[str, Any]]) -> list[str]:
    return [alarm.name for line in lines for alarm in watch.observe(line)]


def many(count: int, **values: float) -> list[dict[str, Any]]:
    return [step(20 * index, **values) for index in range(count)]


def test_a_healthy_run_is_silent() -> None:
    watch = Watch()
    noisy = [step(20 * i, real=0.6 + 0.2 * math.sin(i), total=1 + 0.3 * math.cos(3 * i)) for i in range(60)]
    assert names(watch, [*noisy, *(validation(i, lpips_alex=0.3 - 0.002 * i) for i in range(10))]) == []
    assert watch.healthy


def test_one_bad_batch_raises_nothing() -> None:
    watch = Watch()
    names(watch, many(10))
    assert names(watch, [step(300, real=1.0, fake=1.0, total=20.0), *many(3)]) == []


def test_a_discriminator_that_always_wins_is_told_once() -> None:
    watch = Watch()
    told = names(watch, [*many(5), *many(20, real=0.99, fake=1.0)])
    assert told == ["discriminator wins"]
    assert not watch.healthy
    assert names(watch, [*many(3), *many(10, real=0.99, fake=1.0)]) == ["discriminator wins"]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ({"real": 0.1, "fake": 0.1}, "generator wins"),
        ({"pull": 1e-6}, "adversarial gradient vanishes"),
        ({"total": 50.0}, "loss explodes"),
        ({"total": math.inf}, "loss explodes"),
    ],
)
def test_alarms_of_steps(line: dict[str, float], name: str) -> None:
    watch = Watch()
    assert names(watch, [*many(10), *many(8, **line)]) == [name]


def test_memorizing() -> None:
    lines = [validation(50 * index) | {"game": {"known": 0.9, "held_out": 0.4}} for index in range(6)]
    assert names(Watch(), lines) == ["discriminator memorizes"]


def test_skipping() -> None:
    watch = Watch()
    lines = many(10)
    for line in lines:
        line["skipped"] = 0.5
    assert names(watch, lines) == ["steps are skipped"]


@pytest.mark.parametrize(
    ("health", "name"),
    [
        ({"checkerboard": 1.2}, "checkerboard"),
        ({"drift": [0.0, -8.0, 0.0]}, "colors drift"),
        ({"diversity": 0.4}, "diversity is lost"),
        ({"finite": False}, "output is no number"),
        ({"constant": 0.5}, "output is flat"),
        ({"lpips_alex": 0.5}, "pictures get worse"),
    ],
)
def test_alarms_of_pictures(health: dict[str, Any], name: str) -> None:
    watch = Watch()
    assert names(watch, [validation(0), *(validation(index, **health) for index in range(1, 5))]) == [name]


def test_a_drift_that_training_brings_down_is_no_alarm() -> None:
    falling = [validation(500 * index, drift=[20 * 0.85**index, 0.0, 0.0]) for index in range(8)]
    assert falling[-1]["health"]["drift"][0] > (limits.DRIFT.most or 0)
    watch = Watch.from_state(json.loads(json.dumps(Watch().to_state())))
    assert names(watch, falling) == []
    again = Watch.from_state(json.loads(json.dumps(watch.to_state())))
    assert names(again, [validation(9000 + index, drift=[6.3, 0.0, 0.0]) for index in range(2)]) == ["colors drift"]


def test_the_start_is_not_judged() -> None:
    watch = Watch()
    ill = {"constant": 1.0, "diversity": 0.1, "drift": [30.0, 0.0, 0.0], "checkerboard": 2.0}
    assert names(watch, [validation(0, **ill), validation(500)]) == []
    assert watch.healthy
    assert names(Watch(), [validation(0, **ill), validation(500, constant=0.5)]) == ["output is flat"]


def test_the_grid_that_a_trained_start_already_left_is_allowed() -> None:
    allowed = [validation(index, checkerboard=1.09, checkerboard_start=1.10) for index in range(4)]
    assert names(Watch(), allowed) == []
    grown = [validation(index, checkerboard=1.13, checkerboard_start=1.10) for index in range(4)]
    assert names(Watch(), grown) == ["checkerboard"]
    new_tail = [validation(index, checkerboard=1.8, checkerboard_start=1.9) for index in range(4)]
    assert names(Watch(), new_tail) == ["checkerboard"]
    for start in (0.9, 1.035):
        soft = [validation(index, checkerboard=1.06, checkerboard_start=start) for index in range(4)]
        assert names(Watch(), soft) == ["checkerboard"]


def test_pixel_training_is_no_loss_of_diversity() -> None:
    lines = [validation(index, diversity=0.3) for index in range(4)]
    for line in lines:
        line["adversarial"] = False
    assert names(Watch(), lines) == []


def test_a_metric_that_is_none_counts_as_not_measured() -> None:
    lines = [validation(index, checkerboard=None, diversity=math.nan, constant=None) for index in range(4)]
    assert names(Watch(), lines) == []


def test_watch_and_guard_go_on_from_their_states() -> None:
    one = Watch()
    names(one, [*many(10), *many(4, real=1.0, fake=1.0)])
    other = Watch.from_state(json.loads(json.dumps(one.to_state())))
    assert (
        names(other, many(1, real=1.0, fake=1.0)) == names(one, many(1, real=1.0, fake=1.0)) == ["discriminator wins"]
    )
    guard = Guard()
    alarm = Alarm(limits.NOT_FINITE, 5, 1.0)
    for _ in range(MOST_ROLLBACKS):
        guard.decide([alarm], adversarial=True)
    again = Guard.from_state(json.loads(json.dumps(guard.to_state())))
    decision = again.decide([alarm], adversarial=True)
    assert decision is not None
    assert isinstance(decision[0], Stop)


def test_the_guard_is_gentle_first_and_rolls_back_at_last() -> None:
    guard, alarm = Guard(), Alarm(limits.DISCRIMINATOR_WINS, 1, 0.99)
    measures = [guard.decide([alarm], adversarial=True) for _ in range(7)]
    kinds = [type(measure[0]) for measure in measures if measure is not None]
    assert kinds == [SlowDiscriminator] * 3 + [RollBack] * 3 + [Stop]


def test_what_was_acted_on_is_not_healthy_for_that() -> None:
    """Else the guard would call the checkpoint healthy from which it has just fled, and roll back to it."""
    watch = Watch()
    assert names(watch, [validation(100, checkerboard=1.5), validation(200, checkerboard=1.8)]) == ["checkerboard"]
    watch.acted("checkerboard")
    assert not watch.healthy
    assert watch.spoiled
    again = Watch.from_state(json.loads(json.dumps(watch.to_state())))
    assert again.spoiled
    names(again, [validation(300)])
    assert again.healthy
    assert not again.spoiled


def test_worse_pictures_alone_spoil_nothing() -> None:
    watch = Watch()
    names(watch, [validation(100, lpips_alex=0.2), validation(200, lpips_alex=0.4)])
    assert not watch.healthy
    assert not watch.spoiled


@pytest.mark.parametrize(
    ("limit", "first", "better", "worse"),
    [(limits.CHECKERBOARD, 1.8, 1.4, 5.9), (limits.LOST_DIVERSITY, 0.4, 0.5, 0.2)],
    ids=["checkerboard", "diversity"],
)
def test_pictures_that_get_worse_after_a_gentle_measure_lead_back(
    limit: limits.Limit, first: float, better: float, worse: float
) -> None:
    guard = Guard()
    measures = [guard.decide([Alarm(limit, 1, value)], adversarial=True) for value in (first, better, worse)]
    assert [type(measure[0]) for measure in measures if measure] == [Rebalance, Rebalance, RollBack]


def test_the_worst_alarm_decides() -> None:
    alarms = [Alarm(limits.CHECKERBOARD, 1, 1.2), Alarm(limits.NOT_FINITE, 1, 1.0)]
    decision = Guard().decide(alarms, adversarial=True)
    assert decision is not None
    assert isinstance(decision[0], RollBack)
    assert decision[1].limit is limits.NOT_FINITE


def test_collapse_rebalances_and_what_only_a_person_can_cure_is_left_to_one() -> None:
    guard = Guard()
    rebalanced = guard.decide([Alarm(limits.LOST_DIVERSITY, 1, 0.3)], adversarial=True)
    assert rebalanced is not None
    assert rebalanced[0] == Rebalance(0.25, 0.25)
    assert guard.decide([Alarm(limits.DRIFT, 1, 3.0)], adversarial=True) is None
    assert guard.decide([Alarm(limits.CHECKERBOARD, 1, 1.2)], adversarial=False) is None
    assert guard.decide([], adversarial=True) is None


def test_what_shows_in_pictures_weighs_the_adversary_by_a_quarter_and_what_does_not_by_a_half() -> None:
    """Half of a weight that draws a grid went on drawing it (see the guard)."""
    for limit, value, factor in ((limits.CHECKERBOARD, 1.2, 0.25), (limits.MEMORIZING, 0.5, 0.5)):
        decision = Guard().decide([Alarm(limit, 1, value)], adversarial=True)
        assert decision is not None
        assert decision[0] == Rebalance(0.25, factor)


def test_every_limit_explains_itself() -> None:
    assert len({limit.name for limit in LIMITS}) == len(LIMITS)
    for limit in LIMITS:
        assert (limit.most is None) != (limit.least is None)
        assert limit.meaning.endswith(".")
        assert len(limit.remedy) > 30
        assert len(limit.why) > 10 or limit is limits.NOT_FINITE


def guessing(number: int, steep: float) -> dict[str, Any]:
    line = step(number, real=0.55, fake=0.47)
    line["gradients"]["discriminator"] = steep
    return line


def test_a_discriminator_that_has_stopped_learning_is_not_one_that_has_not_begun() -> None:
    """Both guess; one had large gradients before."""
    young = [guessing(20 * index, 0.01) for index in range(12)]
    assert names(Watch(), young) == []
    lost = [guessing(0, 10.0), *(guessing(20 * index, 0.05) for index in range(1, 12))]
    assert names(Watch(), lost) == ["discriminator is lost"]
    decision = Guard().decide([Alarm(limits.DISCRIMINATOR_LOST, 1, 0.51)], adversarial=True)
    assert decision is not None
    assert decision[0] == RestartDiscriminator(0.1)


def test_a_new_discriminator_is_not_measured_by_the_old_ones_gradients() -> None:
    watch = Watch()
    assert names(watch, [guessing(0, 10.0), *(guessing(20 * index, 0.05) for index in range(1, 12))])
    watch.acted(limits.DISCRIMINATOR_LOST.name)
    assert names(watch, [guessing(20 * index, 0.05) for index in range(12, 24)]) == []
