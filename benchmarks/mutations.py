"""What becomes of N damaged files of every format: `python benchmarks/mutations.py [N] [--seed S] [--keep FOLDER]`.

Each file must give pictures that match their header, or one line of error; the processes that died of one are counted.
"""

import argparse
import collections
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from common import save, table
from hostile_files import mutations, outcome, valid_files

from upscale.media.isolated.decoder import Decoder

SECONDS = 5.0
LIMIT = 20_000_000
KINDS = {
    "crashed": "the decoder crashed",
    "killed": "the decoder was killed",
    "too slow": "reading it took longer",
    "malformed": "malformed answer",
    "too much memory": "memory",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", nargs="?", type=int, default=2000, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="a folder for files that did more than fail, to look into")
    options = parser.parse_args()
    rows = measured(options.count, options.seed, options.keep)
    save("mutations", rows, seed=options.seed)
    print(table(rows))


def measured(count: int, seed: int, keep: Path | None) -> list[dict[str, object]]:
    """One row for each format, and one for all."""
    found: dict[str, collections.Counter[str]] = collections.defaultdict(collections.Counter)
    slowest: dict[str, float] = collections.defaultdict(float)
    with tempfile.TemporaryDirectory() as folder, Decoder(LIMIT, SECONDS) as decoder:
        for mutation in mutations(seed, count):
            path = Path(folder) / mutation.name
            path.write_bytes(mutation.data)
            start = time.perf_counter()
            kind = verdict(decoder, path)
            seconds = time.perf_counter() - start
            for group in (path.suffix[1:], "all"):
                found[group][kind] += 1
                slowest[group] = max(slowest[group], seconds)
            if keep is not None and kind not in ("decoded", "refused"):
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{kind.replace(' ', '-')}-{mutation.name}").write_bytes(mutation.data)
            path.unlink()
        good = next(iter(valid_files().items()))
        (Path(folder) / good[0]).write_bytes(good[1])
        assert outcome(decoder, Path(folder) / good[0]) == "decoded", "the decoder is of no use any more"
    order = sorted(found, key=lambda group: (group == "all", group))
    return [row(group, found[group], slowest[group]) for group in order]


def verdict(decoder: Decoder, path: Path) -> str:
    try:
        text = outcome(decoder, path)
    except Exception as error:  # what must never be
        print(f"{path.name}: {error!r}", file=sys.stderr)
        return "broken"
    if text == "decoded":
        return text
    kinds = [kind for kind, words in KINDS.items() if words in text]
    if kinds:
        print(text, file=sys.stderr)
    return kinds[0] if kinds else "refused"


def row(group: str, found: "collections.Counter[str]", slowest: float) -> dict[str, object]:
    kinds = ("decoded", "refused", *KINDS, "broken")
    return {
        "format": group,
        "files": found.total(),
        **{kind: found[kind] for kind in kinds},
        "slowest s": round(slowest, 2),
    }


if __name__ == "__main__":
    main()
