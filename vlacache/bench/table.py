"""A finished measurement as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from vlacache.bench.compare import Row
from vlacache.bench.ladder import Rung
from vlacache.bench.roofline import FLOOR_STAGES

LADDER_HEADER = (
    f"{'p50':>8} {'p90':>8} {'wall':>8} {'x dense':>8} {'vision':>7} {'prefill':>8} {'decode':>7} "
    f"{'head':>6} {'decide':>7} {'other':>6} {'GMAC':>8} {'GB':>7} {'floor':>8} {'/floor':>7} "
    f"{'of gain':>7} {'peak MB':>8}"
)
LADDER_LEGEND = """
ms, medians over warm calls (of a policy: those that reused something). p50, p90: the policy's clock (CUDA events on a
GPU); wall: synchronised. x dense: dense / rung. other: preprocess, postprocess. GB: bytes that must move. floor: of the
rung's own work on this device (eager rungs: of the dense one's). of gain: speed-up / gain that the floors allow.
peak: device memory beyond what was held before the call, replayed graphs' scratch included.
""".strip()

POLICY_HEADER = (
    f"{'reuse':>6} {'cached':>7} {'total':>8} {'p90':>8} {'prefill':>8} {'decide':>7} {'share':>6} "
    f"{'end2end':>8} {'ideal':>6} {'prefill':>8} {'ideal':>6} {'effic.':>7} {'episode [95 %]':>20} {'age':>4}"
)
POLICY_LEGEND = """
reuse, total, prefill, decide, x: over calls that used the cache; cached: share of such calls; ideal: MAC ratio;
episode: all calls, cold ones and fallbacks included; share: of the own call; age: oldest K/V used, in calls
""".strip()


def ladder_table(rungs: Iterable[Rung]) -> str:
    """One line a rung: time by stage, work, floor."""
    shown = list(rungs)
    lines = [LADDER_LEGEND, *_runtime_lines(shown), *_warmup_lines(shown)]
    return _table("rung", LADDER_HEADER, [(rung.arm, _rung_line(rung)) for rung in shown], "\n".join(lines))


def _runtime_lines(rungs: Sequence[Rung]) -> list[str]:
    """How calls were launched: what was captured and what was refused, never just what was asked for."""
    ways = dict.fromkeys(rung.runtime or "unknown" for rung in rungs)
    arms = {way: [rung.arm for rung in rungs if (rung.runtime or "unknown") == way] for way in ways}
    return [f"launched as {way}: {'; '.join(names)}" for way, names in arms.items()]


def _warmup_lines(rungs: Sequence[Rung]) -> list[str]:
    """Calls that are in no figure."""
    left_out = [f"{rung.arm} {rung.warmup_calls}" for rung in rungs if rung.warmup_calls]
    return [f"left out, met a shape for the first time: {', '.join(left_out)} calls"] if left_out else []


def stage_line(rung: Rung) -> str:
    """Time and floor of each stage that has one, and what the drafts saved."""
    parts = [f"{stage} {rung.stage_ms[stage]:.2f} / {rung.floor_ms[stage]:.2f}" for stage in FLOOR_STAGES]
    if rung.accepted_tokens is not None:
        parts.append(f"{rung.accepted_tokens:.2f} decode steps saved by drafts")
    return f"{rung.arm} by stage, ms / floor: {', '.join(parts)}"


def policy_table(rows: Iterable[Row]) -> str:
    """One line an arm: reuse, speed-up and what the MACs allow."""
    return _table("arm", POLICY_HEADER, [(row.arm, _policy_line(row)) for row in rows], POLICY_LEGEND)


def _table(title: str, header: str, lines: list[tuple[str, str]], legend: str) -> str:
    width = max(len(name) for name, _ in lines)
    return "\n".join([f"{title:{width}} {header}", *(f"{name:{width}} {line}" for name, line in lines), legend])


def _rung_line(rung: Rung) -> str:
    stage = rung.stage_ms
    other = stage["preprocess"] + stage["postprocess"]
    peak = "-" if rung.extra_bytes is None else f"{rung.extra_bytes / 1e6:.0f}"
    return (
        f"{rung.total_ms:8.2f} {rung.p90_ms:8.2f} {rung.wall_ms:8.2f} {rung.against_dense:7.2f}x "
        f"{stage['vision']:7.2f} {stage['prefill']:8.2f} {stage['decode']:7.2f} {stage['action_head']:6.2f} "
        f"{stage['decide']:7.2f} {other:6.2f} {rung.macs / 1e9:8.2f} {rung.bytes / 1e9:7.3f} "
        f"{rung.floor_ms['total']:8.2f} {rung.distance:6.2f}x {rung.share_of_floor_gain:7.2f} {peak:>8}"
    )


def _policy_line(row: Row) -> str:
    return (
        f"{row.reuse_ratio:6.2f} {row.cached_calls:7.0%} {row.total_ms:6.1f}ms {row.p90_ms:6.1f}ms "
        f"{row.prefill_ms:6.1f}ms {row.decide_ms:5.1f}ms {row.decide_ms / row.total_ms:6.1%} {row.end_to_end:7.2f}x "
        f"{row.ideal_end_to_end:6.2f} {row.prefill:7.2f}x {row.ideal_prefill:6.2f} {row.efficiency:7.2f} "
        f"{row.episode:6.2f} [{row.episode_low:.2f}, {row.episode_high:.2f}] {row.max_age:4d}"
    )
