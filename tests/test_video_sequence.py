"""A folder of pictures as a video, and the preview of a video."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import clips
import numpy as np
import numpy.typing as npt
import pytest
from click.testing import CliRunner, Result
from PIL import Image as Pil

from upscale import cli
from upscale.checkpoint import Checkpoint, write_safetensors
from upscale.spec import ModelSpec

MakePhoto = Callable[..., npt.NDArray[Any]]
TINY = ModelSpec("tiny", "compact", 2, features=8, blocks=2, activation="prelu")


@pytest.fixture(scope="module")
def model(random_checkpoint: Callable[[ModelSpec, int], Checkpoint], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny.safetensors"
    write_safetensors(random_checkpoint(TINY, 0), path)
    return path


@pytest.fixture
def call(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)

    def called(*arguments: str) -> Result:
        options = ["--model", str(model), "--device", "cpu", "--strength", "0", "--scale", "2"]
        return CliRunner().invoke(cli.command, [*options, *arguments], standalone_mode=False, catch_exceptions=False)

    return called


def numbered(folder: str, indices: list[int], suffix: str = ".png") -> None:
    Path(folder).mkdir()
    for index in indices:
        clip = clips.Clip(width=96, height=64)
        Pil.fromarray(clips.draw(clip, index)[..., :3]).save(Path(folder) / f"frame{index}{suffix}")


def test_a_folder_of_frames_becomes_a_video_in_the_order_of_its_numbers(call: Callable[..., Result]) -> None:
    numbered("frames", [1, 2, 9, 10, 11, 100])
    Path("frames/notes.txt").touch()
    assert call("frames", "-o", "film.mp4", "--fps", "24000/1001").return_value == 0
    assert clips.numbers(Path("film.mp4")) == [1, 2, 9, 10, 11, 100]
    with av.open("film.mp4") as found:
        stream = found.streams.video[0]
        assert (stream.width, stream.height, stream.pix_fmt) == (192, 128, "yuv420p")
        assert [int(v) for v in (stream.colorspace, stream.color_range, stream.color_primaries)] == [1, 1, 1]
    times = clips.times(Path("film.mp4"))
    assert [float(time) for time in times] == pytest.approx([index * 1001 / 24000 for index in range(6)], abs=1e-9)


def test_the_colors_of_pictures_are_those_of_the_video(call: Callable[..., Result]) -> None:
    Path("frames").mkdir()
    colors = [(200, 30, 40), (20, 180, 60), (30, 60, 220)]
    for index, color in enumerate(colors):
        Pil.new("RGB", (64, 48), color).save(f"frames/{index}.png")
    assert call("frames", "-o", "film.mkv", "--fps", "25", "--codec", "ffv1").return_value == 0
    with av.open("film.mkv") as found:
        for frame, color in zip(found.decode(video=0), colors, strict=True):
            # BT.709, limited range, by hand
            r, g, b = (value / 255 for value in color)
            luma = 0.2126 * r + 0.7152 * g + 0.0722 * b
            wanted = (16 + 219 * luma, 128 + 224 * (b - luma) / 1.8556, 128 + 224 * (r - luma) / 1.5748)
            for plane, value in zip(frame.planes, wanted, strict=True):
                assert abs(np.frombuffer(plane, np.uint8)[0] - value) <= 0.51


def test_more_bits_become_ten(call: Callable[..., Result]) -> None:
    Path("frames").mkdir()
    ramp = np.linspace(0, 65535, 96 * 64).astype(np.uint16).reshape(64, 96)
    for index in range(2):
        Pil.fromarray(ramp).save(f"frames/{index}.png")
    assert call("frames", "-o", "film.mp4", "--fps", "25", "--crf", "5").return_value == 0
    with av.open("film.mp4") as found:
        frame = next(found.decode(video=0))
        assert frame.format.name == "yuv420p10le"
        assert len(np.unique(np.frombuffer(frame.planes[0], np.uint16))) > 400


def test_without_a_rate_nothing_is_made(call: Callable[..., Result]) -> None:
    numbered("frames", [1, 2])
    result = call("frames", "-o", "film.mp4")
    assert result.return_value == 1
    assert "frames: say how many pictures a second the video shall have, such as --fps 24" in result.stderr
    assert not Path("film.mp4").exists()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: Pil.new("RGB", (50, 40)).save("frames/frame3.png"),
            "frame3.png: is 50×40, while the first picture is 96×64",
        ),
        (lambda: Path("frames/frame3.png").write_bytes(b"nothing"), "frame3.png"),
        (lambda: [path.unlink() for path in Path("frames").glob("*.png")], "no pictures"),
    ],
)
def test_pictures_that_make_no_video_are_named(call: Callable[..., Result], make: Callable[[], Any], told: str) -> None:
    numbered("frames", [1, 2])
    make()
    result = call("frames", "-o", "film.mp4", "--fps", "25")
    assert result.return_value == 1
    (line,) = (line for line in result.stderr.splitlines() if "failed" in line)
    assert told in line
    assert not Path("film.mp4").exists()


def test_transparent_pictures_stay_transparent_where_that_can_be(call: Callable[..., Result]) -> None:
    Path("frames").mkdir()
    picture = np.zeros((48, 64, 4), np.uint8)
    picture[..., 0], picture[:, 32:, 3] = 200, 255
    for index in range(2):
        Pil.fromarray(picture).save(f"frames/{index}.png")
    assert call("frames", "-o", "film.mov", "--fps", "25").return_value == 0
    with av.open("film.mov") as found:
        alpha = next(found.decode(video=0)).to_ndarray(format="rgba")[..., 3]
    assert alpha[:, :60].max() <= 8
    assert alpha[:, 68:].min() >= 247
    refused = call("frames", "-o", "film.mp4", "--fps", "25")
    assert refused.return_value == 1
    assert "holds no transparency; use --format mov (ProRes 4444)" in refused.stderr
    assert call("frames", "-o", "film.mp4", "--fps", "25", "--background", "white").return_value == 0


def test_a_preview_makes_two_seconds_from_the_middle_and_tells_what_all_would_take(call: Callable[..., Result]) -> None:
    clips.make(Path("in.mp4"), clips.Clip(frames=120))
    result = call("in.mp4", "--preview", "--json")
    assert result.return_value == 0
    found = clips.numbers(Path("in_x2_preview.mp4"))
    assert found == list(range(36, 84))
    assert not Path("in_x2.mp4").exists()
    assert "all 120 frames would take about" in result.stderr
    assert "with --model x4plus about" in result.stderr
    record = json.loads(result.stdout)
    assert record["output"] == "in_x2_preview.mp4"
    assert record["video"]["seconds_for_all"] > 0
    again = call("in.mp4", "--preview")
    assert again.return_value == 1
    assert "in_x2_preview.mp4: exists already" in again.stderr
    assert call("in.mp4", "--preview", "--start", "1", "--overwrite").return_value == 0
    assert clips.numbers(Path("in_x2_preview.mp4")) == list(range(24, 72))


def test_a_format_of_pictures_does_not_bend_a_video(call: Callable[..., Result]) -> None:
    clips.make(Path("in.mp4"), clips.Clip(frames=4))
    result = call("in.mp4", "--format", "png")
    assert result.return_value == 0
    assert "--format png is for pictures; videos keep their container" in result.stderr
    assert clips.numbers(Path("in_x2.mp4")) == [0, 1, 2, 3]
