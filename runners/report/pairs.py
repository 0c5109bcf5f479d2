"""Episodes joined into pairs: the same task, initial state and seed in both arms."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from runners.report.stats import PairCounts

PAIR_KEY = ["suite", "task_id", "init_index", "env_seed", "placement"]
ARMS = ("policy", "baseline")
#: What both arms of a pair start from.
_OF_THE_START = ["instruction", "setting"]
#: (task, initial state, seed) -> success, of one suite and placement.
Outcomes = Mapping[tuple[int, int, int], bool]


def is_mirrored(episodes: pd.DataFrame, cache: str) -> bool:
    """True for ``cache=none`` with one arm, which is then written into both columns."""
    return cache == "none" and episodes["arm"].nunique() == 1


def pair_episodes(episodes: pd.DataFrame, *, mirrored: bool = False) -> pd.DataFrame:
    """One row per pair key in order of task and initial state.

    Returns:
        Columns of the key, ``instruction``, ``setting``, and for each arm ``slug_*`` and ``status_*`` (null when that
        arm has not been run). ``scored`` is true when both arms ended without an error.
    """
    sides = []
    for arm in ARMS:
        rows = episodes if mirrored else episodes[episodes["arm"] == arm]
        side = rows[[*PAIR_KEY, *_OF_THE_START, "slug", "status"]]
        sides.append(side.rename(columns={"slug": f"slug_{arm}", "status": f"status_{arm}"}))
    policy, baseline = sides
    pairs = policy.merge(baseline.drop(columns=_OF_THE_START), on=PAIR_KEY, how="outer", sort=True)
    starts = pairs[PAIR_KEY].join(baseline.set_index(PAIR_KEY)[_OF_THE_START], on=PAIR_KEY)
    for name in _OF_THE_START:
        pairs[name] = pairs[name].where(pairs[name].notna(), starts[name])
    ended = {arm: pairs[f"status_{arm}"].isin(["success", "failure"]) for arm in ARMS}
    pairs["scored"] = ended["policy"] & ended["baseline"]
    return pairs


def count_outcomes(pairs: pd.DataFrame) -> PairCounts:
    """The paired 2x2 table over the scored pairs."""
    scored = pairs[pairs["scored"]]
    policy = scored["status_policy"] == "success"
    baseline = scored["status_baseline"] == "success"
    return PairCounts(
        both=int((policy & baseline).sum()),
        only_policy=int((policy & ~baseline).sum()),
        only_baseline=int((~policy & baseline).sum()),
        neither=int((~policy & ~baseline).sum()),
    )


def baseline_outcomes(pairs: pd.DataFrame) -> Outcomes:
    """How the baseline ended in each scored pair."""
    rows = pairs[pairs["scored"]]
    starts = rows[["task_id", "init_index", "env_seed"]].itertuples(index=False, name=None)
    ended = (rows["status_baseline"] == "success").tolist()
    return {(int(a), int(b), int(c)): success for (a, b, c), success in zip(starts, ended, strict=True)}


def count_dropped(pairs: pd.DataFrame) -> tuple[int, int]:
    """(pairs dropped because an arm ended in an error, pairs of which an arm has not been run)."""
    has_error = (pairs["status_policy"] == "error") | (pairs["status_baseline"] == "error")
    unfinished = ~has_error & (pairs["slug_policy"].isna() | pairs["slug_baseline"].isna())
    return int(has_error.sum()), int(unfinished.sum())
