"""Curves, pace, axes and words."""

import math

import pytest
from test_training_report_fakes import ALL, BEGUN, lines

from upscale_training.report.axes import Axis, axis_for
from upscale_training.report.log import records_of
from upscale_training.report.panel import GAME, PICTURES, findings, judged, overall
from upscale_training.report.views import (
    Curve,
    best_of,
    coarse,
    curves,
    pace,
    smooth,
    stages,
    state_of,
    total_steps,
)
from upscale_training.report.words import amount, duration, named, share, short, size


def test_missing_keys_leave_gaps_and_nulls_are_no_numbers() -> None:
    told = [
        {"kind": "step", "step": 1, "losses": {"l1": 1.0}},
        {"kind": "step", "step": 2, "losses": {"l1": None, "gan": 3}},
        {"kind": "step", "step": 3},
        {"kind": "step", "step": 4, "losses": {"gan": "high"}},
    ]
    found = curves(told, "losses")
    assert found["l1"].steps == [1, 2]
    assert math.isnan(found["l1"].last)
    assert found["gan"] == Curve([2], [3.0])


def test_a_roll_back_keeps_what_lies_before_it() -> None:
    stands, given_up = Curve([1, 2, 3, 4, 3, 4, 5], [1, 2, 3, 4, 30, 40, 50]).branches()
    assert stands == Curve([1, 2, 3, 4, 5], [1, 2, 30, 40, 50])
    assert given_up == [Curve([2, 3, 4], [2, 3, 4])]


def test_the_best_value_depends_on_the_metric() -> None:
    assert best_of("psnr_y", Curve([0, 1, 2], [20, 30, 30])) == 1
    assert best_of("lpips_alex", Curve([0, 1, 2], [0.3, math.nan, 0.2])) == 2
    assert best_of("dists", Curve([0], [math.nan])) is None


def test_smoothing_ignores_single_jumps_and_stops_at_borders() -> None:
    jump = Curve(list(range(20)), [1.0] * 10 + [99.0] + [1.0] * 9)
    assert smooth(jump, 4).values == [1.0] * 20
    stair = Curve(list(range(1, 21)), [1.0] * 10 + [5.0] * 10)
    assert smooth(stair, 4, [0, 10]).values == stair.values
    assert smooth(stair, 4).values != stair.values


def test_long_curves_become_means_of_groups() -> None:
    found = coarse(Curve(list(range(100)), [float(n) for n in range(100)]), 10)
    assert found.values == [4.5 + 10 * n for n in range(10)]
    assert coarse(Curve([1, 2], [1.0, 2.0]), 10).values == [1.0, 2.0]


def test_pace_counts_validations_in_the_time_left_but_not_in_the_speed() -> None:
    config = {"stages": [{"name": "a", "steps": 1000, "batch": 8}]}
    told = [{"kind": "start", "step": 0, "time": 0.0, "config": config}]
    told += [
        {"kind": "step", "step": n * 10, "stage": "a", "time": n * 20.0, "seconds": 1.0, "waiting": 0.25, "memory": 5}
        for n in range(1, 11)
    ]
    found = pace(records_of(told))
    assert found.step_seconds == 2.0
    assert found.pictures_per_second == 8.0
    assert found.left_seconds == 1800.0
    assert (found.waiting, found.memory) == (0.25, 5)


def test_an_empty_run_has_no_pace_but_breaks_nothing() -> None:
    records = records_of([])
    assert math.isnan(pace(records).left_seconds)
    assert total_steps(records) is None
    assert stages(records) == []
    assert state_of(records) == ("running", "")
    assert overall(findings(records)) == ("mute", "nothing measured yet")


def test_states() -> None:
    def ended(reason: str | None) -> tuple[str, str]:
        return state_of(records_of([{"kind": "end", "step": 1, "reason": reason}]))

    assert ended("finished") == ("finished", "")
    assert ended("interrupted") == ("interrupted", "")
    assert ended("no rescue") == ("stopped", "no rescue")
    assert ended(None) == ("stopped", "no reason was written")


def test_stages_without_a_recipe_come_from_the_steps() -> None:
    told = [{"kind": "step", "step": n, "stage": "a" if n < 30 else "b"} for n in (10, 20, 30, 40)]
    assert [(stage.name, stage.begins, stage.ends) for stage in stages(records_of(told))] == [
        ("a", 0, 20),
        ("b", 20, 40),
    ]


def test_axes_hold_their_values_and_have_round_ticks() -> None:
    linear = axis_for([3.2, 9.7])
    assert not linear.log
    assert 0 < linear.place(3.2) < linear.place(9.7) < 1
    assert linear.ticks() == [4, 6, 8, 10]
    decades = axis_for([1e-6, 0.5, 3.0])
    assert decades.log
    assert 0 < decades.place(1e-6) < decades.place(3.0) < 1
    assert decades.place(0.0) == 0
    assert all(1e-7 < tick < 10 for tick in decades.ticks())
    assert not axis_for([-1.0, 1000.0]).log
    assert axis_for([math.nan]) == Axis(0, 1)
    assert axis_for([2.0, 2.0]).place(2.0) == pytest.approx(0.5)


def test_an_outlier_does_not_flatten_the_rest() -> None:
    axis = axis_for([-1.0, *(n / 50 for n in range(50)), 1e6])
    assert axis.high < 10


def test_healthy_and_collapsed_runs_have_different_panels() -> None:
    healthy = findings(records_of(list(lines())))
    assert overall(healthy)[0] == "good"
    collapsed = {finding.measure.title: finding for finding in findings(records_of(list(lines(True, 1360))))}
    assert {title for title, finding in collapsed.items() if finding.light == "bad"} == {
        "Balance of the game",
        "The adversary's pull",
        "Memorizing",
        "Diversity",
        "Checkerboard",
    }
    assert "collapsed" in collapsed["Diversity"].sentence


def test_without_an_adversary_low_diversity_is_no_fault() -> None:
    found = {finding.measure.title: finding for finding in findings(records_of(list(lines(until=100))))}
    assert found["Diversity"].light == "mute"
    assert "Balance of the game" not in found


@pytest.mark.parametrize("measure", [*GAME, *PICTURES], ids=lambda measure: measure.title)
def test_every_measure_says_what_each_side_means(measure: object) -> None:
    assert measure.what  # pyright: ignore[reportAttributeAccessIssue]
    for limit, words, beyond in ((measure.low, measure.too_low, -1e-6), (measure.high, measure.too_high, 1e-6)):  # pyright: ignore
        if math.isfinite(limit):
            assert words
            assert judged(measure, limit + beyond).light == "bad"  # pyright: ignore[reportArgumentType]
            assert judged(measure, limit - beyond).light == "warn"  # pyright: ignore[reportArgumentType]


def test_words() -> None:
    assert [amount(value) for value in (0.0123456, 27.314, 12345.6, 3.2e-7, math.nan, 0, 100.0)] == [
        "0.0123",
        "27.31",
        "12,346",
        "3.2e-7",
        "none",
        "0",
        "100",
    ]
    assert [short(value) for value in (1500, 0.00015, 2e-5, 0.25, 0)] == ["1.5k", "1.5e-4", "2e-5", "0.25", "0"]
    assert [duration(value) for value in (0.41, 95, 1560, 12000, 190000, math.nan)] == [
        "0.41 s",
        "95 s",
        "26 min",
        "3 h 20 min",
        "2 d 4 h",
        "unknown",
    ]
    assert (share(0.0312), share(0.5), share(math.nan)) == ("3.1 %", "50 %", "unknown")
    assert (size(3.14e9), size(5e6)) == ("3.1 GB", "5 MB")
    assert (named("psnr_y"), named("lpips_alex"), named("dists"), named("mine")) == (
        "PSNR (Y)",
        "LPIPS (alex)",
        "DISTS",
        "mine",
    )


def test_the_fake_run_is_read_whole() -> None:
    records = records_of(list(lines()))
    assert records.step == ALL
    assert records.last_time > BEGUN
