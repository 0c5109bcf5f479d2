"""LIBERO on the built-in pack and, where ``VLACACHE_ASSETS_DIR`` is set, on scanned assets."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from runners.assets import ResolvedAssets, resolve_assets
from runners.envs import libero_render
from runners.envs.base import Env
from runners.envs.libero import LIBERO_SUITES, NUM_SETTLE_STEPS, LiberoEnv, make_libero_env
from tests.conformance import EnvConformance, assert_same_trace, play, random_actions

pytestmark = pytest.mark.sim


class LiberoConformance(EnvConformance):
    """The contract on LIBERO; subclasses choose the assets."""

    assets_choice = ""
    task_id = 0

    @classmethod
    def make_env(cls, max_steps: int | None = None) -> Env:
        assets = resolve_assets(cls.assets_choice, suite="libero_spatial", render="fast")
        return make_libero_env("libero_spatial", cls.task_id, assets=assets, max_steps=max_steps)

    @staticmethod
    def read_state(env: Env) -> np.ndarray:
        data = env.privileged().data
        return np.concatenate([data.qpos, data.qvel, data.qacc_warmstart])

    @pytest.fixture
    def renders(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        return count_renders(monkeypatch)


class TestBuiltinConformance(LiberoConformance):
    """The contract on the built-in pack."""

    assets_choice = "builtin"


@pytest.mark.skipif(not os.environ.get("VLACACHE_ASSETS_DIR"), reason="VLACACHE_ASSETS_DIR is not set")
class TestScannedConformance(LiberoConformance):
    """The contract on scanned assets, in a task with a drawer."""

    assets_choice = "auto"
    task_id = 4


def count_renders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A list that grows by one camera name per picture that MuJoCo draws."""
    log: list[str] = []
    render = libero_render.CameraRenderer.render

    def counted(self: libero_render.CameraRenderer, qpos: object, camera: str) -> object:
        log.append(camera)
        return render(self, qpos, camera)  # type: ignore[arg-type]

    monkeypatch.setattr(libero_render.CameraRenderer, "render", counted)
    return log


@pytest.fixture(scope="module")
def env(builtin_assets: ResolvedAssets) -> LiberoEnv:
    env = make_libero_env("libero_spatial", 0, assets=builtin_assets)
    yield env
    env.close()


def fixture_positions(env: LiberoEnv) -> np.ndarray:
    """Positions of the fixtures, float64[F, 3]; drawn at each reset."""
    state = env.privileged()
    fixtures = [body for name, body in state.root_bodies.items() if "cabinet" in name or "stove" in name]
    assert len(fixtures) == 2
    return state.model.body_pos[fixtures].copy()


def test_max_steps_are_those_of_the_reference_scripts() -> None:
    assert LIBERO_SUITES == {
        "libero_spatial": 220,
        "libero_object": 280,
        "libero_goal": 300,
        "libero_10": 520,
        "libero_90": 400,
    }


def test_spec(env: LiberoEnv, builtin_assets: ResolvedAssets) -> None:
    spec = env.spec
    assert spec.instruction == "pick up the black bowl between the plate and the ramekin and place it on the plate"
    assert (spec.max_steps, spec.control_hz, spec.num_init_states) == (220, 20.0, 50)
    assert spec.cameras == ("agentview", "wrist")
    assert spec.assets == builtin_assets.provenance
    assert spec.versions["mujoco"].startswith("3.")
    assert spec.versions["reseed"] == "episode"
    assert spec.versions["gl"] in ("egl", "osmesa")


def test_settling_comes_before_step_zero(env: LiberoEnv) -> None:
    """After reset the clock of the simulation stands at 10 control steps, the drop is over and the gripper is open."""
    assert env.reset(init_index=0, seed=0).step == 0
    state = env.privileged()
    start = env._init_states[0][0]
    assert state.data.time - start == pytest.approx(NUM_SETTLE_STEPS / 20.0)
    bowl = state.goal[0][1]
    before = state.object_pos(bowl)
    env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert np.linalg.norm(state.object_pos(bowl) - before) < 1e-3
    assert env.observe().proprio[6] > 0.038


def test_gripper_sign(env: LiberoEnv) -> None:
    env.reset(init_index=0, seed=0)
    for _ in range(12):
        env.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    assert env.observe().proprio[6] < 0.005, "+1 closes"
    for _ in range(12):
        env.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
    assert env.observe().proprio[6] > 0.038, "-1 opens"


def test_positive_x_moves_the_hand_away_from_the_robot(env: LiberoEnv) -> None:
    env.reset(init_index=0, seed=0)
    before = env.observe().proprio
    for _ in range(5):
        env.step(np.array([1.0, 0, 0, 0, 0, 0, -1.0]))
    moved = env.observe().proprio[:3] - before[:3]
    assert moved[0] > 0.03
    assert np.abs(moved[1:]).max() < 0.02


def test_fixtures_follow_the_seed_not_the_order(env: LiberoEnv) -> None:
    env.reset(init_index=0, seed=7)
    first = fixture_positions(env)
    env.reset(init_index=3, seed=8)
    other = fixture_positions(env)
    env.reset(init_index=0, seed=7)
    np.testing.assert_array_equal(fixture_positions(env), first)
    assert (first != other).any()


def test_reseed_task_continues_one_stream(builtin_assets: ResolvedAssets, env: LiberoEnv) -> None:
    """As in the official scripts: seeded once, so the n-th episode depends on n; other draws do not disturb it."""
    layouts = []
    for disturb in (False, True):
        with closing(make_libero_env("libero_spatial", 0, assets=builtin_assets, reseed="task")) as task_env:
            poses = []
            for _ in range(3):
                if disturb:
                    env.reset(init_index=0, seed=3)
                    np.random.random(7)  # noqa: NPY002 - the global generator, on purpose
                task_env.reset(init_index=0, seed=0)
                poses.append(fixture_positions(task_env))
            layouts.append(poses)
    np.testing.assert_array_equal(layouts[0], layouts[1])
    assert (layouts[0][0] != layouts[0][1]).any()
    env.reset(init_index=0, seed=0)
    np.testing.assert_array_equal(layouts[0][0], fixture_positions(env))


def test_global_generator_is_left_alone(env: LiberoEnv) -> None:
    np.random.seed(1)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(1)  # noqa: NPY002
    env.reset(init_index=0, seed=5)
    assert np.random.random() == expected  # noqa: NPY002


def test_init_states_differ(env: LiberoEnv) -> None:
    positions = []
    for init_index in (0, 1):
        env.reset(init_index=init_index, seed=0)
        positions.append(env.privileged().object_pos("plate_1"))
    assert np.linalg.norm(positions[0] - positions[1]) > 1e-4


def test_two_envs_alive_do_not_disturb_each_other(builtin_assets: ResolvedAssets, env: LiberoEnv) -> None:
    actions = random_actions(env, 3)
    alone = play(env, actions)
    with closing(make_libero_env("libero_spatial", 5, assets=builtin_assets)) as other:
        play(other, actions)
        assert_same_trace(alone, play(env, actions))
        play(other, actions)
    assert_same_trace(alone, play(env, actions))


def test_closed_env_refuses_and_closes_twice(builtin_assets: ResolvedAssets) -> None:
    env = make_libero_env("libero_spatial", 0, assets=builtin_assets)
    env.close()
    env.close()
    with pytest.raises(RuntimeError, match="closed"):
        env.reset(init_index=0, seed=0)


def test_memory_does_not_grow_over_create_and_close(builtin_assets: ResolvedAssets) -> None:
    def cycle() -> int:
        with closing(make_libero_env("libero_spatial", 0, assets=builtin_assets)) as env:
            env.reset(init_index=0, seed=0)
            env.observe(env.spec.cameras)
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") // 2**20

    for _ in range(3):
        before = cycle()
    for _ in range(5):
        after = cycle()
    assert after - before < 60, f"{after - before} MiB in 5 cycles"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": "libero_long"}, "suite: expected one of"),
        ({"task_id": 10}, r"tasks 0 \.\. 9, got 10"),
        ({"render": "reference"}, r"suite\.render"),
        ({"reseed": "never"}, r"suite\.reseed"),
        ({"placement": "narrow"}, r"suite\.placement"),
        ({"success_rule": "last"}, r"suite\.success_rule"),
        ({"max_steps": 0}, r"suite\.max_steps"),
    ],
)
def test_bad_arguments_raise(builtin_assets: ResolvedAssets, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_libero_env(**{"suite": "libero_spatial", "task_id": 0, "assets": builtin_assets} | arguments)


@pytest.mark.parametrize("suite", ["libero_object", "libero_goal", "libero_10", "libero_90"])
def test_other_suites_on_scanned_assets(suite: str, assets_dir: Path) -> None:
    assets = resolve_assets("auto", suite=suite, render="fast")
    with closing(make_libero_env(suite, 1, assets=assets)) as env:
        trace = play(env, random_actions(env, 3))
        assert len(trace) == 4 + len(env.spec.cameras)
        assert env.spec.max_steps == LIBERO_SUITES[suite]
