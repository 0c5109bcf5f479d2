"""The one step loop. It knows neither a simulator nor a model: ``Env`` and ``Policy`` are all it sees."""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
from numpy.typing import NDArray

from runners.envs.base import Env, PrivilegedPolicy, TimeStep
from runners.observers import EpisodeInfo, Observer, ObserverGroup
from runners.plan import policy_seed
from runners.records import EpisodeKey, EpisodeRecord, Status, StepRecord
from runners.stopwatch import Stopwatch
from vlacache.types import ActionChunk, CacheTrace, Observation, Policy

#: Policy calls before the first episode of a process: the first is cold, the second meets a filled cache.
NUM_WARMUP_CALLS = 2


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """A finished episode: its row, its steps, and how to read their trace columns (None without a trace)."""

    record: EpisodeRecord
    steps: tuple[StepRecord, ...]
    trace_layout: tuple[tuple[str, ...], tuple[int, int], int] | None = None


@dataclass(slots=True)
class _Episode:
    """State of one running episode; what is in here when something raises still reaches the record."""

    steps: list[StepRecord] = field(default_factory=list)
    queue: deque[NDArray[np.float32]] = field(default_factory=deque)
    num_calls: int = 0
    first_success_step: int | None = None
    succeeded: bool = False
    sim_s: float = 0.0
    model_s: float = 0.0
    trace_layout: tuple[tuple[str, ...], tuple[int, int], int] | None = None


def check_compatible(env: Env, policy: Policy) -> None:
    """Raise before the first episode when env and policy do not speak of the same actions and cameras.

    Raises:
        ValueError: names the differing fields of the action specs, or the cameras that the task lacks.
    """
    differing = env.spec.action_spec.differences(policy.action_spec)
    if differing:
        raise ValueError(
            f"{env.spec.suite} and policy {policy.name} disagree about actions (suite != policy): "
            f"{'; '.join(differing)}. Use a model for this suite or convert its actions."
        )
    missing = [name for name in policy.cameras if name not in env.spec.cameras]
    if missing:
        raise ValueError(
            f"policy {policy.name} needs cameras {missing}; {env.spec.suite} task {env.spec.task_id} has "
            f"{list(env.spec.cameras)}. Choose a model that sees these."
        )


def warm_up_policy(env: Env, policy: Policy, key: EpisodeKey) -> None:
    """Call ``policy`` on the first picture of an episode and make it forget again."""
    if isinstance(policy, PrivilegedPolicy):
        policy.attach(env)
    policy.reset(policy_seed(key))
    env.reset(init_index=key.init_index, seed=key.env_seed)
    observation = env.observe(policy.cameras)
    for _ in range(NUM_WARMUP_CALLS):
        policy.infer(observation)
    policy.reset(policy_seed(key))


def rollout_episode(env: Env, policy: Policy, episode: EpisodeInfo, observers: Observer | None = None) -> EpisodeResult:
    """Roll out one episode; whatever env or policy raise becomes status ``error`` with its traceback.

    Only the cameras that the policy asks for are rendered, at its calls, and those that an observer asks for, at
    every step. The policy is seeded by ``policy_seed(key)``, the env by ``key.env_seed``.

    Args:
        env: the task of ``episode.key``; in any state. policy: see ``check_compatible``.
        episode: key, attempt and place in the pair. observers: told of calls, steps and frames.
    """
    observers = ObserverGroup(()) if observers is None else observers
    state = _Episode()
    error = None
    begun = time.perf_counter()
    observers.on_episode_start(episode)
    try:
        _run(env, policy, episode, observers, state)
    except Exception:
        error = traceback.format_exc()
    wall_s = time.perf_counter() - begun
    record = _make_record(env, episode, state, error, wall_s)
    return EpisodeResult(record, tuple(state.steps), state.trace_layout)


def _run(env: Env, policy: Policy, episode: EpisodeInfo, observers: Observer, state: _Episode) -> None:
    """The step loop: observe, call the policy when no action is queued, step."""
    key = episode.key
    if isinstance(policy, PrivilegedPolicy):
        policy.attach(env)
    with Stopwatch() as watch:
        policy.reset(policy_seed(key))
    state.model_s += watch.seconds
    with Stopwatch() as watch:
        now = env.reset(init_index=key.init_index, seed=key.env_seed)
    state.sim_s += watch.seconds
    _note_success(now, env, state)
    film = tuple(observers.cameras(episode))
    while not now.done:
        if now.step >= env.spec.max_steps:
            raise RuntimeError(f"env contract: expected done at step {env.spec.max_steps} (max_steps), got {now}")
        is_call = not state.queue
        with Stopwatch() as watch:
            observation = env.observe(policy.cameras if is_call else ())
        state.sim_s += watch.seconds
        _film(env, film, observation.images, episode, now.step, observers, state)
        chunk = _call(policy, observation, episode, observers, state) if is_call else None
        now = _step(env, observation, chunk, watch.seconds, episode, observers, state)
    _film(env, film, {}, episode, now.step, observers, state)


def _call(
    policy: Policy, observation: Observation, episode: EpisodeInfo, observers: Observer, state: _Episode
) -> ActionChunk:
    """One policy call; queues the actions that are executed before the next."""
    with Stopwatch() as watch:
        chunk = policy.infer(observation)
    state.model_s += watch.seconds
    num_actions = policy.num_open_loop_steps
    if not 1 <= num_actions <= len(chunk.actions):
        raise ValueError(
            f"model.num_open_loop_steps={num_actions} but policy {policy.name} returned {len(chunk.actions)} actions: "
            "expected 1 .. that many"
        )
    state.queue.extend(chunk.actions[:num_actions])
    state.num_calls += 1
    if chunk.trace is not None:
        state.trace_layout = (tuple(chunk.trace.views), chunk.trace.grid, chunk.trace.num_layers)
    observers.on_call(episode, observation, chunk)
    return chunk


def _step(
    env: Env,
    observation: Observation,
    chunk: ActionChunk | None,
    render_s: float,
    episode: EpisodeInfo,
    observers: Observer,
    state: _Episode,
) -> TimeStep:
    """Execute the next queued action and record the step."""
    action = state.queue.popleft()
    env.spec.action_spec.validate(action)
    with Stopwatch() as watch:
        now = env.step(action)
    state.sim_s += watch.seconds
    _note_success(now, env, state)
    step = StepRecord(
        step=observation.step,
        call_index=state.num_calls - 1,
        action=[float(a) for a in action],
        proprio=None if observation.proprio is None else [float(p) for p in observation.proprio],
        success=now.success,
        sim_ms=1000 * watch.seconds,
        render_ms=1000 * render_s,
        call=None if chunk is None else chunk.stats,
        **_trace_bytes(None if chunk is None else chunk.trace),
        **_object_counts(observation, None if chunk is None else chunk.trace),
    )
    state.steps.append(step)
    observers.on_step(episode, step)
    return now


def _film(
    env: Env,
    film: tuple[str, ...],
    rendered: Mapping[str, NDArray[np.uint8]],
    episode: EpisodeInfo,
    step: int,
    observers: Observer,
    state: _Episode,
) -> None:
    """Give observers the pictures they asked for; what the policy had rendered already is not rendered again."""
    if not film:
        return
    missing = tuple(name for name in film if name not in rendered)
    with Stopwatch() as watch:
        extra = env.observe(missing).images if missing else {}
    state.sim_s += watch.seconds
    observers.on_frame(episode, step, {name: {**rendered, **extra}[name] for name in film})


def _note_success(now: TimeStep, env: Env, state: _Episode) -> None:
    """Keep what the success rule needs: under ``final_step`` the last step decides, else any step."""
    if now.success and state.first_success_step is None:
        state.first_success_step = now.step
    held = state.first_success_step is not None
    state.succeeded = now.success if env.spec.success_rule == "final_step" else held


def _trace_bytes(trace: CacheTrace | None) -> dict[str, bytes | None]:
    """Trace columns of a step row: uint8[P] each, as bytes."""
    if trace is None:
        return {"reused_layers": None, "static": None, "relevant": None}
    return {
        "reused_layers": np.asarray(trace.reused_layers, dtype=np.uint8).tobytes(),
        "static": np.asarray(trace.static, dtype=np.uint8).tobytes(),
        "relevant": np.asarray(trace.relevant, dtype=np.uint8).tobytes(),
    }


def _object_counts(observation: Observation, trace: CacheTrace | None) -> dict[str, int | None]:
    """How many patches show a movable object, and how many of these the policy called static.

    Of pictures that a model scales as a whole, so that the grid covers all of the camera's picture.
    """
    if trace is None or observation.objects is None:
        return {"object_patches": None, "object_static": None}
    shown = np.concatenate([_object_patches(observation.objects[view], trace.grid) for view in trace.views])
    static = np.asarray(trace.static, dtype=bool)
    return {"object_patches": int(shown.sum()), "object_static": int((shown & static).sum())}


def _object_patches(mask: NDArray[np.bool_], grid: tuple[int, int]) -> NDArray[np.bool_]:
    """bool[P]: the patches of one view, row-major, in which ``mask`` [H, W] has a pixel."""
    rows, columns = np.nonzero(mask)
    patches = np.zeros(grid, dtype=bool)
    patches[rows * grid[0] // mask.shape[0], columns * grid[1] // mask.shape[1]] = True
    return patches.ravel()


def _make_record(env: Env, episode: EpisodeInfo, state: _Episode, error: str | None, wall_s: float) -> EpisodeRecord:
    status: Status = "error" if error is not None else "success" if state.succeeded else "failure"
    return EpisodeRecord(
        run_id=episode.run_id,
        **asdict(episode.key),
        status=status,
        first_success_step=state.first_success_step,
        num_steps=len(state.steps),
        num_policy_calls=state.num_calls,
        reused_from=None,
        error=error,
        assets=asdict(env.spec.assets),
        attempt=episode.attempt,
        instruction=env.spec.instruction,
        setting=env.spec.setting,
        stand_ins=list(env.spec.stand_ins),
        wall_s=wall_s,
        sim_s=state.sim_s,
        model_s=state.model_s,
        pair_order=episode.pair_order,
        reseed=episode.reseed,
    )
