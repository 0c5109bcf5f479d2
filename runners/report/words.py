"""How figures are written, the same in the terminal, in Markdown and in plots."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

NO_DATA = "n/a"
_WEIGHTS = {"untrained": "UNTRAINED weights", "trained": "trained weights", "none": "scripted, no weights"}
_CLOCKS = {"cpu": "synchronised cpu clock", "cuda_event": "CUDA events"}


def weights_words(weights: str) -> str:
    """``UNTRAINED weights``; an unknown kind is printed as it is."""
    return _WEIGHTS.get(weights, f"{weights} weights")


def clock_words(clock: str | None) -> str:
    """Where times come from."""
    return "no timed call" if clock is None else _CLOCKS.get(clock, clock)


def model_words(summary: Mapping[str, Any]) -> str:
    """``tiny_oft, UNTRAINED weights``."""
    return f"{summary['model']}, {weights_words(summary['weights'])}"


#: Step limits of the suites whose tasks share one, as in ``configs/suite``; a test compares them.
_USUAL_STEPS = {
    "libero_spatial": 220, "libero_object": 280, "libero_goal": 300, "libero_10": 520, "libero_90": 400, "toy": 40,
}  # fmt: skip


def suite_words(summary: Mapping[str, Any]) -> str:
    """``libero_spatial, wide placement``: the suite and whatever makes its episodes another test."""
    words = [str(summary["suite"])] + ([] if summary["placement"] is None else [f"{summary['placement']} placement"])
    rules = summary.get("episode_rules") or {}
    if rules.get("protocol") == "maniskill3":
        words.append("ManiSkill 3's protocol")
    if rules.get("backend") == "simpler_env":
        words.append("original simulator")
    if rules.get("settings"):
        words.append(f"settings {' + '.join(rules['settings'])} alone")
    if rules.get("sensor_noise"):
        words.append(f"noise of {rules['sensor_noise']:g} grey levels")
    if rules.get("max_steps") not in (None, _USUAL_STEPS.get(str(summary["suite"]))):
        words.append(f"at most {rules['max_steps']} steps")
    usual = "final_step" if str(summary["suite"]).startswith("simpler") else "first"
    if rules.get("success_rule") not in (None, usual):
        words.append(f"success rule {rules['success_rule']}")
    return ", ".join(words)


def count_words(number: int, noun: str) -> str:
    """``1 pair``, ``20 pairs``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def size_words(summary: Mapping[str, Any]) -> str:
    """``20 pairs``; ``20 episodes`` of a run with one arm."""
    return count_words(summary["num_episodes"], "episode" if summary["mirrored"] else "pair")


def baseline_words(summary: Mapping[str, Any]) -> str:
    """Heading of the arm without a cache; a scripted policy, which could have none, is named."""
    return str(summary["model"]) if summary["weights"] == "none" else "no cache"


def has_stages(summary: Mapping[str, Any]) -> bool:
    """False for a scripted policy, whose call is one block, and without timed calls of any stage."""
    timed = any(summary["stage_ms"][arm]["prefill"] is not None for arm in ("policy", "baseline"))
    return timed and summary["weights"] != "none"


def figure(value: float | None, digits: int = 1, unit: str = "") -> str:
    """A number with a fixed count of decimals, or ``n/a``."""
    return NO_DATA if value is None else f"{value:.{digits}f}{unit}"


def percent(rate: float | None, digits: int = 1) -> str:
    """A share of 1 in percent."""
    return NO_DATA if rate is None else f"{100.0 * rate:.{digits}f} %"


def points(difference: float | None, digits: int = 1) -> str:
    """A difference of two rates in signed percentage points, ``+3.3 pts``."""
    return NO_DATA if difference is None else f"{signed_points(difference, digits)} pts"


def signed_points(difference: float | None, digits: int = 1) -> str:
    """``points`` without the unit; zero has no sign."""
    if difference is None:
        return NO_DATA
    value = round(100.0 * difference, digits) + 0.0  # + 0.0 turns -0.0 into 0.0
    return f"{value:.{digits}f}" if value == 0 else f"{value:+.{digits}f}"


def percent_range(interval: Sequence[float] | None, digits: int = 1) -> str:
    """``[69.9, 97.2]`` in percent, empty without an interval."""
    if interval is None:
        return ""
    return f"[{100.0 * interval[0]:.{digits}f}, {100.0 * interval[1]:.{digits}f}]"


def points_range(interval: Sequence[float] | None, digits: int = 1) -> str:
    """``[-23.0, +12.0]`` in percentage points, empty without an interval."""
    if interval is None:
        return ""
    return f"[{signed_points(interval[0], digits)}, {signed_points(interval[1], digits)}]"


def ratio(value: float | None, digits: int = 2) -> str:
    """``1.32x``."""
    return figure(value, digits, "x")


def ratio_range(interval: Sequence[float] | None, digits: int = 2) -> str:
    """``[1.28, 1.36]``, empty without an interval."""
    return "" if interval is None else f"[{interval[0]:.{digits}f}, {interval[1]:.{digits}f}]"


def p_value(p: float | None) -> str:
    """``p = 0.625``, ``p < 0.001``."""
    if p is None:
        return f"p {NO_DATA}"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def milliseconds(value: float | None) -> str:
    """Three significant figures or whole milliseconds, whichever shows more."""
    if value is None:
        return NO_DATA
    return f"{value:.0f}" if value == 0 or value >= 1000 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def macs_words(macs: float | None) -> str:
    """``3.25 GMAC``."""
    if macs is None:
        return NO_DATA
    for size, unit in ((1e12, "TMAC"), (1e9, "GMAC"), (1e6, "MMAC")):
        if macs >= size:
            return f"{macs / size:.2f} {unit}"
    return f"{macs:.0f} MAC"


def join_words(*parts: str) -> str:
    """Parts with single spaces, empty ones left out."""
    return " ".join(part for part in parts if part)


def ranges(numbers: Iterable[int], to: str = " to ") -> str:
    """``0 to 4, 7``: whole numbers in ascending order."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}{to}{last}" for first, last in runs)
