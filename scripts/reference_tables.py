"""The reference tables of libero_spatial: every arm beside one baseline, both placements, with the blind controls.

    python scripts/reference_tables.py                 # hours on a CPU; the same command continues
    python scripts/reference_tables.py mine --episodes 5 --side-episodes 2 --placements wide 'suite.task_ids=[0,3]'
    python scripts/reference_tables.py --placements wide --episodes 80 --arms adaptive    # baseline and this arm grow
    python scripts/reference_tables.py --publish-only --prune    # published arms that were not run here go

The states of a task begin at ``--first-state`` 30: those before 20 were watched while the weights and the numbers of
``adaptive`` were chosen, 20 to 39 were counted once, with weights that no longer ship (docs/training.md).

Runs go to ``results/<prefix>_<placement>/<arm>/`` and ``results/<prefix>_controls/``; what is worth keeping of them
(table, figures, picture, episodes of every arm) to ``results/tables/<prefix>_<placement>/``. What is published there
does not go or shrink without ``--prune``: a fresh clone has the tables and none of the runs behind them.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # works without an installed package

from runners.argv import parse_with_words
from runners.journal import EPISODES_FILE, RUN_FILE, read_run
from runners.overrides import compose_run, keys_of
from runners.records import RunRecord
from runners.reference_arms import ARMS, CONTROLS
from runners.report.published import (
    Loss,
    agree_on,
    check_one_code,
    count_pairs,
    keep_run,
    losses,
    published_runs,
    remove_run,
)
from runners.script import call_run, run_script
from runners.suite_names import LIBERO_INIT_STATES, NUM_TASKS

RESULTS = Path("results")
BASELINE = "none"
PLACEMENTS = ("official", "wide")
FIRST_STATE = 30
EPISODES, SIDE_EPISODES = 20, 5
#: Keys of words that each run of the tables has of its own, and the option that is meant.
OWN_KEYS = {
    "suite": "the tables are libero_spatial's",
    "suite.placement": "choose with --placements",
    "suite.episodes_per_task": "choose with --episodes and --side-episodes",
    "suite.first_state": "choose with --first-state",
    "suite.init_indices": "choose with --first-state and --episodes",
    "cache": "choose with --arms",
    "run_id": "the first word is the prefix of all run ids",
    "runner.shared_baseline": "every arm shares the baseline of its table",
}
CHOICES = (*CONTROLS, *(arm.name for arm in ARMS))


def commands(
    prefix: str,
    placement: str,
    episodes: int,
    side_episodes: int,
    words: Sequence[str],
    chosen: Collection[str] = CHOICES,
    first_state: int = FIRST_STATE,
    *,
    as_published: bool = False,
) -> list[list[str]]:
    """Words of ``run.py`` calls: the baseline, the controls, the main arms, the side arms.

    A run that is larger already keeps its size; ``as_published``: it also gets that of its published one, if larger.
    """
    roots = [RESULTS, RESULTS / "tables"] if as_published else [RESULTS]
    common = ["suite=libero_spatial", f"suite.placement={placement}", f"suite.first_state={first_state}", *words]
    sweep = f"{prefix}_{placement}"
    calls = [[*common, *_sized(f"{sweep}/{BASELINE}", episodes, roots), f"cache={BASELINE}"]]
    for control in CONTROLS:
        if control in chosen:
            own_id = control_id(prefix, control, placement)
            calls.append([*control_words(control, common), *_sized(own_id, episodes, roots)])
    shared = f"runner.shared_baseline={sweep}/{BASELINE}"
    for arm in sorted(ARMS, key=lambda arm: not arm.is_main):
        if arm.name in chosen:
            count = episodes if arm.is_main else side_episodes
            calls.append([*common, *_sized(f"{sweep}/{arm.name}", count, roots), shared, *arm.words])
    return calls


def _sized(run_id: str, episodes: int, roots: Sequence[Path]) -> list[str]:
    """The run, with ``episodes`` of each task or as many as it has below one of ``roots``: a run never shrinks."""
    for folder in (root / run_id for root in roots):
        if (folder / RUN_FILE).is_file():
            episodes = max(episodes, read_run(folder).config["suite"]["episodes_per_task"])
    return [f"suite.episodes_per_task={episodes}", f"run_id={run_id}"]


def control_id(prefix: str, control: str, placement: str) -> str:
    """Run id of a control."""
    return f"{prefix}_controls/{control}_{placement}"


def control_words(control: str, common: Sequence[str]) -> list[str]:
    """The table's words for a control: blind has the table's own model behind its eyes, playing back has none.

    Numbers of the model that the command names are kept, and refused by ``run.py`` where blind has no such key.
    """
    kept = [word for word in common if not word.startswith(("model=", "model."))]
    if control == "replay":
        return ["model=replay", *kept]
    model = compose_run(list(common)).config.model.name
    numbers = [word for word in common if word.startswith("model.") and not word.startswith("model.decode=")]
    named = {word.partition("=")[0].removeprefix("model.") for word in numbers}
    blind = keys_of("model", "blind")
    for key, value in keys_of("model", model).items():  # where the model's own file says otherwise than blind's
        if key in blind and key not in named and value != blind[key]:
            numbers.append(f"model.{key}={'null' if value is None else value}")
    return ["model=blind", f"model.base={model}", *numbers, *kept]


def check_control(control: RunRecord, baseline: RunRecord) -> None:
    """Raise ``ValueError`` when a finished control is not one of this table, which would silently go without it."""
    pairs = {"suite": (control.suite, baseline.suite), "assets": (control.assets, baseline.assets)}
    for key in ("placement", "max_steps", "first_state"):
        pairs[f"suite.{key}"] = (control.config["suite"].get(key), baseline.config["suite"].get(key))
    pairs["seed"] = (control.config["seed"], baseline.config["seed"])
    if control.model == "blind":
        pairs["checkpoint"] = (control.checkpoint, baseline.checkpoint)
    differing = [f"{key}: {ours!r}, the table's {theirs!r}" for key, (ours, theirs) in pairs.items() if ours != theirs]
    if differing:
        raise ValueError(
            f"{RESULTS / control.run_id} is no control of {RESULTS / baseline.run_id}: {'; '.join(differing)}. "
            "Move it away and give the same command again, which makes the right one."
        )


def check_plan(calls: Sequence[Sequence[str]], sweep: str) -> None:
    """Raise ``ValueError`` before hours of runs whose table would lose what is published; see ``--prune``."""
    tables, found, planned = RESULTS / "tables", [], set()
    for call in calls:
        config = compose_run(list(call)).config
        planned.add(str(config.run_id))
        tasks = NUM_TASKS[config.suite.name] if config.suite.task_ids is None else len(config.suite.task_ids)
        most, folder = tasks * config.suite.episodes_per_task, tables / str(config.run_id)
        if (folder / RUN_FILE).is_file() and (there := count_pairs(folder)) > most:
            found.append(Loss(folder, f"{there} pairs published, at most {most} asked for"))
    for name, folder in published_runs(tables / sweep).items():
        if f"{sweep}/{name}" not in planned and not (RESULTS / sweep / name / RUN_FILE).is_file():
            found.append(Loss(folder, f"{count_pairs(folder)} pairs published, none here"))
    agree_on(found, prune=False)


def publish(sweep_dir: Path, target: Path, *, prune: bool = False) -> None:
    """Write the report of ``sweep_dir`` and keep the compact part of it in ``target``.

    Raises:
        ValueError: a published arm would go or shrink and ``prune`` is False; arms that cannot be compared.
    """
    from runners.report.sweep import print_sweep, write_sweep_report

    print_sweep(write_sweep_report(sweep_dir))
    runs = {name: run for name, run in published_runs(sweep_dir).items() if count_pairs(run) > 0}
    check_one_code(runs, BASELINE)
    agree_on(losses(target, runs, read_run(runs[BASELINE]) if BASELINE in runs else None), prune=prune)
    target.mkdir(parents=True, exist_ok=True)
    for name in ("sweep.md", "sweep.csv", "sweep.png"):
        shutil.copyfile(sweep_dir / name, target / name)
    for name, folder in published_runs(target).items():
        if name not in runs:
            remove_run(folder)
    for name, run in runs.items():
        keep_run(run, target / name)


def publish_all(prefix: str, placement: str, *, prune: bool = False) -> None:
    """Table, arms and controls of one placement.

    Raises:
        FileNotFoundError: nothing was run.
        ValueError: a control of another table, arms that cannot be compared, what is published would go or shrink.
    """
    sweep, tables = f"{prefix}_{placement}", RESULTS / "tables"
    baseline = RESULTS / sweep / BASELINE
    ids = [control_id(prefix, control, placement) for control in CONTROLS]
    controls = {name: RESULTS / name for name in ids if (RESULTS / name / EPISODES_FILE).is_file()}
    found = []
    for name in ids:
        if name in controls and (tables / name / RUN_FILE).is_file():
            there, now = count_pairs(tables / name), count_pairs(controls[name])
            found += [Loss(tables / name, f"{there} pairs published, {now} here")] if now < there else []
    if (baseline / RUN_FILE).is_file():
        for run in controls.values():
            check_control(read_run(run), read_run(baseline))
        stale = [tables / name for name in ids if name not in controls]
        found += stale_controls(stale, read_run(baseline))
    agree_on(found, prune=prune)
    publish(RESULTS / sweep, tables / sweep, prune=prune)
    for loss in found:
        remove_run(loss.folder)
    for name, run in controls.items():
        keep_run(run, tables / name)


def stale_controls(folders: Sequence[Path], baseline: RunRecord) -> list[Loss]:
    """Published controls that were not run here and are none of the new baseline's."""
    found = []
    for folder in folders:
        if (folder / RUN_FILE).is_file():
            try:
                check_control(read_run(folder), baseline)
            except ValueError as error:
                found.append(Loss(folder, str(error).partition(". Move")[0]))
    return found


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    out = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    out.add_argument("prefix", nargs="?", default="libero_spatial", help="of the folders below results/")
    out.add_argument("words", nargs="*", help="more key=value words for every run")
    out.add_argument("--placements", nargs="+", choices=PLACEMENTS, default=list(PLACEMENTS))
    out.add_argument("--episodes", type=int,
                     help=f"per task: baseline, controls, main arms; {EPISODES}, or as many as published")  # fmt: skip
    out.add_argument("--side-episodes", type=int, help=f"per task: the other arms; {SIDE_EPISODES}")
    out.add_argument("--first-state", type=int, default=FIRST_STATE, help="of each task; earlier ones are left out")
    out.add_argument("--arms", nargs="+", choices=CHOICES, default=list(CHOICES), metavar="ARM",
                     help=f"run these beside the baseline, of {', '.join(CHOICES)}; all by default")  # fmt: skip
    out.add_argument("--publish-only", action="store_true", help="run nothing")
    out.add_argument("--prune", action="store_true", help="let published arms go or shrink that are smaller here")
    return out


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line, checked."""
    options = parser()
    given = parse_with_words(options, argv)
    for word in given.words:
        key = word.partition("=")[0].lstrip("+~")
        key = "cache" if key.startswith(("cache.", "cache@")) else key
        if key in OWN_KEYS:
            options.error(f"{word}: every run of the tables has its own; {OWN_KEYS[key]}")
    given.as_published = given.episodes is None
    given.episodes = EPISODES if given.episodes is None else given.episodes
    if given.episodes < 1:
        options.error(f"--episodes: expected at least 1, got {given.episodes}")
    if given.side_episodes is None:
        given.side_episodes = min(SIDE_EPISODES, given.episodes)
    if not 1 <= given.side_episodes <= given.episodes:
        options.error(f"--side-episodes: expected 1..{given.episodes}, the episodes of the baseline")
    if given.first_state < 0:
        options.error(f"--first-state: expected at least 0, got {given.first_state}")
    available = LIBERO_INIT_STATES["official"] - given.first_state
    if "official" in given.placements and given.episodes > available:
        options.error(
            f"--episodes {given.episodes}: from state {given.first_state} on, the official placement has "
            f"{max(available, 0)} states a task; ask for fewer, or for --placements wide"
        )
    return given


def make_tables(given: argparse.Namespace) -> int:
    """Run what is missing, publish what is there; the exit code is that of the first call that failed."""
    for placement in given.placements:
        if not given.publish_only:
            sizes = (given.episodes, given.side_episodes)
            words = given.words, given.arms, given.first_state
            calls = commands(given.prefix, placement, *sizes, *words, as_published=given.as_published)
            if not given.prune:
                check_plan(calls, f"{given.prefix}_{placement}")
            for call in calls:
                code = call_run(call)
                if code:
                    return code
        publish_all(given.prefix, placement, prune=given.prune)
    return 0


def main() -> int:
    """See the module."""
    given = parse()
    return run_script(lambda: make_tables(given))


if __name__ == "__main__":
    sys.exit(main())
