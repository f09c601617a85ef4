"""Animations stay animations: every frame, its time, the loops and the transparency, in all formats that can move."""

import io
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pil

from upscale.errors import OutputError
from upscale.image import Animation, Color, Image
from upscale.media.formats import AVIF, GIF, JPEG, PNG, TIFF, WEBP, Format
from upscale.media.reading.boxes import av1_facts
from upscale.media.reading.frames import gif_facts, webp_facts
from upscale.media.writing.animate import milliseconds
from upscale.media.writing.encode import Encoding, losses, save
from upscale.media.writing.gif import centiseconds, indexed

Pixels = npt.NDArray[Any]
MakePhoto = Callable[..., Pixels]
MOVING = [GIF, PNG, WEBP, AVIF]
TIMES = (100.0, 40.0, 70.0, 200.0)


def write(path: Path, format_: Format, frames: list[Image], animation: Animation, **more: Any) -> list[str]:
    header, encoding = frames[0].header, Encoding(format_, **more)
    save(path, header, animation, encoding, (frame.bands() for frame in frames))
    return losses(header, animation, encoding)


def played(path: Path) -> tuple[list[Pixels], list[float]]:
    """What Pillow shows: RGBA frames and their times."""
    frames: list[Pixels] = []
    times: list[float] = []
    with Pil.open(path) as opened:
        for number in range(getattr(opened, "n_frames", 1)):
            opened.seek(number)
            frames.append(np.asarray(opened.convert("RGBA")))
            times.append(float(opened.info["duration"]))
    return frames, times


def walking(make_photo: MakePhoto, alpha: bool = False) -> list[Image]:
    """Four frames of a photograph with a square that walks through; with alpha, nothing but the square is seen."""
    frames: list[Image] = []
    for step in range(4):
        rgb = make_photo(48, 64)
        rgb[20:32, 4 + 14 * step : 16 + 14 * step] = (230, 40 + 20 * step, 30)
        seen = np.zeros((48, 64), np.uint8)
        seen[20:32, 4 + 14 * step : 16 + 14 * step] = 255
        frames.append(Image(rgb, seen if alpha else None))
    return frames


@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_wish_17_frames_and_times_come_back(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    frames = walking(make_photo)
    write(path, format_, frames, Animation(TIMES, 3))
    seen, times = played(path)
    assert times == list(TIMES)
    for frame, back in zip(frames, seen, strict=True):
        close = np.abs(back[..., :3].astype(int) - frame.rgb).mean()
        assert close < {"PNG": 0.01, "GIF": 9, "WebP": 8, "AVIF": 3}[format_.name]
        assert back[..., 3].min() == 255


@pytest.mark.parametrize("plays", [0, 1, 2, 7])
@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_wish_17_as_many_plays_as_before(tmp_path: Path, make_photo: MakePhoto, format_: Format, plays: int) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    write(path, format_, walking(make_photo), Animation(TIMES, plays))
    with path.open("rb") as file:
        if format_ is GIF:
            found = gif_facts(file).plays
        elif format_ is WEBP:
            found = webp_facts(file).plays
        elif format_ is AVIF:
            found = av1_facts(file.read()).plays
        else:
            data = file.read()
            at = data.index(b"acTL")
            found = int.from_bytes(data[at + 8 : at + 12], "big")
    assert found == plays
    assert played(path)[1] == list(TIMES)


@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_wish_17_transparent_frames_do_not_smear(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    frames = walking(make_photo, alpha=True)
    write(path, format_, frames, Animation(TIMES))
    for frame, back in zip(frames, played(path)[0], strict=True):
        assert frame.alpha is not None
        assert np.abs(back[..., 3].astype(int) - frame.alpha).max() <= (60 if format_ is AVIF else 0)
        inside = frame.alpha == 255
        assert np.abs(back[inside][:, :3].astype(int) - frame.rgb[inside]).mean() < 6


@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_wish_17_equal_frames_take_no_time_away(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    """WebP's encoder may join equal frames, and so may Pillow: what is seen when must stay the same."""
    first, last = walking(make_photo)[0], walking(make_photo)[3]
    path = tmp_path / f"a{format_.suffixes[0]}"
    write(path, format_, [first, first, first, last, last], Animation((50.0, 30.0, 20.0, 70.0, 90.0)))
    seen, times = played(path)
    assert sum(times) == 260
    changes = [
        at for at, pair in zip(itertools.accumulate(times), itertools.pairwise(seen), strict=False) if changed(*pair)
    ]
    assert changes == [100]
    if format_ in (GIF, PNG):
        assert times == [50, 30, 20, 70, 90], "not even joined"


def changed(before: Pixels, after: Pixels) -> bool:
    return bool(np.abs(before.astype(int) - after).mean() > 1.5)


@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_one_frame_is_an_animation_too(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    frame = walking(make_photo)[0]
    write(path, format_, [frame], Animation((120.0,)))
    with Pil.open(path) as opened:
        assert opened.size == (64, 48)
        assert getattr(opened, "n_frames", 1) == 1


@pytest.mark.parametrize("format_", [PNG, WEBP, AVIF, GIF], ids=lambda format_: format_.name)
def test_row_15_gray_frames_stay_gray(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    frames = []
    for frame in walking(make_photo):
        gray = np.repeat(frame.rgb[..., 1:2], 3, axis=2)
        tinted = np.clip(gray.astype(int) + np.array((0, 2, 4)), 0, 255).astype(np.uint8)
        frames.append(Image(tinted, None, Color(gray=True)))
    path = tmp_path / f"a{format_.suffixes[0]}"
    write(path, format_, frames, Animation(TIMES))
    for frame, back in zip(frames, played(path)[0], strict=True):
        assert np.array_equal(back[..., 0], back[..., 1])
        assert np.array_equal(back[..., 0], back[..., 2])
        if format_ is not AVIF:
            wanted = np.rint(frame.rgb.mean(axis=2))
            assert np.abs(back[..., 0] - wanted).max() <= (2 if format_ is GIF else 0), "256 grays need no dithering"


@pytest.mark.parametrize("format_", [JPEG, TIFF], ids=lambda format_: format_.name)
def test_wish_17_a_still_format_keeps_the_first_frame_and_says_so(
    tmp_path: Path, make_photo: MakePhoto, format_: Format
) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    frames = walking(make_photo)
    (warning,) = write(path, format_, frames, Animation(TIMES))
    assert "first of 4 frames" in warning
    with Pil.open(path) as opened:
        assert np.abs(np.asarray(opened).astype(int) - frames[0].rgb).mean() < 4


@pytest.mark.parametrize("format_", MOVING, ids=lambda format_: format_.name)
def test_missing_frames_leave_no_file(tmp_path: Path, make_photo: MakePhoto, format_: Format) -> None:
    path = tmp_path / f"a{format_.suffixes[0]}"
    with pytest.raises(OutputError, match="2 of 4 pictures are missing"):
        write(path, format_, walking(make_photo)[:2], Animation(TIMES))
    assert not [found for found in tmp_path.iterdir() if found.is_file()]


def test_frames_are_not_in_memory_together(tmp_path: Path, make_photo: MakePhoto) -> None:
    """Each is asked for only when the one before has been taken: also by Pillow's encoders."""
    for format_ in MOVING:
        asked: list[int] = []

        def frames(asked: list[int] = asked) -> Iterator[Any]:
            for number, frame in enumerate(walking(make_photo)):
                yield followed(frame, number, asked)

        save(
            tmp_path / f"a{format_.suffixes[0]}",
            walking(make_photo)[0].header,
            Animation(TIMES),
            Encoding(format_),
            frames(),
        )
        assert asked == [0, 0, 1, -1, 2, -2, 3, -3]


def followed(frame: Image, number: int, asked: list[int]) -> Iterator[Any]:
    asked.append(number)
    yield from frame.bands()
    asked.append(-number)


@given(st.lists(st.floats(0, 500), min_size=1, max_size=60))
@settings(deadline=None)
def test_rounded_times_never_drift(durations: list[float]) -> None:
    for unit, rounded in ((10, centiseconds(tuple(durations))), (1, milliseconds(tuple(durations)))):
        true = list(itertools.accumulate(durations))
        told = [unit * at for at in itertools.accumulate(rounded)]
        assert max(abs(a - b) for a, b in zip(true, told, strict=True)) <= unit / 2 + 1e-6
        assert min(rounded) >= 0


def test_thirty_frames_a_second_last_as_long_in_a_gif(tmp_path: Path, make_photo: MakePhoto) -> None:
    frames = [Image(make_photo(16, 16, seed=seed)) for seed in range(15)]
    warnings = write(tmp_path / "a.gif", GIF, frames, Animation((1000 / 30,) * 15))
    assert any("hundredths" in warning for warning in warnings)
    times = played(tmp_path / "a.gif")[1]
    assert set(times) == {30.0, 40.0}
    assert sum(times) == 500


@pytest.mark.parametrize("count", [2, 16, 255, 256])
def test_few_colors_come_through_a_gif_exactly(tmp_path: Path, count: int) -> None:
    rng = np.random.default_rng(count)
    colors = rng.integers(0, 256, (count, 3), dtype=np.uint8)
    pixels = colors[rng.integers(0, count, (40, 50))]
    pixels[0, :count] = colors[:50]
    pixels.reshape(-1, 3)[:count] = colors
    write(tmp_path / "a.gif", GIF, [Image(pixels)], Animation((0.0,), 1))
    assert np.array_equal(played(tmp_path / "a.gif")[0][0][..., :3], pixels)


def test_what_does_not_change_does_not_flicker_in_a_gif(tmp_path: Path, make_photo: MakePhoto) -> None:
    """Each frame is dithered by itself and has its own palette; still parts must not boil for it."""
    frames = walking(make_photo)
    write(tmp_path / "a.gif", GIF, frames, Animation(TIMES))
    seen = played(tmp_path / "a.gif")[0]
    for (before, after), (shown, next_shown) in zip(itertools.pairwise(frames), itertools.pairwise(seen), strict=True):
        still = (before.rgb == after.rgb).all(axis=2)
        assert still.mean() > 0.8
        assert np.array_equal(shown[still], next_shown[still])


def test_slow_changes_are_followed_in_a_gif(tmp_path: Path, make_photo: MakePhoto) -> None:
    """A fade by one level a frame is smaller than what counts as a change, and must add up all the same."""
    photo = make_photo(24, 32).astype(int)
    frames = [Image(np.clip(photo + step, 0, 255).astype(np.uint8)) for step in range(0, 40)]
    write(tmp_path / "a.gif", GIF, frames, Animation((20.0,) * 40))
    for frame, back in zip(frames, played(tmp_path / "a.gif")[0], strict=True):
        assert abs(float(back[..., :3].mean()) - float(frame.rgb.mean())) < 2.5


def test_flat_areas_of_a_drawing_stay_flat_in_a_gif() -> None:
    rng = np.random.default_rng(8)
    rgb = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    flat = np.array((201, 33, 77), np.uint8)
    rgb[30:100, 20:140] = flat
    palette, indices = indexed(rgb, np.ones((120, 160), np.bool_))
    assert (palette[indices][32:98, 22:138] == flat).all()


def test_hidden_colors_do_not_reach_what_is_seen(tmp_path: Path, make_photo: MakePhoto) -> None:
    """Wild colors under transparency change neither a GIF's palette nor its dithering."""
    rng = np.random.default_rng(9)
    rgb, seen = make_photo(60, 60), np.zeros((60, 60), np.uint8)
    seen[15:45, 15:45] = 255
    wild = np.where(seen[..., None] > 0, rgb, rng.integers(0, 256, rgb.shape, dtype=np.uint8))
    shown = []
    for number, pixels in enumerate((np.where(seen[..., None] > 0, rgb, np.uint8(0)), wild)):
        write(tmp_path / f"{number}.gif", GIF, [Image(pixels, seen)], Animation((0.0,), 1))
        shown.append(played(tmp_path / f"{number}.gif")[0][0])
    assert np.array_equal(shown[0][seen > 0], shown[1][seen > 0])
    assert np.array_equal(shown[0][..., 3], seen)


def test_a_gifs_edge_is_cut_at_half_transparency(tmp_path: Path) -> None:
    alpha = np.repeat(np.arange(256, dtype=np.uint8)[None], 4, axis=0)
    warnings = write(tmp_path / "a.gif", GIF, [Image(np.full((4, 256, 3), 90, np.uint8), alpha)], Animation((0.0,), 1))
    assert any("partial transparency" in warning for warning in warnings)
    back = played(tmp_path / "a.gif")[0][0][..., 3]
    assert np.array_equal(back > 0, alpha >= 128)
    assert set(np.unique(back)) == {0, 255}


def test_the_same_work_gives_the_same_bytes(tmp_path: Path, make_photo: MakePhoto) -> None:
    import time

    for format_ in MOVING:
        results: set[bytes] = set()
        for number in range(2):
            path = tmp_path / f"{number}{format_.suffixes[0]}"
            write(path, format_, walking(make_photo), Animation(TIMES, 2))
            results.add(path.read_bytes())
            time.sleep(1.05 if format_ is AVIF and not number else 0)
        assert len(results) == 1, format_.name


def test_frames_that_are_all_clear_are_frames(tmp_path: Path, make_photo: MakePhoto) -> None:
    clear = Image(make_photo(20, 20), np.zeros((20, 20), np.uint8))
    for format_ in (GIF, PNG, WEBP):
        path = tmp_path / f"a{format_.suffixes[0]}"
        write(path, format_, [clear, walking_small(), clear], Animation((50.0, 60.0, 70.0)))
        seen, times = played(path)
        assert sum(times) == 180
        assert [frame[..., 3].max() for frame in seen] == [0, 255, 0]


def walking_small() -> Image:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[4:9, 3:12] = 255
    return Image(np.full((20, 20, 3), 120, np.uint8), alpha)


def test_a_gif_is_read_by_its_blocks_too(tmp_path: Path, make_photo: MakePhoto) -> None:
    write(tmp_path / "a.gif", GIF, walking(make_photo), Animation(TIMES, 0))
    facts = gif_facts(io.BytesIO((tmp_path / "a.gif").read_bytes()))
    assert (facts.width, facts.height, facts.durations, facts.plays) == (64, 48, TIMES, 0)
