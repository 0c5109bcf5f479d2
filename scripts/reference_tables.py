"""The reference tables of libero_spatial: every arm beside one baseline, both placements, with the blind controls.

    python scripts/reference_tables.py                 # hours on a CPU; the same command continues
    python scripts/reference_tables.py mine --episodes 5 --side-episodes 2 --placements wide suite.task_ids=[0,3]

Runs go to ``results/<prefix>_<placement>/<arm>/`` and ``results/<prefix>_controls/``; what is worth keeping of them
(table, figures, picture, episodes of every arm) to ``results/tables/<prefix>_<placement>/``.
"""

from __future__ import annotations

import argparse
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # works without an installed package

BASELINE = "none"
CONTROLS = ("blind", "replay")
#: Of a run: what it was and how each episode ended. Step files, the bulk, stay behind.
KEPT_FILES = ("run.json", "episodes.jsonl")


@dataclass(frozen=True, slots=True)
class Arm:
    """One cache policy. ``is_main``: rolled out on as many episodes as the baseline, else on the fewer side ones."""

    name: str
    words: tuple[str, ...]
    is_main: bool


def _probe(policy: str, reuse_ratio: float) -> Arm:
    return Arm(f"{policy}-{reuse_ratio}", (f"cache={policy}", f"cache.reuse_ratio={reuse_ratio}"), False)


ARMS = (
    *(Arm(name, (f"cache={name}",), True) for name in ("adaptive", "static_task", "official", "paper")),
    Arm("static", ("cache=static",), False),
    *(_probe(policy, ratio) for policy in ("fixed_ratio", "random") for ratio in (0.2, 0.4, 0.6, 0.8)),
    # Stale by design: the default policy without its bounds on age.
    Arm("adaptive-no_max_age", ("cache=adaptive", "cache.max_age=null", "cache.refresh_every=null"), False),
)


def commands(prefix: str, placement: str, episodes: int, side_episodes: int, words: list[str]) -> list[list[str]]:
    """Words of ``run.py`` calls: the baseline, the controls, the main arms, the side arms."""
    common = ["suite=libero_spatial", f"suite.placement={placement}", *words]
    sweep = f"{prefix}_{placement}"
    full, few = f"suite.episodes_per_task={episodes}", f"suite.episodes_per_task={side_episodes}"
    calls = [[*common, full, f"cache={BASELINE}", f"run_id={sweep}/{BASELINE}"]]
    calls += [[*_control_words(c, common), full, f"run_id={prefix}_controls/{c}_{placement}"] for c in CONTROLS]
    shared = f"runner.shared_baseline={sweep}/{BASELINE}"
    for arm in sorted(ARMS, key=lambda arm: not arm.is_main):
        calls.append([*common, full if arm.is_main else few, shared, *arm.words, f"run_id={sweep}/{arm.name}"])
    return calls


def _control_words(control: str, common: list[str]) -> list[str]:
    """A control chooses its model itself, and playing back has none whose numbers could be set."""
    kept = [word for word in common if not word.startswith("model=")]
    if control == "replay":
        kept = [word for word in kept if not word.startswith("model.")]
    return [f"model={control}", *kept]


def publish(sweep_dir: Path, target: Path) -> None:
    """Write the report of ``sweep_dir`` and keep the compact part of it in ``target``."""
    from runners.report.sweep import print_sweep, write_sweep_report

    print_sweep(write_sweep_report(sweep_dir))
    for name in ("sweep.md", "sweep.csv", "sweep.png"):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(sweep_dir / name, target / name)
    for run in sorted(path.parent for path in sweep_dir.glob("*/run.json")):
        keep_run(run, target / run.name)


def keep_run(run: Path, target: Path) -> None:
    """Copy the compact part of a run."""
    target.mkdir(parents=True, exist_ok=True)
    for name in KEPT_FILES:
        shutil.copyfile(run / name, target / name)


def main() -> int:
    """Run what is missing, publish what is there; the exit code is that of the first call that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prefix", nargs="?", default="libero_spatial", help="of the folders below results/")
    parser.add_argument("words", nargs="*", help="more key=value words for every run")
    parser.add_argument("--placements", nargs="+", choices=("official", "wide"), default=["official", "wide"])
    parser.add_argument("--episodes", type=int, default=20, help="per task: baseline, controls, main arms")
    parser.add_argument("--side-episodes", type=int, default=5, help="per task: the other arms")
    parser.add_argument("--publish-only", action="store_true", help="run nothing")
    given = parser.parse_args()
    if not 1 <= given.side_episodes <= given.episodes:
        parser.error(f"--side-episodes: expected 1..{given.episodes}, the episodes of the baseline")
    for placement in given.placements:
        if not given.publish_only:
            for words in commands(given.prefix, placement, given.episodes, given.side_episodes, given.words):
                print(f"\n$ python run.py {shlex.join(words)}", flush=True)
                code = subprocess.run([sys.executable, str(ROOT / "run.py"), *words]).returncode
                if code:
                    return code
        sweep = f"{given.prefix}_{placement}"
        publish(Path("results") / sweep, Path("results") / "tables" / sweep)
        for control in CONTROLS:
            run = Path("results") / f"{given.prefix}_controls" / f"{control}_{placement}"
            if (run / KEPT_FILES[1]).is_file():
                keep_run(run, Path("results") / "tables" / f"{given.prefix}_controls" / run.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
