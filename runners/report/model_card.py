"""The model card of a checkpoint: README.md from a JSON of facts; by hand are only the words on known failures."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runners.controls.replay import POOL
from runners.journal import read_episodes, read_run
from runners.report.episode_rules import episode_rules
from runners.report.planned import planned_pairs
from runners.report.stats import wilson_interval
from runners.report.words import ranges

CARD_FILE, WEIGHTS_FILE, TRAINING_FILE = "card.json", "model.safetensors", "training.json"


def evaluation_of_run(run_dir: Path, arm: str = "baseline") -> dict[str, Any]:
    """Successes per task of one arm of a run, with what they were measured on.

    Raises:
        ValueError: the run has no finished episode of that arm, or planned ones that it has not run.
    """
    run = read_run(run_dir)
    last = {record.key.slug: record for record in read_episodes(run_dir) if record.arm == arm}
    records = [record for record in last.values() if record.status != "error"]
    if not records:
        raise ValueError(f"{run_dir.name}: expected finished episodes of arm {arm!r}, got none")
    planned = planned_pairs(asdict(run)).starts or ()
    missing = set(planned) - {(record.task_id, record.init_index) for record in last.values()}
    if missing:
        raise ValueError(
            f"{run_dir.name}: expected all {len(planned)} planned episodes of arm {arm!r}, got "
            f"{len(planned) - len(missing)} of them; finish the run with its own command"
        )
    tasks: dict[int, dict[str, Any]] = {}
    for record in records:
        row = tasks.setdefault(record.task_id, {"instruction": record.instruction, "successes": 0, "trials": 0})
        row["successes"] += record.status == "success"
        row["trials"] += 1
    return {
        "suite": run.suite,
        "placement": records[0].placement,
        "assets": full_assets_label(run.assets),
        "rules": {"reseed": records[0].reseed, **episode_rules(run.config)},
        "model": run.model,
        "checkpoint": run.checkpoint,
        "init_indices": sorted({record.init_index for record in records}),
        "env_seeds": sorted({record.env_seed for record in records}),
        "errors": len(last) - len(records),
        "tasks": {str(task): tasks[task] for task in sorted(tasks)},
    }


def full_assets_label(assets: Mapping[str, str]) -> str:
    """``builtin@1a2b3c4d5e6f7a8b/fast``: the whole digest, where a table shows eight of its digits."""
    return f"{assets.get('source')}@{assets.get('digest')}/{assets.get('render')}"


def write_model_card(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``card.json`` and ``README.md`` beside the weights.

    Args:
        folder: a checkpoint of ``vlacache.train.export``. facts: ``evaluations`` and ``controls`` (lists of
            ``evaluation_of_run``; a control also has ``name``), ``known_failures`` (list of sentences).

    Raises:
        ValueError: the weights are not those of ``training.json``, an evaluation or the blind control is of other
            weights, or a control is none or stands beside no evaluation by the same rules.
    """
    training = json.loads((folder / TRAINING_FILE).read_text(encoding="utf-8"))
    digest = hashlib.sha256((folder / WEIGHTS_FILE).read_bytes()).hexdigest()
    if training["sha256"] != digest:
        raise ValueError(
            f"{folder.name}: expected weights {training['sha256'][:12]} (training.json), got {digest[:12]}"
        )
    for evaluation in facts.get("evaluations", ()):
        _check_weights("evaluation", evaluation, digest)
    for control in facts.get("controls", ()):
        _check_control(control, facts.get("evaluations", ()), digest)
    card = {**facts, "training": training, "sha256": digest, "num_parameters": count_parameters(folder / WEIGHTS_FILE)}
    (folder / CARD_FILE).write_text(json.dumps(card, indent=2) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(render_card(card), encoding="utf-8")


def _check_weights(what: str, measured: Mapping[str, Any], digest: str) -> None:
    if not str(measured["checkpoint"]).endswith(f"@{digest[:12]}"):
        raise ValueError(f"{what}: expected weights @{digest[:12]}, got {measured['checkpoint']}")


def _check_control(control: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]], digest: str) -> None:
    """A control is what its name says, of these weights where it has any, and beside an evaluation of its kind."""
    name = control["name"]
    if control["model"] != name:
        raise ValueError(f"control {name}: expected a run of model={name}, got model={control['model']}")
    if name == "blind":
        _check_weights("control blind", control, digest)
    keys = ("suite", "placement", "assets")
    wanted = {tuple(evaluation[key] for key in keys) for evaluation in evaluations}
    own = tuple(control[key] for key in keys)
    if own not in wanted:
        listing = "; ".join(map(", ".join, sorted(wanted))) or "no evaluation"
        raise ValueError(f"control {name}: expected suite, placement and assets of {listing}, got {', '.join(own)}")
    beside = [evaluation for evaluation in evaluations if tuple(evaluation[key] for key in keys) == own]
    if not any(evaluation.get("rules") == control.get("rules") for evaluation in beside):
        rules = "; ".join(_rules(evaluation) for evaluation in beside)
        raise ValueError(f"control {name}: expected the rules of its evaluation ({rules}), got {_rules(control)}")


def count_parameters(weights: Path) -> int:
    """Numbers in a safetensors file, from its header alone: its length as 8 bytes, then JSON with every shape."""
    with weights.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")


def render_card(card: Mapping[str, Any]) -> str:
    """Markdown."""
    training = card["training"]
    stages = [*training.get("stages", ()), training]
    lines = [
        f"# {training['config']['model']}",
        "",
        "A small vision-language-action policy, trained by this project's own code from demonstrations of a scripted "
        "expert in simulation. It is a test bed for caches, not a robot controller.",
        "",
        "| | |",
        "|---|---|",
        f"| weights (sha256) | `{card['sha256']}` |",
        f"| parameters | {card['num_parameters']:,} |",
        f"| updates, last run and all | {training['step']:,}, {sum(stage['step'] for stage in stages):,} |",
        *_validation(training),
        "",
        *_stages(stages),
        *_collections(stages),
    ]
    for evaluation in card.get("evaluations", ()):
        lines += ["", *_evaluation(evaluation)]
    lines += ["", *_controls(card.get("controls", ()))]
    failures = card.get("known_failures", ())
    lines += ["", "## Known failures", "", *([f"- {text}" for text in failures] or ["None recorded."])]
    return "\n".join(lines) + "\n"


def _stages(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """One row a training run; each begins with the averaged weights of the one before."""
    lines = [
        "## Training",
        "",
        f"{len(stages)} {'run' if len(stages) == 1 else 'runs, each from the averaged weights of the one before'}; "
        "every number is in `training.json`.",
        "",
        "| run | begins from | demonstrations | updates | samples seen of planned | batch | learning rate | seed "
        "| precision |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for index, stage in enumerate(stages, start=1):
        demos, numbers = stage["demos"], stage["config"]
        begin = "random weights" if stage["init_from"] is None else f"`{stage['init_from']}`"
        begin += ", vision alone" if numbers.get("init_parts") == "vision" else ""
        lines.append(
            f"| {index} | {begin} | {_count_demos(stage)}, {demos['frames']} frames, {demos['tasks']} tasks "
            f"(digest `{demos['digest']}`) | {stage['step']} | {stage['samples']} of {numbers['samples']} "
            f"| {numbers['batch_size']} | {numbers['learning_rate']} | {numbers['seed']} | {stage['dtype']} |"
        )
    return lines


def _count_demos(stage: Mapping[str, Any]) -> str:
    """Episodes as the run counted them; a folder that it listed several times counts as often."""
    counted = stage["demos"]["episodes"]
    once = sum(collection["episodes"] or 0 for collection in stage.get("collections", ()))
    return f"{counted} episodes" + (f" ({once} in the collections below)" if 0 < once != counted else "")


def _collections(stages: Sequence[Mapping[str, Any]]) -> list[str]:
    """One row a collection of demonstrations, with the runs that trained on it; nothing where none is known."""
    rows: dict[str, list[str]] = {}
    for index, stage in enumerate(stages, start=1):
        for collection in stage.get("collections", ()):
            rows.setdefault(_collection(collection), []).append(str(index))
    if not rows:
        return []
    unknown = [str(index) for index, stage in enumerate(stages, start=1) if not stage.get("collections")]
    note = f" Not recorded for {'run' if len(unknown) == 1 else 'runs'} {', '.join(unknown)}." if unknown else ""
    return [
        "",
        "Where the demonstrations come from; a folder that a run lists several times counts as often above, and once "
        f"here.{note}",
        "",
        "| runs | suite | placement | tasks | seed | led by | jitter | assets | episodes |",
        "|---|---|---|---|---|---|---|---|---|",
        *(f"| {', '.join(runs)} | {row} |" for row, runs in rows.items()),
    ]


def _collection(collection: Mapping[str, Any]) -> str:
    jitter = collection.get("recording", {}).get("jitter", ())
    words = (
        collection["suite"],
        collection["placement"],
        ranges(collection["tasks"]),
        collection["seed"],
        collection.get("novice") or "nothing",
        ", ".join(jitter) or "none",
        collection["assets"],
        collection["episodes"],
    )
    return " | ".join(map(str, words))


def _validation(training: Mapping[str, Any]) -> list[str]:
    if "validation" not in training:
        return []
    success = training["validation"]["success"]
    return [f"| chosen by | closed-loop success on validation episodes, {success:.1%}; not those of the tables below |"]


def _evaluation(evaluation: Mapping[str, Any]) -> list[str]:
    title = f"## {evaluation['suite']}, {evaluation['placement']} placement"
    errors = f" {evaluation['errors']} episodes ended in an error and are left out." if evaluation["errors"] else ""
    rules = f"; {_rules(evaluation)}" if "rules" in evaluation else ""
    note = f"No cache, assets {evaluation['assets']}, {_episodes(evaluation)}{rules}; Wilson 95 % intervals.{errors}"
    rows = [f"| {task} | {row['instruction']} | {_rate(row)} |" for task, row in evaluation["tasks"].items()]
    header = ["| task | instruction | success |", "|---|---|---|"]
    return [title, "", note, "", *header, *rows, f"| all | | {_rate(_sum(evaluation))} |"]


def _episodes(measured: Mapping[str, Any]) -> str:
    """``states 0 to 4, 7; seed 0``."""
    states, seeds = measured["init_indices"], measured["env_seeds"]
    plural = ["" if len(numbers) == 1 else "s" for numbers in (states, seeds)]
    return f"state{plural[0]} {ranges(states)}; seed{plural[1]} {', '.join(map(str, seeds))}"


def _rules(measured: Mapping[str, Any]) -> str:
    """``max_steps 220, reseed episode, success_rule first``: those that the suite has."""
    rules = measured.get("rules") or {}
    return ", ".join(f"{key} {value}" for key, value in sorted(rules.items()) if value is not None) or "not recorded"


def _controls(controls: Sequence[Mapping[str, Any]]) -> list[str]:
    head = ["## Blind controls", ""]
    if not controls:
        return [*head, "Not measured."]
    rows = [
        f"| {c['name']} | {c['suite']} | {c['placement']} | {c['assets']} | {_episodes(c)} | {_rate(_sum(c))} |"
        for c in controls
    ]
    header = ["| control | suite | placement | assets | episodes | success |", "|---|---|---|---|---|---|"]
    return [*head, *header, *rows, *_replay_note(controls)]


def _replay_note(controls: Sequence[Mapping[str, Any]]) -> list[str]:
    """Episodes of a task that play the same recording are no independent trials, as its interval takes them to be."""
    shown = [control for control in controls if control["name"] == "replay"]
    if all(row["trials"] <= POOL for control in shown for row in control["tasks"].values()):
        return []
    most = max(sum(min(POOL, row["trials"]) for row in control["tasks"].values()) for control in shown)
    return [
        "",
        f"`replay` plays one of {POOL} recordings of each task, so its episodes are at most {most} distinct sequences "
        "of actions, and its interval is narrower than so few can give.",
    ]


def _sum(evaluation: Mapping[str, Any]) -> dict[str, int]:
    rows = evaluation["tasks"].values()
    return {key: sum(row[key] for row in rows) for key in ("successes", "trials")}


def _rate(row: Mapping[str, Any]) -> str:
    interval = wilson_interval(row["successes"], row["trials"])
    assert interval is not None  # a row exists only for finished episodes
    rate = row["successes"] / row["trials"]
    return f"{row['successes']}/{row['trials']} = {rate:.1%} [{interval.low:.0%}, {interval.high:.0%}]"
