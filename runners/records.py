"""Record types, written once and read for ever: no torch, no simulator, no Hydra.

``results/<run_id>/`` holds ``run.json`` (RunRecord), ``config.yaml``, ``episodes.jsonl`` (one EpisodeRecord a line,
appended and fsynced) and ``steps/<episode key>.parquet`` (StepRecord rows, written atomically).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from vlacache.types import InferenceStats

SCHEMA_VERSION = 1

Arm = Literal["baseline", "policy"]
Status = Literal["success", "failure", "error"]

#: Columns of a step row that are only set on the step at which the policy was called.
CALL_COLUMNS: tuple[str, ...] = tuple(f.name for f in fields(InferenceStats))


@dataclass(frozen=True, slots=True)
class EpisodeKey:
    """What makes an episode the same episode in another run."""

    arm: Arm
    cache: str
    suite: str
    task_id: int
    init_index: int
    env_seed: int
    placement: str

    @property
    def slug(self) -> str:
        """File-name form: ``policy-adaptive-libero_spatial-t03-i007-s0-official``."""
        return (
            f"{self.arm}-{self.cache}-{self.suite}-t{self.task_id:02d}-i{self.init_index:03d}"
            f"-s{self.env_seed}-{self.placement}"
        )


@dataclass(frozen=True, slots=True)
class EpisodeRecord:
    """One finished episode. ``status`` error is neither success nor failure and is counted apart.

    Attributes:
        first_success_step: env step at which the goal first held, or None.
        reused_from: run id when a finished baseline was copied in, else None.
        assets: ``AssetProvenance`` as a dict. attempt: 1 for the first try, +1 after each error or kill.
        wall_s, sim_s, model_s: seconds of the whole episode, inside the simulator, inside the policy.
        pair_order: 0 when this arm ran first in its pair, 1 when second.
        reseed: ``episode``, or ``task`` when the episode depends on those before it in its task.
        differs_from: run id of a shared baseline in which this episode ended otherwise, else None.
        setting, stand_ins: see ``EnvSpec``.
    """

    run_id: str
    arm: Arm
    cache: str
    suite: str
    task_id: int
    init_index: int
    env_seed: int
    placement: str
    status: Status
    first_success_step: int | None
    num_steps: int
    num_policy_calls: int
    reused_from: str | None
    error: str | None
    assets: dict[str, str]
    attempt: int
    instruction: str = ""
    wall_s: float = 0.0
    sim_s: float = 0.0
    model_s: float = 0.0
    pair_order: int = 0
    reseed: str = "episode"
    differs_from: str | None = None
    setting: str | None = None
    stand_ins: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION

    @property
    def key(self) -> EpisodeKey:
        """Identity of the episode across runs, resumes and shards."""
        return EpisodeKey(
            self.arm, self.cache, self.suite, self.task_id, self.init_index, self.env_seed, self.placement
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready dict."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StepRecord:
    """One env step; ``call`` and ``trace`` are None on steps that executed a queued action of a chunk.

    Attributes:
        step: 0-based index of the executed action. call_index: 0-based policy call it came from.
        action: the executed action, as sent to the simulator. success: goal predicate after the step.
        sim_ms: time inside ``env.step``. render_ms: time inside ``env.observe`` for the policy.
        call: stats of the policy call. reused_layers / static / relevant: ``CacheTrace`` of that call as bytes
            (uint8[P] each), views and grid in ``run.json``.
        object_patches: patches of that call's picture that show a movable object, where the simulator tells.
        object_static: how many of them the cache policy called static.
    """

    step: int
    call_index: int
    action: list[float]
    proprio: list[float] | None
    success: bool
    sim_ms: float
    render_ms: float
    call: InferenceStats | None = None
    reused_layers: bytes | None = None
    static: bytes | None = None
    relevant: bytes | None = None
    object_patches: int | None = None
    object_static: int | None = None


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What is needed to say what a run was, years later.

    Attributes:
        config: of all episodes in the folder; ``suite.episodes_per_task`` is the largest that was asked for.
        git_commit, created_at: of the process that began the run.
        grown: one entry each time that the run was made larger: ``episodes_per_task`` before, ``git_commit`` and
            ``at`` of the process that made it larger. Empty for a run that keeps its first size.
        trained_on: suites that the weights were made for; empty where that is not known.
    """

    run_id: str
    suite: str
    model: str
    weights: str
    cache: str
    assets: dict[str, str]
    device: str
    config: dict[str, Any]
    config_hash: str
    git_commit: str | None
    versions: dict[str, str]
    created_at: str
    checkpoint: str | None = None
    dtype: str = "float32"
    views: list[str] = field(default_factory=list)
    grid: list[int] = field(default_factory=list)
    num_layers: int = 0
    resolved_cache: dict[str, Any] = field(default_factory=dict)
    grown: list[dict[str, Any]] = field(default_factory=list)
    trained_on: list[str] = field(default_factory=list)
    schema_version: int = SCHEMA_VERSION
