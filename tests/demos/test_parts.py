"""Noise, labels and looks of demonstrations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import numpy as np
import pytest

from runners.assets import ResolvedAssets
from runners.demos.labels import SceneLabels
from runners.demos.looks import LookJitter
from runners.demos.noise import ActionNoise, NoiseSettings
from runners.envs.libero import LiberoEnv, make_libero_env


def test_noise_is_correlated_bounded_and_spares_the_gripper() -> None:
    noise = ActionNoise(NoiseSettings(0.4, 0.1, 0.8), np.random.default_rng(0))
    steps = np.stack([noise.disturb(np.array([0, 0, 0, 0, 0, 0, 0.7])) for _ in range(4000)])
    assert (steps[:, 6] == 0.7).all()
    assert np.abs(steps).max() <= 1
    assert steps[:, :3].std() > 3 * steps[:, 3:6].std() > 0
    for axis in range(6):
        assert np.corrcoef(steps[1:, axis], steps[:-1, axis])[0, 1] == pytest.approx(0.8, abs=0.06)


def test_noise_depends_on_the_generator_alone() -> None:
    action = np.full(7, 0.2)
    first, second = (ActionNoise(NoiseSettings(), np.random.default_rng(3)).disturb(action) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    assert (ActionNoise(NoiseSettings(), np.random.default_rng(4)).disturb(action) != first).any()
    np.testing.assert_array_equal(action, np.full(7, 0.2))


@pytest.mark.parametrize("settings", [{"translation": -0.1}, {"memory": 1.0}])
def test_bad_noise_raises(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="noise"):
        NoiseSettings(**settings)


@pytest.fixture(scope="module")
def env(builtin_assets: ResolvedAssets) -> Iterator[LiberoEnv]:
    with closing(make_libero_env("libero_spatial", 2, assets=builtin_assets)) as env:
        env.reset(init_index=0, seed=0)
        yield env


@pytest.mark.sim
@pytest.mark.parametrize(("view", "point", "name"), [
    ("agentview", "goal", "plate_1"),
    ("agentview", "target", "akita_black_bowl_1"),
    ("wrist", "target", "akita_black_bowl_1"),
])  # fmt: skip
def test_pixel_labels_are_where_the_object_is_drawn(env: LiberoEnv, view: str, point: str, name: str) -> None:
    """The middle of the pixels that change when the object is made invisible."""
    env.reset(init_index=0, seed=0)
    state = env.privileged()
    labels = SceneLabels(state)
    labels.update(env.observed_qpos())
    label = labels.pixel(view, point)
    assert label is not None
    shown = env.observe([view]).images[view].astype(int)
    geoms = state.subtree(state.root_bodies[name])[state.model.geom_bodyid]
    groups = state.model.geom_group.copy()
    state.model.geom_group[geoms] = 4
    hidden = env.observe([view]).images[view].astype(int)
    state.model.geom_group[:] = groups
    rows, columns = np.nonzero(np.abs(shown - hidden).max(axis=2) > 8)
    assert len(rows) > 100
    middle = np.array([(columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2]) / 256
    np.testing.assert_allclose(label, middle, atol=0.05)


@pytest.mark.sim
def test_offsets_are_metres_from_the_hand(env: LiberoEnv) -> None:
    env.reset(init_index=0, seed=0)
    state, labels = env.privileged(), SceneLabels(env.privileged())
    labels.update(env.observed_qpos())
    np.testing.assert_allclose(labels.offset("goal"), state.object_pos("plate_1") - state.eef_pos, atol=2e-3)


@pytest.mark.sim
def test_looks_change_pictures_and_nothing_else(env: LiberoEnv) -> None:
    env.reset(init_index=0, seed=0)
    nominal = env.observe(["agentview"]).images["agentview"]
    model = env.privileged().model
    for kind in ("colour", "light", "camera"):
        looks = LookJitter(model, (kind,))
        looks.apply(np.random.default_rng(1))
        env.reset(init_index=0, seed=0)
        changed = env.observe(["agentview"]).images["agentview"]
        qpos = env.privileged().data.qpos.copy()
        difference = np.abs(changed.astype(int) - nominal.astype(int))
        assert difference.mean() > 1.0, kind
        assert difference.mean() < 60.0, kind
        looks.restore()
        env.reset(init_index=0, seed=0)
        np.testing.assert_array_equal(env.observe(["agentview"]).images["agentview"], nominal)
        np.testing.assert_array_equal(env.privileged().data.qpos, qpos)


@pytest.mark.sim
def test_unknown_look_raises(env: LiberoEnv) -> None:
    with pytest.raises(ValueError, match="jitter: expected a choice of colour, light, camera, got smell"):
        LookJitter(env.privileged().model, ("smell",))
