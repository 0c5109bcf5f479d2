"""A whole run: pairs, errors, sharing of baselines, order-dependent tasks, overhead."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from runners.envs.toy import FaultyEnv, ToyEnv, make_toy_env
from runners.journal import EPISODES_FILE
from runners.observers import EpisodeInfo, Observer
from runners.records import EpisodeRecord
from runners.suite import RunnerSettings, TooManyErrorsError
from tests.runner.helpers import ChunkPolicy, ToyRun, make_run, outcome_of, rows


def order(records: Sequence[EpisodeRecord]) -> list[tuple[int, int, str]]:
    return [(r.task_id, r.init_index, r.arm) for r in records]


class Envs:
    """``make_env`` that remembers what it built and what is open."""

    def __init__(self, wrap=lambda env, number: env) -> None:
        self.built: list[int] = []
        self.num_open = self.max_open = 0
        self._wrap = wrap

    def __call__(self, task_id: int):
        env = self._wrap(make_toy_env(task_id), len(self.built))
        self.built.append(task_id)
        self.num_open += 1
        self.max_open = max(self.max_open, self.num_open)
        env.close = self._close
        return env

    def _close(self) -> None:
        self.num_open -= 1


def test_pairs_are_interleaved_and_share_state_and_seed(toy_run: ToyRun) -> None:
    toy_run.make_env = Envs()
    outcome = toy_run()
    records = rows(toy_run)
    assert order(records) == [
        (0, 0, "baseline"),
        (0, 0, "policy"),
        (0, 1, "policy"),
        (0, 1, "baseline"),
        (1, 0, "policy"),
        (1, 0, "baseline"),
        (1, 1, "baseline"),
        (1, 1, "policy"),
    ]
    assert [r.pair_order for r in records] == [0, 1] * 4
    assert {r.env_seed for r in records} == {0}
    assert {(r.arm, r.cache) for r in records} == {("baseline", "none"), ("policy", "adaptive")}
    assert toy_run.make_env.built == [0, 1]
    assert (toy_run.make_env.max_open, toy_run.make_env.num_open) == (1, 0)
    assert (outcome.num_run, outcome.num_missing, outcome.num_errors, outcome.interrupted) == (8, 0, 0, False)


def test_order_of_a_pair_survives_a_resume(toy_run: ToyRun) -> None:
    toy_run()
    whole = {r.key: r.pair_order for r in rows(toy_run)}
    path = toy_run.run_dir / EPISODES_FILE
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    toy_run()
    assert {r.key: r.pair_order for r in rows(toy_run)} == whole


def test_one_arm_without_a_policy(toy_run: ToyRun) -> None:
    toy_run.policy = None
    toy_run.settings = RunnerSettings(cache="none")
    assert toy_run().num_run == 4
    assert {(r.arm, r.cache, r.pair_order) for r in rows(toy_run)} == {("baseline", "none", 0)}


def test_self_pair_runs_the_baseline_twice_with_equal_outcomes(toy_run: ToyRun) -> None:
    toy_run.baseline, toy_run.policy = ChunkPolicy(), ChunkPolicy()
    toy_run.settings = RunnerSettings(cache="none")
    toy_run()
    outcomes = {arm: [outcome_of(r)[1:] for r in rows(toy_run) if r.arm == arm] for arm in ("baseline", "policy")}
    assert outcomes["baseline"] == outcomes["policy"]
    assert {r.cache for r in rows(toy_run)} == {"none"}


def test_each_arm_is_warmed_up_once_and_reset_before_its_first_episode(toy_run: ToyRun) -> None:
    policy = toy_run.policy = ChunkPolicy()
    toy_run()
    assert len(policy.seen) == 2 + 4 * 10, "two warm-up calls, then ten calls an episode"
    assert policy.seeds[:3] == [policy.seeds[0]] * 3, "seeded for the warm-up, after it, and for the episode"
    assert len(policy.seeds) == 2 + 4
    assert sum(r.num_policy_calls for r in rows(toy_run) if r.arm == "policy") == 40


def test_action_spec_mismatch_raises_before_the_first_episode(toy_run: ToyRun) -> None:
    spec = replace(ChunkPolicy().action_spec, rotation="euler_xyz")
    toy_run.policy = ChunkPolicy(action_spec=spec)
    with pytest.raises(ValueError, match="rotation: 'axis_angle' != 'euler_xyz'"):
        toy_run()
    assert rows(toy_run) == []
    assert toy_run.policy.seen == []


def test_builder_of_another_task_is_refused(toy_run: ToyRun) -> None:
    toy_run.make_env = lambda task_id: make_toy_env(2)
    with pytest.raises(ValueError, match="expected toy task 0, got toy task 2"):
        toy_run()


def test_seed_zero_and_other_seeds_are_honoured(tmp_path: Path) -> None:
    steps = {}
    for seed in (0, 1):
        run = ToyRun(tmp_path / str(seed), seed=seed, run=make_run(seed=seed))
        run()
        assert {r.env_seed for r in rows(run)} == {seed}
        steps[seed] = [r.num_steps for r in rows(run) if r.arm == "baseline"]
    again = ToyRun(tmp_path / "again", seed=0)
    again()
    assert [r.num_steps for r in rows(again) if r.arm == "baseline"] == steps[0] != steps[1]


# Errors


def test_error_is_recorded_others_go_on_and_resume_tries_it_again(toy_run: ToyRun) -> None:
    toy_run.make_env = Envs(lambda env, n: FaultyEnv(env, 3, num_faults=1) if n == 0 else env)
    outcome = toy_run()
    first = rows(toy_run)
    assert [r.status for r in first].count("error") == outcome.num_errors == 1
    assert "RuntimeError: injected fault at step 3" in first[0].error
    assert toy_run.make_env.built == [0, 0, 1], "a fresh env after the error"
    assert toy_run.make_env.num_open == 0
    assert outcome.num_missing == 1
    assert len(first) == 8

    prefix = (toy_run.run_dir / EPISODES_FILE).read_bytes()
    toy_run.make_env = make_toy_env
    outcome = toy_run()
    assert (outcome.num_run, outcome.num_missing) == (1, 0)
    assert (toy_run.run_dir / EPISODES_FILE).read_bytes().startswith(prefix)
    last = rows(toy_run)[-1]
    assert (last.key, last.attempt, last.error) == (first[0].key, 2, None)
    assert last.status == "success"


def test_env_that_cannot_be_built_is_an_error_of_the_episode(toy_run: ToyRun) -> None:
    def make_env(task_id: int) -> ToyEnv:
        if task_id == 0:
            raise OSError("no mesh called bowl.obj")
        return make_toy_env(task_id)

    toy_run.make_env = make_env
    seen = []

    class Rows(Observer):
        def on_record(self, record) -> None:
            seen.append(record.status)

    toy_run.observers = (Rows(),)
    outcome = toy_run()
    assert outcome.num_errors == 4
    assert seen == ["error"] * 4
    errors = [r for r in rows(toy_run) if r.status == "error"]
    assert {r.task_id for r in errors} == {0}
    assert all("no mesh called bowl.obj" in r.error and "Traceback" in r.error for r in errors)


def test_too_many_errors_stop_the_run_and_keep_what_finished(toy_run: ToyRun) -> None:
    toy_run.make_env = lambda task_id: FaultyEnv(make_toy_env(task_id), raise_at_step=0 if task_id == 1 else 99)
    toy_run.settings = RunnerSettings(cache="adaptive", max_errors=1)
    with pytest.raises(TooManyErrorsError, match=r"2 episodes .*max_errors=1.*injected fault.*same command again"):
        toy_run()
    assert [r.status for r in rows(toy_run)].count("error") == 2
    assert len(rows(toy_run)) == 6
    toy_run.make_env = make_toy_env
    assert toy_run().num_missing == 0


def test_failing_observer_is_switched_off_and_the_run_goes_on(
    toy_run: ToyRun, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Observer):
        num_calls = 0

        def on_step(self, episode, step) -> None:
            self.num_calls += 1
            raise OSError("disk full")

    class Listener(Observer):
        num_steps = 0

        def on_step(self, episode, step) -> None:
            self.num_steps += 1

    broken, listener = Broken(), Listener()
    toy_run.observers = (broken, listener)
    assert toy_run().num_missing == 0
    assert broken.num_calls == 1
    assert listener.num_steps == sum(r.num_steps for r in rows(toy_run))
    assert caplog.text.count("Broken failed and is switched off") == 1


def test_ctrl_c_loses_only_the_episode_in_flight(toy_run: ToyRun) -> None:
    class Interrupt(Observer):
        outcome = None

        def on_step(self, episode: EpisodeInfo, step) -> None:
            if (episode.key.task_id, episode.key.init_index, step.step) == (1, 0, 2):
                raise KeyboardInterrupt

        def on_run_end(self, outcome) -> None:
            self.outcome = outcome

    observer = Interrupt()
    toy_run.observers = (observer,)
    with pytest.raises(KeyboardInterrupt):
        toy_run()
    assert len(rows(toy_run)) == 4
    assert (observer.outcome.interrupted, observer.outcome.num_missing) == (True, 4)
    toy_run.observers = ()
    toy_run()
    attempts = {order([r])[0]: r.attempt for r in rows(toy_run)}
    assert attempts.pop((1, 0, "policy")) == 2
    assert set(attempts.values()) == {1}


# Time


class Clock:
    """In place of ``time`` in the runner: only ``sleep`` moves it, so a busy machine changes nothing."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def __getattr__(self, name: str) -> object:
        return getattr(time, name)


class SlowEnv(ToyEnv):
    """10 ms a step on the given clock, as LIBERO on the built-in pack."""

    clock: Clock

    def step(self, action):
        self.clock.sleep(0.010)
        return super().step(action)


def test_all_time_inside_simulator_and_model_is_accounted_to_them(toy_run: ToyRun, monkeypatch) -> None:
    """On a clock that only they move, nothing is left over: no call of theirs goes unmeasured or counts twice."""
    clock = Clock()
    for module in ("runners.suite", "runners.rollout", "runners.stopwatch", "tests.runner.helpers"):
        monkeypatch.setattr(f"{module}.time", clock)
    monkeypatch.setattr(SlowEnv, "clock", clock, raising=False)
    toy_run.make_env = lambda task_id: SlowEnv(make_toy_env(task_id).spec, 64)
    toy_run.task_ids = [0]
    toy_run.baseline = ChunkPolicy(sleep_s=0.1)
    toy_run.policy = ChunkPolicy(sleep_s=0.1, reuse=0.5)
    outcome = toy_run()
    assert outcome.wall_s > 4
    assert outcome.sim_s > 0
    assert outcome.model_s > 0
    assert outcome.overhead_ratio == pytest.approx(0.0, abs=1e-9)
