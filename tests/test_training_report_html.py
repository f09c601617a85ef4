"""The report is one file, whole, harmless and bounded, whatever the run lacks."""

import base64
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pil
from test_training_report_fakes import ALL, BACK, COLLAPSE, NAMES, lines, write_run

from upscale_training.data.detail import busiest
from upscale_training.errors import RunError
from upscale_training.report.html import report, write_report
from upscale_training.report.log import records_of
from upscale_training.report.strips import COLUMNS, TILE, thinned

VOID = {"meta", "link", "img", "input", "br"}


class Reader(HTMLParser):
    """Follows the nesting of tags and keeps text and attributes."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text: list[str] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value) for key, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, key, value) for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a beginning"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.text.append(data)

    def values(self, tag: str, key: str) -> list[str | None]:
        return [value for of, name, value in self.attributes if (of, name) == (tag, key)]


@pytest.fixture(scope="module")
def collapsed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that ended in a collapse, with its report."""
    return write_report(write_run(tmp_path_factory.mktemp("runs") / "fell & <fell>", collapses=True, until=1360))


def test_nothing_outside_the_file_is_asked_for(collapsed: Path) -> None:
    page = collapsed.read_text(encoding="utf-8")
    reader = Reader(page)
    asked = [
        value or "" for key in ("src", "href", "srcset", "action", "poster", "data") for value in _all(reader, key)
    ]
    assert asked
    assert all(value.startswith("data:") for value in asked)
    assert not re.search(r"https?:|//[a-z]|@import|url\(|fetch\(|XMLHttp|import\(", re.sub(r'"data:[^"]*"', "", page))
    assert "default-src 'none'" in page


def _all(reader: Reader, key: str) -> list[str | None]:
    return [value for _, name, value in reader.attributes if name == key]


def test_every_alarm_and_action_is_there_in_words(collapsed: Path) -> None:
    page = collapsed.read_text(encoding="utf-8")
    text = " ".join(Reader(page).text)
    for line in lines(collapses=True, until=1360):
        if line["kind"] == "alarm":
            assert line["meaning"] in text
            assert line["remedy"] in text
        if line["kind"] == "end":
            assert line["reason"] in text
    assert "<real>" not in page
    assert "<no>" not in page
    assert "fell & <fell>" in text
    assert "photos/<broken>.jpg" in text
    for name in NAMES:
        assert escape(name) in page


def test_a_rescued_run_tells_what_was_done_and_that_it_is_over(tmp_path: Path) -> None:
    page = report("run", records_of(list(lines(collapses=True))), tmp_path)
    text = " ".join(Reader(page).text)
    assert f"to step {BACK}" in text
    assert "not since (now at step 2,000)" in text
    assert f"at step {COLLAPSE:,}" in text
    assert "given-up" in page
    assert page.count('class="mark action"') > 5


def test_the_script_may_be_left_out(collapsed: Path) -> None:
    page = re.sub(r"<script>.*?</script>", "", collapsed.read_text(encoding="utf-8"), flags=re.DOTALL)
    text = " ".join(Reader(page).text)
    for word in (
        "PSNR (Y)",
        "LPIPS (alex)",
        "Diversity",
        "Losses by term",
        "pixels",
        "gan",
        "relativistic",
        "2.15.0",
        "701",
    ):
        assert word in text


def test_pictures_are_crops_pixel_by_pixel_without_loss(collapsed: Path) -> None:
    reader = Reader(collapsed.read_text(encoding="utf-8"))
    images = list(
        zip(reader.values("img", "alt"), reader.values("img", "src"), strict=False)
    )  # the last is the dialog's
    shown = [alt for alt, _ in images if alt and alt.startswith("budgie")]
    assert shown[:2] == ["budgie, input", "budgie, start"]
    assert shown[-1] == "budgie, truth"
    assert len(shown) == 2 + COLUMNS
    for (alt, source), file in ((images[0], None), (images[1 + COLUMNS], "pictures/00-truth.png")):
        assert source is not None
        with Pil.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) as tile:
            assert tile.size == (TILE, TILE), alt
            if file is not None:
                with Pil.open(collapsed.parent / file) as truth:
                    gray = np.asarray(truth.convert("L"))
                    left, top = busiest(gray, TILE)
                    assert np.array_equal(np.asarray(tile), np.asarray(truth)[top : top + TILE, left : left + TILE])


def test_sizes_are_bounded_for_long_runs_and_noisy_pictures(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "pictures").mkdir()
    told: list[dict[str, Any]] = [{"kind": "start", "step": 0, "time": 0.0}]
    files = {f"noise {n}": f"pictures/{n:02d}-00000000.png" for n in range(9)}
    for file in files.values():
        Pil.fromarray(rng.integers(0, 256, (400, 400, 3), dtype=np.uint8)).save(tmp_path / file)
    for step in range(1, 20_001):
        values = {name: float(rng.lognormal()) for name in ("l1", "perceptual", "adversary")}
        told.append({"kind": "step", "step": step, "losses": values})
        if step % 1000 == 0:
            told.append({"kind": "validation", "step": step, "metrics": {"psnr_y": 20.0}, "pictures": files})
        if step % 7 == 0:
            told.append({"kind": "alarm", "step": step, "alarm": f"alarm {step % 3}", "meaning": "m", "remedy": "r"})
    page = report("long", records_of(told), tmp_path)
    Reader(page)
    assert len(page) < 5_000_000
    assert len(re.sub(r'"data:[^"]*"', "", page)) < 200_000
    assert page.count('class="alarm bad"') == 3


def _without(key: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda told: [{name: value for name, value in line.items() if name != key} for line in told]


def _only(*kinds: str) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda told: [line for line in told if line["kind"] in kinds]


def _nothing_finite(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    text = re.sub(r"(?<=[:, \[])-?\d+\.\d+(e-?\d+)?", "null", json.dumps(told))
    return json.loads(text)


def _senseless(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = (
        "config",
        "losses",
        "game",
        "metrics",
        "health",
        "pictures",
        "fixed",
        "bicubic",
        "versions",
        "stage",
        "time",
        "weights",
    )
    senses: tuple[Any, ...] = ("<u>", 5, [1, "<s>"], None, {"a": {"b": "<u>"}, "<s>": 3})
    return [
        {name: senses[(index + n) % 5] if name in keys else value for n, (name, value) in enumerate(line.items())}
        for index, line in enumerate(told)
    ]


@pytest.mark.parametrize(
    "change",
    [
        *map(_without, ("time", "game", "config", "losses", "seconds")),
        *map(_without, ("health", "pictures", "metrics", "meaning", "stage")),
        _only(),
        _only("start"),
        _only("step"),
        _only("validation"),
        _only("start", "alarm"),
        _only("end"),
        _nothing_finite,
        _senseless,
    ],
)
def test_a_run_may_lack_anything(
    change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], tmp_path: Path
) -> None:
    page = report("odd", records_of(change(list(lines(collapses=True, until=800)))), tmp_path)
    Reader(page)
    drawing = re.sub(r"<(style|script)>.*?</\1>", "", page, flags=re.DOTALL)
    assert not re.search(r'(?:d|x|y|cx|cy|points|style)="[^"]*(?:nan|inf)', drawing)
    assert "<u>" not in page
    assert "<s>" not in page


def test_missing_and_broken_pictures_leave_a_place(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", until=300, side=(48, 64))
    (run / "pictures/00-00000100.png").unlink()
    (run / "pictures/00-00000200.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    page = write_report(run).read_text(encoding="utf-8")
    assert page.count("not there") == 2


def test_pictures_outside_the_run_are_not_shown(tmp_path: Path) -> None:
    Pil.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    (tmp_path / "run").mkdir()
    told = [{"kind": "validation", "step": 0, "pictures": {"a": "../secret.png", "b": str(tmp_path / "secret.png")}}]
    assert "data:image/webp" not in report("run", records_of(told), tmp_path / "run")


def test_the_old_report_stays_where_a_new_one_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"log\.jsonl: no log"):
        write_report(tmp_path)
    (tmp_path / "log.jsonl").write_text('{"kind":"step","step":1}\n')
    (tmp_path / "report.html").mkdir()
    with pytest.raises(RunError, match=r"report\.html: the report cannot be written"):
        write_report(tmp_path)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["log.jsonl"]


def test_columns_are_the_first_the_last_and_even_ones_between() -> None:
    assert thinned([0, 100, 200]) == [0, 100, 200]
    assert thinned(list(range(0, 2001, 100))) == [0, 300, 700, 1000, 1300, 1700, 2000]
    assert thinned([0, 1, 2, 3, 4, 5, 6, 7, 8, 1000]) == [0, 8, 1000]


def test_the_busiest_part_is_where_the_texture_is() -> None:
    gray = np.zeros((60, 80), np.uint8)
    gray[30:50:2, 50:70] = 20
    gray[:, 10:] += 200  # one strong edge
    left, top = busiest(gray, 24)
    assert 44 <= left <= 51
    assert 24 <= top <= 31
    assert busiest(gray, 100) == (0, 0)


PROBE = """<script>
const told = []; addEventListener("error", e => told.push(e.message));
addEventListener("securitypolicyviolation", e => told.push(e.violatedDirective));
addEventListener("load", () => {
  const svg = document.querySelector("svg.chart"), box = svg.getBoundingClientRect();
  const out = svg.closest("figure").querySelector(".legend output"), before = out.textContent;
  svg.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + box.width / 3, clientY: box.top + 20 }));
  const at = svg.closest("figure").querySelector(".at").textContent, during = out.textContent;
  svg.dispatchEvent(new PointerEvent("pointerleave"));
  document.querySelector(".strip button").click();
  const dialog = document.querySelector("dialog"), first = dialog.querySelector("span").textContent;
  dialog.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.title = JSON.stringify({ told, at, during, before, after: out.textContent, open: dialog.open, first,
    second: dialog.querySelector("span").textContent, broken: [...document.images].filter(i => i.src && !i.naturalWidth).length,
    wide });
});</script>"""


def test_chromium_opens_it_without_complaint(collapsed: Path, tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    probed = tmp_path / "probed.html"
    probed.write_text(collapsed.read_text(encoding="utf-8").replace("<body>", f"<body>{PROBE}"), encoding="utf-8")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--window-size=600,900",
    ]
    done = subprocess.run(
        [chromium, *options, "--enable-logging=stderr", "--dump-dom", probed.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
        encoding="utf-8",
    )
    assert "CONSOLE" not in done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout)
    assert title is not None
    found = json.loads(title[1].replace("&amp;", "&").replace("&lt;", "<").replace("&gt;", ">"))
    assert found["told"] == []
    assert found["broken"] == 0
    assert not found["wide"]
    assert found["at"].startswith("step ")
    assert found["during"] != found["before"] == found["after"]
    assert found["open"]
    assert found["first"].startswith("budgie, input")
    assert found["second"].startswith("budgie, start")


def test_a_running_page_offers_to_reload_and_a_finished_one_does_not(tmp_path: Path) -> None:
    assert 'id="live"' in report("run", records_of(list(lines(until=100))), tmp_path)
    assert 'id="live"' not in report("run", records_of(list(lines(until=ALL))), tmp_path).partition("<script>")[0]
