"""Putting degradations together: order, weights, probabilities, notes; and that all of it pickles."""

import pickle
from collections import Counter

import numpy as np
import pytest

from upscale.image import Array, Floats
from upscale_training.degrade import note, recorded
from upscale_training.degrade.combine import Step, chain, maybe, one_of, shuffled, step
from upscale_training.degrade.draw import Range, choice, ends, log_number, number, whole

PICTURE = np.full((4, 5, 3), 0.5, np.float32)


@step
def plus(picture: Floats, rng: np.random.Generator, amount: Range = 0.1) -> Array:
    """Adds; a step of a recipe."""
    drawn = number(rng, amount)
    note("plus", amount=drawn)
    return np.asarray(picture + drawn, dtype=np.float64)


def halved(picture: Floats, rng: np.random.Generator) -> Floats:
    return picture / 2


def drawn_by(degradation: Step, seed: int = 0) -> float:
    return float(degradation(PICTURE, np.random.default_rng(seed)).mean())


def test_a_step_keeps_its_settings_says_them_and_gives_float32() -> None:
    made = plus(amount=(0.2, 0.3))
    assert repr(made) == "plus(amount=(0.2, 0.3))"
    result = made(PICTURE, np.random.default_rng(0))
    assert result.dtype == np.float32
    assert 0.7 <= result.min() == result.max() <= 0.8


def test_a_setting_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(TypeError):
        plus(ammount=0.1)  # pyright: ignore[reportCallIssue]


def test_a_chain_keeps_its_order_and_takes_plain_functions() -> None:
    rng = np.random.default_rng(0)
    assert chain(plus(0.2), halved)(PICTURE, rng).mean() == pytest.approx(0.35)
    assert chain(halved, plus(0.2))(PICTURE, rng).mean() == pytest.approx(0.45)
    assert chain()(PICTURE, rng) is PICTURE


def test_one_of_draws_by_weight() -> None:
    drawn = one_of((3, plus(1.0)), (1, plus(2.0)), (0, plus(3.0)))
    rng = np.random.default_rng(0)
    found = Counter(round(float(drawn(PICTURE, rng).mean()), 1) for _ in range(2000))
    assert set(found) == {1.5, 2.5}
    assert found[1.5] / 2000 == pytest.approx(0.75, abs=0.04)


@pytest.mark.parametrize("choices", [(), ((0, halved),), ((-1, halved), (2, halved))])
def test_one_of_needs_weights_to_draw_by(choices: tuple[tuple[float, Step], ...]) -> None:
    with pytest.raises(ValueError, match="one_of needs"):
        one_of(*choices)


def test_maybe_keeps_its_probability() -> None:
    rng = np.random.default_rng(0)
    done = sum(maybe(0.3, halved)(PICTURE, rng) is not PICTURE for _ in range(2000))
    assert done / 2000 == pytest.approx(0.3, abs=0.04)
    assert maybe(1, halved, halved)(PICTURE, rng).mean() == 0.125
    with pytest.raises(ValueError, match="probability"):
        maybe(1.5, halved)


def test_shuffled_does_each_once_in_every_order() -> None:
    rng = np.random.default_rng(0)
    orders: set[tuple[float, ...]] = set()
    for _ in range(60):
        with recorded() as notes:
            shuffled(plus(1.0), plus(2.0), plus(3.0))(PICTURE, rng)
        orders.add(tuple(drawn["amount"] for _, drawn in notes))
    assert len(orders) == 6
    assert all(sorted(order) == [1, 2, 3] for order in orders)


def test_everything_pickles_and_does_the_same_afterwards() -> None:
    made = chain(maybe(0.5, plus((0, 1))), one_of(plus(0.1), (2, halved)), shuffled(plus(0.2), halved))
    again = pickle.loads(pickle.dumps(made))
    assert again == made
    for seed in range(8):
        rngs = np.random.default_rng(seed), np.random.default_rng(seed)
        np.testing.assert_array_equal(made(PICTURE, rngs[0]), again(PICTURE, rngs[1]))


def test_notes_are_kept_only_where_somebody_records() -> None:
    rng = np.random.default_rng(0)
    plus(0.1)(PICTURE, rng)
    with recorded() as outer:
        plus(0.2)(PICTURE, rng)
        with recorded() as inner:
            note("inside", value=np.float32(0.5), flag=np.bool_(True))
        plus(0.3)(PICTURE, rng)
    note("after")
    assert outer == [("plus", {"amount": 0.2}), ("plus", {"amount": 0.3})]
    assert inner == [("inside", {"value": 0.5, "flag": True})]
    assert type(inner[0][1]["value"]) is float
    assert type(inner[0][1]["flag"]) is bool


def test_ranges_draw_between_their_ends() -> None:
    rng = np.random.default_rng(0)
    assert {whole(rng, (3, 5)) for _ in range(100)} == {3, 4, 5}
    assert whole(rng, 7) == 7
    logs = [log_number(rng, (0.01, 100)) for _ in range(2000)]
    assert min(logs) >= 0.01
    assert max(logs) <= 100
    assert np.mean(np.array(logs) < 1) == pytest.approx(0.5, abs=0.04)
    assert {choice(rng, "abc") for _ in range(50)} == set("abc")
    with pytest.raises(ValueError, match="swap"):
        ends((2, 1))
