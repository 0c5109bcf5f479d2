"""The plan: order, interleaving, seeds; and the hashes that say which runs belong together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from runners.identity import baseline_hash, code_digest, collect_versions, config_hash
from runners.plan import plan_episodes
from tests.runner.helpers import make_run


def plan(**changes: object):
    arguments = {
        "suite": "toy",
        "task_ids": [2, 0],
        "episodes_per_task": 3,
        "init_indices": None,
        "seed": 0,
        "placement": "official",
        "num_init_states": 20,
    }
    return plan_episodes(**{**arguments, **changes})


def test_task_by_task_in_the_given_order_with_seed_zero() -> None:
    pairs = plan()
    assert [(p.task_id, p.init_index) for p in pairs] == [(2, 0), (2, 1), (2, 2), (0, 0), (0, 1), (0, 2)]
    assert {p.env_seed for p in pairs} == {0}
    assert pairs[0].key("policy", "adaptive").slug == "policy-adaptive-toy-t02-i000-s0-official"


@pytest.mark.parametrize("init_indices", [None, [0, 2, 4], [8, 1, 3]])
def test_first_arm_alternates_within_a_task_and_between_tasks(init_indices: list[int] | None) -> None:
    assert [p.policy_first for p in plan(init_indices=init_indices)] == [False, True, False, True, False, True]
    assert [p.policy_first for p in plan(episodes_per_task=1)] == [False, True]


def test_named_states_are_taken_in_order() -> None:
    for count in (None, 3):
        assert [p.init_index for p in plan(init_indices=[7, 3, 5], episodes_per_task=count)] == [7, 3, 5, 7, 3, 5]


def test_states_begin_where_they_are_told_to() -> None:
    assert [p.init_index for p in plan(first_state=17)] == [17, 18, 19] * 2
    assert [p.init_index for p in plan(first_state=18, episodes_per_task=None)] == [18, 19] * 2
    order = {0: (5, 1, 9, 3), 2: (2, 0, 4, 6)}
    assert [p.init_index for p in plan(first_state=1, order=order)] == [0, 4, 6, 1, 9, 3]
    for first_state, message in ((20, r"first_state=20: task 2 has 20 .* expected 0 \.\. 19"), (-1, "first_state=-1")):
        with pytest.raises(ValueError, match=message):
            plan(first_state=first_state)
    with pytest.raises(ValueError, match=r"task 2 has initial states 18 \.\. 19, .* ends at 2 episodes"):
        plan(first_state=18)
    with pytest.raises(ValueError, match=r"task 2 has 3 layouts with these suite.settings from suite.first_state on"):
        plan(first_state=1, order=order, episodes_per_task=4)


def test_without_a_number_every_state_is_taken() -> None:
    pairs = plan(num_init_states={2: 4, 0: 3}, episodes_per_task=None)
    assert [(p.task_id, p.init_index) for p in pairs] == [(2, 0), (2, 1), (2, 2), (2, 3), (0, 0), (0, 1), (0, 2)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episodes_per_task": 21}, r"=21: task 2 has initial states 0 \.\. 19, so a run .* ends at 20"),
        ({"num_init_states": {2: 50, 0: 2}}, r"=3: task 0 has initial states 0 \.\. 1, so"),
        ({"init_indices": [1, 2]}, r"names 2 initial states, but suite.episodes_per_task=3"),
        ({"init_indices": [7, 3, 5, 1]}, r"names 4 initial states, but suite.episodes_per_task=3"),
        ({"init_indices": [99]}, r"suite.init_indices: task 2 has initial states 0 \.\. 19, got \[99\]"),
        ({"init_indices": [1, 1, 2]}, "distinct"),
        ({"init_indices": [-1, 1, 2]}, r"got \[-1\]"),
        ({"task_ids": []}, "at least one"),
        ({"task_ids": [1, 1]}, "distinct"),
        ({"episodes_per_task": 0}, "at least 1"),
    ],
)
def test_impossible_plans_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        plan(**change)


def suite(**changes: object) -> dict[str, object]:
    return {**make_run().config["suite"], **changes}


def test_config_hash_ignores_what_changes_nothing() -> None:
    config = make_run().config
    same = {**config, "run_id": "other", "logger": {"mode": "offline"}, "runner": {"max_errors": 3, "video": "none"}}
    assert config_hash(config) == config_hash(same)
    assert config_hash(config) != config_hash({**config, "seed": 1})
    assert config_hash(config) != config_hash({**config, "runner": {"self_pair": True}})


def test_baseline_hash_sees_what_changes_a_baseline_and_nothing_else() -> None:
    run = make_run()
    same = [
        make_run(run_id="x", cache="paper"),
        make_run(runner={"self_pair": True}),
        make_run(suite=suite(task_ids=[0], episodes_per_task=50)),
    ]
    assert {baseline_hash(r) for r in same} == {baseline_hash(run)}
    other = [
        make_run(seed=1),
        make_run(suite=suite(max_steps=10)),
        make_run(model={"name": "tiny_oft"}),
        replace(run, assets={"source": "builtin"}),
        replace(run, dtype="bfloat16"),
        replace(run, device="cuda"),
        replace(run, versions={"machine": "test machine", "mujoco": "3.3.2"}),
        replace(run, versions={"machine": "another"}),
        replace(run, checkpoint="abc"),
    ]
    assert len({baseline_hash(r) for r in [run, *other]}) == len(other) + 1


def test_selection_counts_where_episodes_depend_on_order() -> None:
    hashes = {baseline_hash(make_run(suite=suite(reseed="task", episodes_per_task=n))) for n in (2, 3)}
    assert len(hashes) == 2


def test_versions_name_packages_code_and_machine() -> None:
    versions = collect_versions("NVIDIA H100")
    assert {"python", "numpy", "code", "machine"} <= versions.keys()
    assert versions["machine"].endswith("NVIDIA H100")
    assert collect_versions() == collect_versions()


def test_code_digest_follows_the_sources_that_matter(tmp_path) -> None:
    for name in ("vlacache/a.py", "runners/envs/b.py", "runners/rollout.py", "runners/report/c.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("x = 1\n")
    before = code_digest(tmp_path)
    (tmp_path / "runners/report/c.py").write_text("x = 2\n")
    assert code_digest(tmp_path) == before
    (tmp_path / "runners/envs/b.py").write_text("x = 2\n")
    assert code_digest(tmp_path) != before
