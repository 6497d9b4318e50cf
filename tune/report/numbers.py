"""Numbers rounded for people; the exact ones stand in results.json and in the CSV files."""

import math
from typing import Any

NO_NUMBER = "\N{EN DASH}"


def score(value: float | None) -> str:
    """Three decimals."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return f"{value:.3f}"


def signed(value: float | None) -> str:
    """Three decimals and a sign."""
    if value is None or not math.isfinite(value):
        return NO_NUMBER
    return f"{value:+.3f}".replace("-", "\N{MINUS SIGN}")


def mean_std(metric: dict[str, Any] | None) -> str:
    """Mean ± standard deviation; one value has no spread."""
    if metric is None or metric.get("mean") is None:
        return NO_NUMBER
    return f"{score(metric['mean'])} {plus_minus(metric)}".strip()


def plus_minus(metric: dict[str, Any] | None) -> str:
    """`± standard deviation`; empty for one value."""
    std = (metric or {}).get("std")
    return "" if std is None else f"± {score(std)}"


def interval(bounds: list[float] | None, plus: bool = False) -> str:
    """`[low, high]`, with signs where it is a difference."""
    if not bounds:
        return NO_NUMBER
    text = signed if plus else score
    return f"[{text(bounds[0])}, {text(bounds[1])}]"


def p_value(value: float | None) -> str:
    """Three decimals; a smaller one says so."""
    if value is None:
        return NO_NUMBER
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def duration(seconds: float | None) -> str:
    """Hours, minutes or seconds, two units at most."""
    if seconds is None or not math.isfinite(seconds):
        return NO_NUMBER
    if seconds < 59.5:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{int(round(seconds) // 60)} min {int(round(seconds) % 60):02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def times(number: int) -> str:
    """`once`, `twice`, `3 times`."""
    return {1: "once", 2: "twice"}.get(number, f"{number} times")


def count(value: object) -> str:
    """Thousands apart."""
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def one_line(message: object) -> str:
    """Return an error's message, whose lines are sentences, on one line."""
    return " ".join(str(message).split())
