"""A plot of bars, as SVG."""

from collections.abc import Mapping
from html import escape

LEFT, WIDE, STEP = 260, 420, 24


def bars(title: str, values: Mapping[str, float], ours: str) -> str:
    """Bars for names, from top to bottom; those whose names begin with `ours` in color."""
    most, high = max(values.values()), STEP * len(values) + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDE + 80}" height="{high}" font-family="sans-serif"'
        ' font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-weight="bold">{escape(title)}</text>',
    ]
    for index, (name, value) in enumerate(values.items()):
        top, length = 36 + STEP * index, max(1, round(WIDE * value / most))
        color = "#2a6fd0" if name.startswith(ours) else "#b8bec8"
        parts += [
            f'<text x="{LEFT - 8}" y="{top + 14}" text-anchor="end">{escape(name)}</text>',
            f'<rect x="{LEFT}" y="{top}" width="{length}" height="{STEP - 6}" fill="{color}"/>',
            f'<text x="{LEFT + length + 6}" y="{top + 14}">{value:g}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
