"""An engine is trusted with a model once it has computed what plain numpy computes; the verdict is remembered."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from upscale.bands import Plan
from upscale.checkpoint import Checkpoint
from upscale.engines import Progress, choose, probe
from upscale.engines.choose import Wish
from upscale.engines.probe import LIMITS_DB, agreement, probe_picture, trusted
from upscale.engines.reference import ReferenceEngine
from upscale.errors import EngineError, NotFiniteError, OutOfMemoryError
from upscale.image import Array, Floats
from upscale.spec import ModelSpec

MakeCheckpoint = Callable[[ModelSpec, int], Checkpoint]
SPEC = ModelSpec("tiny", "compact", 2, 8, blocks=2, activation="prelu")


class Engine(ReferenceEngine):
    """The right result, after `spoil` has had its way with it. Counts its runs."""

    name = "stub"

    def __init__(
        self, checkpoint: Checkpoint, spoil: Callable[[Array], Array] = lambda rows: rows, precision: str = "fp32"
    ) -> None:
        super().__init__(checkpoint)
        self.precision, self.spoil, self.runs, self.closed = precision, spoil, 0, False

    def run(
        self, rows: Iterator[Floats], width: int, height: int, plan: Plan, dtype: npt.DTypeLike,
        progress: Progress | None = None,
    ) -> Iterator[Array]:  # fmt: skip
        self.runs += 1
        for band in super().run(rows, width, height, plan, dtype, progress):
            yield self.spoil(band)

    def close(self) -> None:
        self.closed = True


def shifted(rows: Array) -> Array:
    """What a driver's bug looks like: every value is plausible, none is where it belongs."""
    return np.roll(rows, 1, axis=1)


def raising(error: Exception) -> Callable[[Array], Array]:
    def spoil(rows: Array) -> Array:
        raise error

    return spoil


@pytest.fixture
def tiny(random_checkpoint: MakeCheckpoint) -> Checkpoint:
    return random_checkpoint(SPEC, 3)


def test_right_engine_is_trusted(tiny: Checkpoint) -> None:
    engine = Engine(tiny)
    assert trusted(engine, tiny)
    assert engine.runs > 0


def test_verdict_is_remembered_and_the_second_question_computes_nothing(tiny: Checkpoint, own_cache: Path) -> None:
    assert trusted(Engine(tiny), tiny)
    assert len(json.loads((own_cache / "probes.json").read_text())) == 1
    again = Engine(tiny)
    assert trusted(again, tiny)
    assert again.runs == 0


@pytest.mark.parametrize(
    "spoil",
    [shifted, lambda rows: rows[::-1], lambda rows: rows[..., ::-1], np.zeros_like, raising(NotFiniteError("NaN"))],
    ids=["shifted", "upside down", "colors swapped", "black", "not finite"],
)
@pytest.mark.parametrize("precision", LIMITS_DB)
def test_wrong_engine_is_not_trusted_now_or_later(
    tiny: Checkpoint, spoil: Callable[[Array], Array], precision: str
) -> None:
    assert not trusted(Engine(tiny, spoil, precision), tiny)
    again = Engine(tiny, spoil, precision)
    assert not trusted(again, tiny)
    assert again.runs == 0


def test_wrong_8_bit_results_are_noticed_even_where_floats_are_right(tiny: Checkpoint) -> None:
    assert not trusted(Engine(tiny, lambda rows: rows if rows.dtype == np.float32 else shifted(rows)), tiny)


def test_memory_that_is_short_just_now_is_no_verdict(tiny: Checkpoint) -> None:
    assert not trusted(Engine(tiny, raising(OutOfMemoryError("busy"))), tiny)
    assert trusted(Engine(tiny), tiny)


def test_other_weights_another_engine_or_another_precision_are_asked_anew(
    tiny: Checkpoint, random_checkpoint: MakeCheckpoint
) -> None:
    assert trusted(Engine(tiny), tiny)
    other = random_checkpoint(SPEC, 4)
    renamed = Engine(tiny)
    renamed.name = "other"
    newer = Engine(tiny)
    newer.version = "99"
    for engine, checkpoint in (
        (Engine(other), other),
        (renamed, tiny),
        (newer, tiny),
        (Engine(tiny, precision="bf16"), tiny),
    ):
        assert trusted(engine, checkpoint)
        assert engine.runs > 0


def test_key_is_the_pinned_hash_where_there_is_one_and_else_the_weights_own(tiny: Checkpoint, own_cache: Path) -> None:
    pinned = Checkpoint(tiny.spec, tiny.arrays, {"source_sha256": "0123abcd"})
    assert trusted(Engine(pinned), pinned)
    assert trusted(Engine(tiny), tiny)
    first, second = json.loads((own_cache / "probes.json").read_text())
    assert first.endswith("|0123abcd")
    assert len(second.rpartition("|")[2]) == 64


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"a": {}}', '{"a": "b"}', "\x00\xff"])
def test_damaged_cache_is_made_anew(tiny: Checkpoint, own_cache: Path, content: str) -> None:
    own_cache.mkdir()
    (own_cache / "probes.json").write_bytes(content.encode("latin-1"))
    assert trusted(Engine(tiny), tiny)
    again = Engine(tiny)
    assert trusted(again, tiny)
    assert again.runs == 0


def test_cache_that_cannot_be_written_costs_only_the_next_probe(tiny: Checkpoint, own_cache: Path) -> None:
    own_cache.write_text("a file where the folder should be")
    for _ in range(2):
        engine = Engine(tiny)
        assert trusted(engine, tiny)
        assert engine.runs > 0


def test_foreign_networks_have_nothing_to_be_compared_with(tiny: Checkpoint) -> None:
    foreign = Checkpoint(ModelSpec("swin", "foreign", 4), {})
    engine = Engine(tiny, shifted)
    assert trusted(engine, foreign)
    assert engine.runs == 0


@pytest.mark.parametrize("multiple", [1, 2, 3, 4, 8])
def test_probe_picture_suits_the_network(multiple: int) -> None:
    picture = probe_picture(multiple)
    assert picture.shape[0] == picture.shape[1] >= 16
    assert picture.shape[0] % multiple == 0
    assert picture.min() >= 0
    assert picture.max() <= 1
    assert picture.std() > 0.1


def test_agreement_is_high_for_the_reference_itself(tiny: Checkpoint) -> None:
    assert agreement(ReferenceEngine(tiny), tiny) == probe.PERFECT_DB


# ---------------------------------------------------------------- what choose() makes of it


def test_choose_falls_back_with_a_warning_and_a_right_picture(
    tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Engine] = []
    real = choose.open_engine

    def half_broken(checkpoint: Checkpoint, name: str, device: str, precision: str) -> object:
        if (name, precision) == ("torch", "fp32"):
            return real(checkpoint, name, device, precision)
        opened.append(Engine(checkpoint, shifted, precision))
        return opened[-1]

    monkeypatch.setattr(choose, "open_engine", half_broken)
    choice = choose.choose(tiny, Wish(device="cpu", precision="bf16"))
    assert (choice.engine.name, choice.engine.precision) == ("torch", "fp32")
    assert choice.warnings
    assert all("wrong pictures with tiny" in warning and "\n" not in warning for warning in choice.warnings)
    assert "failed its probe" in choice.reason
    assert opened
    assert all(engine.closed for engine in opened)
    assert agreement(choice.engine, tiny) > 100


def test_where_no_engine_is_right_nothing_is_computed(tiny: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "open_engine", lambda checkpoint, *_: Engine(checkpoint, shifted, "fp32"))
    with pytest.raises(EngineError, match="tiny: no engine here computes this model rightly") as caught:
        choose.choose(tiny, Wish())
    assert "\n" not in str(caught.value)
