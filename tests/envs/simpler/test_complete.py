"""A file that planned episodes need and the assets lack is named before the first of them, with what fetches it."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from runners.assets.maniskill import ManiSkillAssets

pytestmark = pytest.mark.simpler
SCENES = Path("data/tasks/bridge_v2_real2sim_dataset")


@pytest.fixture
def root(maniskill: ManiSkillAssets, tmp_path: Path) -> Path:
    """A copy that files can be taken out of."""
    shutil.copytree(maniskill.root / "data", tmp_path / "data", copy_function=os.symlink)
    return tmp_path


@pytest.mark.parametrize(
    ("suite", "task", "file", "download"),
    [
        ("simpler_google_vm", 0, SCENES / "real_inpainting/google_coke_can_real_eval_1.png", "bridge_v2_real2sim"),
        ("simpler_google_vm", 4, SCENES / "custom/mk_station_recolor.urdf", "bridge_v2_real2sim"),
        ("simpler_google_vm", 0, Path("data/robots/googlerobot"), "googlerobot"),
        ("simpler_google_va", 0, SCENES / "custom/models/opened_coke_can/collision.obj", "bridge_v2_real2sim"),
        ("simpler_widowx", 0, SCENES / "custom/info_bridge_custom_v0.json", "bridge_v2_real2sim"),
        ("simpler_widowx", 1, SCENES / "stages/bridge_table_1_v1.glb", "bridge_v2_real2sim"),
        ("simpler_widowx", 2, Path("data/robots/widowx"), "widowx250s"),
    ],
)
def test_every_kind_of_file(root: Path, suite: str, task: int, file: Path, download: str) -> None:
    from runners.envs.simpler.complete import check_files

    check_files(root, suite, [(task, 0)])
    place = root / file
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    from runners.envs.simpler.objects import load_models

    load_models.cache_clear()
    with pytest.raises(RuntimeError, match=rf"missing; get (it|them) with `.*download_asset {download} -y"):
        check_files(root, suite, [(task, 0)])
    load_models.cache_clear()


def test_settings_that_remain_lack_nothing_in_any_task(root: Path) -> None:
    from runners.envs.simpler.google_stage import check_stages

    (root / SCENES / "stages/google_pick_coke_can_1_v4.glb").unlink()
    with pytest.raises(RuntimeError, match=r"google_pick_coke_can_1_v4.glb .*, or choose other tasks") as caught:
        check_stages(root, "simpler_google_vm", [(0, 0), (4, 0)])
    assert "suite.settings=" not in str(caught.value)
