"""Noise on the pictures, and which pixels show a movable object."""

from __future__ import annotations

import numpy as np
import pytest

from runners.assets.maniskill import ManiSkillAssets

pytestmark = pytest.mark.simpler


def env_with(maniskill: ManiSkillAssets, sensor_noise: float):
    from runners.envs.simpler.bridge import make_widowx_env

    return make_widowx_env(1, assets=maniskill, sensor_noise=sensor_noise)


def pictures(env, *, seed=0, steps=2):
    """Pictures of the reset and of some steps of one episode."""
    env.reset(init_index=0, seed=seed)
    shown = [env.observe(env.spec.cameras).images[env.spec.cameras[0]]]
    for _ in range(steps):
        env.step(np.array([0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 1.0]))
        shown.append(env.observe(env.spec.cameras).images[env.spec.cameras[0]])
    return shown


def test_the_background_stands_still_without_noise(maniskill):
    first, second, _ = pictures(env_with(maniskill, 0.0))
    same = (first == second).all(axis=-1)
    assert 0.7 < same.mean() < 1


def test_noise_is_seeded_and_new_in_every_frame(maniskill):
    clean = pictures(env_with(maniskill, 0.0))
    env = env_with(maniskill, 2.0)
    noisy, again, other = pictures(env), pictures(env), pictures(env, seed=1)
    for frame, repeated in zip(noisy, again, strict=True):
        np.testing.assert_array_equal(frame, repeated)
    assert (noisy[0] != other[0]).any()
    differences = [frame.astype(int) - still for frame, still in zip(noisy, clean, strict=True)]
    assert np.std(differences[0]) == pytest.approx(2.0, abs=0.15)
    assert abs(np.corrcoef(differences[0].ravel(), differences[1].ravel())[0, 1]) < 0.02
    assert (noisy[0] == noisy[1]).all(axis=-1).mean() < 0.1


def test_objects_are_told_from_robot_and_photo(maniskill):
    """The carrot is orange, the plate is light; robot and photo are not in the mask."""
    env = env_with(maniskill, 0.0)
    env.reset(init_index=0, seed=0)
    observation = env.observe(env.spec.cameras)
    mask = observation.objects[env.spec.cameras[0]]
    assert mask.shape == (480, 640) and 0.01 < mask.mean() < 0.1
    frame = env.frame()
    assert set(np.unique(frame.body[mask])) == {
        frame.names.index(name) for name in ("bridge_carrot_generated_modified", "bridge_plate_objaverse_larger")
    }
    assert env.observe().objects == {}


def test_pictures_do_not_depend_on_maniskills_settings_of_the_process(maniskill):
    """ManiSkill's envs choose other shaders for the whole process; an env that is built later draws as before."""
    from runners.envs.simpler import picture
    from runners.envs.simpler.maniskill_protocol import make_maniskill_env

    env = env_with(maniskill, 0.0)
    before = pictures(env, steps=0)[0]
    other = make_maniskill_env(1, assets=maniskill, max_steps=2)
    other.reset(init_index=0, seed=0)
    theirs = other.observe(other.spec.cameras).images[other.spec.cameras[0]]
    picture._canvas()._clear()
    np.testing.assert_array_equal(pictures(env, steps=0)[0], before)
    np.testing.assert_array_equal(other.observe(other.spec.cameras).images[other.spec.cameras[0]], theirs)
    other.close()
