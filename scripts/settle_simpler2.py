"""Where objects rest in the original engine: makes ``runners/envs/simpler/rest_poses.json`` with SAPIEN 2.2.2.

SAPIEN 2 and 3 do not fit in one environment, so there are two of them and three steps:

    python scripts/settle_simpler2.py cases cases.json                    # the project's environment, with the assets
    <python with sapien==2.2.2, numpy<2> scripts/settle_simpler2.py settle cases.json rests.json
    python scripts/settle_simpler2.py table rests.json

All layouts of move-near (visual matching; variant aggregation with three objects and with two) and of the eggplant are
settled, as ManiSkill2_real2sim does it: dropped without tilting, 0.5 s; free, 0.5 s; 1.5 s more if they still move.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

if TYPE_CHECKING:
    from runners.envs.simpler.rest_poses import DropCase

DROP_Z = 0.87 + 0.5
FRICTION, DAMPING = 0.5, 0.1
NEAR, EGGPLANT = 3, 3


def main() -> None:
    """Parse the command line and do one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    steps = parser.add_subparsers(dest="step", required=True)
    for name, files in (("cases", ("output",)), ("settle", ("input", "output")), ("table", ("input",))):
        step = steps.add_parser(name)
        for file in files:
            step.add_argument(file, type=Path)
        if name == "cases":
            step.add_argument("--assets", default="auto", help="as the key assets (default: %(default)s)")
    args = parser.parse_args()
    if args.step == "cases":
        cases = {case.key: asdict(case) for case in all_cases(args.assets)}
        args.output.write_text(json.dumps(cases, default=str, indent=1), encoding="utf-8")
    elif args.step == "settle":
        rests = {key: settle(case) for key, case in json.loads(args.input.read_text(encoding="utf-8")).items()}
        args.output.write_text(json.dumps(rests), encoding="utf-8")
    else:
        from runners.envs.simpler.rest_poses import write_table

        write_table(json.loads(args.input.read_text(encoding="utf-8")))


def all_cases(assets: str) -> list[DropCase]:
    """Of the layouts that the table holds; settings whose stage is missing are left out."""
    from runners.assets.maniskill import resolve_maniskill
    from runners.envs.simpler.runtime import prepare

    prepare()
    from runners.envs.simpler import bridge_episode, google_settle
    from runners.envs.simpler.bridge_tasks import BRIDGE_TASKS
    from runners.envs.simpler.google_stage import stage_file
    from runners.envs.simpler.google_tasks import GOOGLE_TASKS, VA_SUITE, VM_SUITE, task_layouts

    root = resolve_maniskill(assets).root
    eggplant = BRIDGE_TASKS[EGGPLANT]
    cases = [bridge_episode.drop_case(root, eggplant, index) for index in range(len(eggplant.layouts))]
    for layout in (*task_layouts(VM_SUITE, NEAR), *task_layouts(VA_SUITE, NEAR)):
        try:
            stage_file(root, layout.setting.stage)
        except RuntimeError:
            continue
        case = google_settle.drop_case(root, GOOGLE_TASKS[NEAR], layout)
        if case is not None:
            cases.append(case)
    return cases


def settle(case: dict[str, Any]) -> tuple[list[list[float]], list[float]]:
    """Poses (position 3, quaternion wxyz 4) at rest, and seconds of each settling call."""
    import numpy as np
    import sapien.core as sapien

    scene = _scene(case)
    bodies = [_add(scene, drop) for drop in case["drops"]]
    for body in bodies:
        body.set_damping(DAMPING, DAMPING)
    if case["fixed"]:
        fixed = _add(scene, case["fixed"])
        fixed.set_pose(sapien.Pose(case["fixed_position"]))
        fixed.lock_motion()
    for body, drop in zip(bodies, case["drops"], strict=True):
        body.set_pose(sapien.Pose([*drop["xy"], DROP_Z], drop["turn"]))
        body.lock_motion(0, 0, 0, 1, 1, 0)
    phases = [0.5]
    _wait(scene, 0.5, case)
    for body in bodies:
        body.lock_motion(0, 0, 0, 0, 0, 0)
        body.set_pose(body.get_pose())
        body.set_velocity([0, 0, 0])
        body.set_angular_velocity([0, 0, 0])
    phases.append(0.5)
    _wait(scene, 0.5, case)
    linear = sum(float(np.linalg.norm(body.get_velocity())) for body in bodies)
    angular = sum(float(np.linalg.norm(body.get_angular_velocity())) for body in bodies)
    if linear > 1e-3 or angular > 1e-2:
        phases.append(1.5)
        _wait(scene, 1.5, case)
    return [[float(x) for x in (*body.get_pose().p, *body.get_pose().q)] for body in bodies], phases


def _scene(case: dict[str, Any]) -> Any:
    """The stage alone, with the physics of the original environments."""
    import sapien.core as sapien

    config = sapien.SceneConfig()
    config.contact_offset = case["contact_offset"]
    config.enable_tgs, config.enable_pcm = True, False
    config.solver_iterations, config.solver_velocity_iterations = 25, 1
    config.default_static_friction = config.default_dynamic_friction = 1.0
    config.default_restitution = 0.0
    scene = _engine().create_scene(config)
    scene.set_timestep(1 / case["sim_hz"])
    builder = scene.create_actor_builder()
    builder.add_nonconvex_collision_from_file(case["stage"], _pose(case["stage_inner"]))
    builder.build_static("arena").set_pose(_pose(case["stage_pose"]))
    return scene


def _engine() -> Any:
    """One for the process; without a renderer."""
    import sapien.core as sapien

    engine = sapien.Engine()
    engine.set_log_level("error")
    return engine


def _pose(numbers: list[float]) -> Any:
    import sapien.core as sapien

    return sapien.Pose(numbers[:3], numbers[3:])


def _add(scene: Any, drop: dict[str, Any]) -> Any:
    builder = scene.create_actor_builder()
    builder.add_multiple_collisions_from_file(
        drop["collision"],
        scale=[1.0, 1.0, 1.0],
        material=scene.create_physical_material(FRICTION, FRICTION, 0.0),
        density=drop["density"],
    )
    return builder.build(drop["name"])


def _wait(scene: Any, seconds: float, case: dict[str, Any]) -> None:
    for _ in range(int(case["sim_hz"] * seconds)):
        scene.step()


if __name__ == "__main__":
    main()
