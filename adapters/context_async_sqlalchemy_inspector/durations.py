"""Durations as people read them."""

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
_MOST_EXACT = 10
"""Seconds below which the tenth is written."""


def written(seconds: float) -> str:
    """Return a duration in the units that fit it: ``85 ms``, ``3.2 s``, ``4 min 10 s``, ``2 h 5 min``, ``3 d 4 h``.

    Args:
        seconds: the duration. A negative one, which a corrected clock can give, counts as zero.

    """
    if seconds < 1:
        return f"{max(seconds, 0) * 1000:.0f} ms"
    if seconds < _MOST_EXACT:
        return f"{seconds:.1f} s"
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    if seconds < _HOUR:
        return f"{seconds // _MINUTE:.0f} min {seconds % _MINUTE // 1:.0f} s"
    if seconds < _DAY:
        return f"{seconds // _HOUR:.0f} h {seconds % _HOUR // _MINUTE:.0f} min"
    return f"{seconds // _DAY:.0f} d {seconds % _DAY // _HOUR:.0f} h"
