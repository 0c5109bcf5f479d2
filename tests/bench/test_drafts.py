"""The two ends of speculative decoding: all drafts right, all wrong, and the same answers as without any."""

from __future__ import annotations

from tests.models.twins import observation, tiny
from vlacache.bench.drafts import KnownDraftsPolicy, WrongDraftsPolicy, draft_arm
from vlacache.core.policies import build_cache_policy
from vlacache.models.policy import CachedPolicy

STEPS = 4


def episode(policy: CachedPolicy) -> list[tuple[int | None, list[int]]]:
    """Decode steps saved, and tokens, of every call."""
    policy.reset(0)
    calls = []
    for step in range(STEPS):
        stats = policy.infer(observation(step, moved=5 * step)).stats
        assert policy.token_ids is not None
        calls.append((stats.accepted_tokens, policy.token_ids.tolist()))
    return calls


def test_known_drafts_are_all_accepted_from_the_second_time_on() -> None:
    loaded = tiny()
    answers = [tokens for _, tokens in episode(CachedPolicy(loaded, build_cache_policy("none")))]
    arm = draft_arm(loaded, KnownDraftsPolicy)
    assert episode(arm) == [(None, tokens) for tokens in answers]
    num_steps = loaded.model.config.num_action_tokens - 1
    for _ in range(2):
        assert episode(arm) == [(num_steps, tokens) for tokens in answers]


def test_wrong_drafts_are_never_accepted_and_change_nothing() -> None:
    loaded = tiny()
    answers = [tokens for _, tokens in episode(CachedPolicy(loaded, build_cache_policy("none")))]
    arm = draft_arm(loaded, WrongDraftsPolicy)
    for _ in range(2):
        assert episode(arm) == [(None if not i else 0, tokens) for i, tokens in enumerate(answers)]
