"""Numbers as people read them: sizes, times, shares."""

import math

_SIZES = ("B", "kB", "MB", "GB", "TB", "PB")


def size_text(size_bytes: float) -> str:
    """Bytes in decimal units: 999 B, 1.2 MB, 45 GB."""
    power = 0
    while size_bytes >= 999.5 and power < len(_SIZES) - 1:
        size_bytes, power = size_bytes / 1000, power + 1
    return (
        f"{size_bytes:.0f} {_SIZES[power]}" if power == 0 or size_bytes >= 99.5 else f"{size_bytes:.1f} {_SIZES[power]}"
    )


def duration_text(seconds: float) -> str:
    """Seconds as 0.42 s, 1.5 s, 12 s, 3 min 20 s, 5 h 07 min or 6 d 04 h."""
    if not math.isfinite(seconds):
        return "unknown"
    if seconds < 9.95:
        return f"{seconds:.2f} s" if seconds < 0.995 else f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 86400:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600:02d} h"


def share_text(fraction: float) -> str:
    """A fraction as 37.5%."""
    return f"{fraction:.1%}" if math.isfinite(fraction) else "no number"
