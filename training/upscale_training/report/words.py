"""Numbers, durations and sizes as people read them."""

import datetime
import math

_KILO = 1000


def amount(value: float) -> str:
    """Four significant digits: 0.01234, 27.31, 12,345, 3.2e-07; "none" for what is no number."""
    if not math.isfinite(value):
        return "none"
    size = abs(value)
    if size and (size < 1e-4 or size >= 1e7):
        return f"{value:.2g}".replace("e-0", "e-").replace("e+0", "e+")
    if size >= _KILO:
        return f"{value:,.0f}"
    digits = 4 if size < 1 else 3 - int(math.log10(size))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def short(value: float) -> str:
    """For an axis: 1500 is 1.5k, 0.00002 is 2e-5."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.4g}{letter}"
    text = f"{value:.1e}".replace(".0e", "e") if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    return text.replace("e-0", "e-").replace("e+0", "e+")


def share(value: float) -> str:
    """0.0312 is 3.1 %."""
    return "unknown" if not math.isfinite(value) else f"{value * 100:.{0 if value >= 0.0995 or not value else 1}f} %"


def duration(seconds: float) -> str:
    """0.4 s, 95 s, 26 min, 3 h 20 min, 2 d 4 h."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 10:
        return f"{seconds:.2g} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def size(count: float) -> str:
    """Bytes as MB or GB (powers of ten)."""
    if not math.isfinite(count):
        return "unknown"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def moment(seconds: float) -> str:
    """Seconds since 1970 as this machine's local date and time, with its zone."""
    if not math.isfinite(seconds):
        return "unknown"
    return datetime.datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M %Z")


def named(key: str) -> str:
    """A key of the log as a heading: psnr_y is PSNR (Y)."""
    first, _, rest = key.partition("_")
    known = {"psnr": "PSNR", "ssim": "SSIM", "lpips": "LPIPS", "dists": "DISTS", "niqe": "NIQE"}
    if first not in known:
        return key
    return f"{known[first]} ({rest.upper() if len(rest) < 4 else rest})" if rest else known[first]
