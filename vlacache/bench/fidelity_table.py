"""A fidelity replay as text."""

from __future__ import annotations

from collections.abc import Sequence

from vlacache.bench.fidelity import Errors, Fidelity, StillCheck

DIMENSIONS = ("x", "y", "z", "rx", "ry", "rz", "gripper")
LEGEND = """
error: |policy - dense| of an action's entry, mean and (max), in units of the action; tokens: share of action entries in
another bin; grip: gripper commands of another sign; diverges: env step of the first call beyond the tolerance, by
episode (- never). Phases come from the gripper's opening and the hand's height in the record.
""".strip()


def fidelity_table(results: Sequence[Fidelity]) -> str:
    """One line a policy and phase."""
    num_dims = len(results[0].overall.mean_abs)
    names = DIMENSIONS if num_dims == len(DIMENSIONS) else tuple(str(i) for i in range(num_dims))
    width = max(len(result.cache) for result in results)
    header = f"{'cache':{width}} {'phase':9} {'calls':>5} {'reuse':>6} " + " ".join(f"{name:>15}" for name in names)
    lines = [f"{header} {'tokens':>7} {'grip':>9}  diverges"]
    for result in results:
        diverges = ", ".join("-" if step is None else str(step) for step in result.first_divergence)
        lines.append(f"{result.cache:{width}} {'all':9} {_errors(result.overall, result.reuse_ratio)}  {diverges}")
        lines += [f"{'':{width}} {phase:9} {_errors(errors)}" for phase, errors in result.phases.items()]
    return "\n".join([*lines, LEGEND])


def still_table(checks: Sequence[StillCheck]) -> str:
    """One line a policy."""
    words = {True: "passed", False: "BROKEN", None: "no verdict"}
    width = max(len(check.cache) for check in checks)
    lines = []
    for check in checks:
        limit = "" if check.tolerance is None else f" (at most {check.tolerance:g})"
        worst = f"largest difference {check.max_abs:.2g}, of K/V {check.kv_error:.2g}{limit}"
        verdict = f"{words[check.passed]:10} {check.cache:{width}}"
        lines.append(f"{verdict} same picture twice: {check.reuse_ratio:4.0%} reused, {worst}")
    return "\n".join([*lines, *_without_verdict(checks)])


def _without_verdict(checks: Sequence[StillCheck]) -> list[str]:
    """Which caches this run says nothing about, and why; a line that is not red is not yet a pass."""
    idle = [check.cache for check in checks if check.passed is None and check.tolerance is not None]
    rounded = [check.cache for check in checks if check.tolerance is None]
    lines = []
    if idle:
        lines.append(
            f"NOT TESTED: {', '.join(idle)} reused nothing, so a fault of the cache could not have shown; lower its "
            "thresholds (--cache name:key=value) or take another episode"
        )
    if rounded:
        lines.append(f"NOT TESTED: {', '.join(rounded)}: rounding alone exceeds any limit; use --dtype float32")
    return lines


def _errors(errors: Errors, reuse: float | None = None) -> str:
    cells = (f"{mean:.4f} ({worst:.3f})" for mean, worst in zip(errors.mean_abs, errors.max_abs, strict=True))
    tokens = "-" if errors.token_flips is None else f"{sum(errors.token_flips) / len(errors.token_flips):.1%}"
    share = "" if reuse is None else f"{reuse:.2f}"
    entries = " ".join(f"{cell:>15}" for cell in cells)
    return f"{errors.calls:5d} {share:>6} {entries} {tokens:>7} {f'{errors.gripper_flips}/{errors.actions}':>9}"
