"""The arms of the reference tables: which caches stand there, with which numbers, on how many episodes."""

from __future__ import annotations

from dataclasses import dataclass

CONTROLS = ("blind", "replay")


@dataclass(frozen=True, slots=True)
class Arm:
    """One cache policy. ``is_main``: rolled out on as many episodes as the baseline, else on the fewer side ones."""

    name: str
    words: tuple[str, ...]
    is_main: bool


#: What this project adds to the published rules; README says what it does to them.
AS_PUBLISHED = ("cache.min_saving=0", "cache.max_backoff=0", "cache.entropy_rows=null")
ARMS = (
    Arm("adaptive", ("cache=adaptive", "runner.retime_pairs=5"), True),  # it ships: 50 timed pairs instead of 10
    *(Arm(name, (f"cache={name}",), True) for name in ("static_task", "official", "paper")),
    Arm("static", ("cache=static",), False),
    *(
        Arm(f"{policy}-{ratio}", (f"cache={policy}", f"cache.reuse_ratio={ratio}"), False)
        for policy in ("fixed_ratio", "random")
        for ratio in (0.2, 0.4, 0.6, 0.8)
    ),
    Arm("official-as_released", ("cache=official", *AS_PUBLISHED), False),
    Arm("paper-as_published", ("cache=paper", *AS_PUBLISHED), False),
    Arm("static_task-shift", ("cache=static_task", "cache.carry_shift=true"), True),
    Arm("adaptive-no_shift", ("cache=adaptive", "cache.carry_shift=false"), False),
    Arm("adaptive-no_max_age", ("cache=adaptive", "cache.max_age=null", "cache.refresh_every=null"), False),
)
