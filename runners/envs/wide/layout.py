"""Seeded layouts of ``placement=wide``.

Pure geometry: no simulator, no global state. A layout is a function of ``(stream, task_id, index, seed)`` alone, drawn
from NumPy's PCG64 seeded by ``SeedSequence([stream, task_id, index, seed])``; only ``Generator.random`` and
``standard_normal`` are used. Objects are put down one by one, each drawn until it fits and the instruction stays true.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np

from runners.envs.wide.draft import Draft, WideLayout
from runners.envs.wide.rules import RULES
from runners.suite_names import LIBERO_INIT_STATES

SUITE = "libero_spatial"
NUM_TASKS = 10
#: ``init_index`` of an evaluation runs over 0 .. 999; training layouts come from a stream of their own.
NUM_WIDE_LAYOUTS = LIBERO_INIT_STATES["wide"]
MAX_TRIES = 1000


class Stream(IntEnum):
    """First word of the seed: what layouts of different streams are used for never mixes."""

    EVALUATION = 0
    TRAINING = 1
    DEMONSTRATION = 2  # noise and looks of recorded episodes


def sample_wide_layout(stream: Stream, task_id: int, index: int, seed: int) -> WideLayout:
    """The layout of one episode.

    Args:
        stream: evaluation or training. task_id: 0 .. 9 of libero_spatial. index: number of the layout.
        seed: ``env_seed`` of an evaluation, seed of a collection of demonstrations.

    Raises:
        ValueError: negative numbers or no such task. RuntimeError: no layout in ``MAX_TRIES`` (never seen).
    """
    if not 0 <= task_id < NUM_TASKS or index < 0 or seed < 0:
        raise ValueError(f"expected task 0 .. {NUM_TASKS - 1}, index and seed >= 0, got {task_id}, {index}, {seed}")
    entropy = np.random.SeedSequence([int(stream), task_id, index, seed])
    rng = np.random.Generator(np.random.PCG64(entropy))
    for tries in range(1, MAX_TRIES + 1):
        draft = Draft(rng, task_id)
        # After the rules, so that layouts which were always right stay what they were when this was added.
        if RULES[task_id](draft) and draft.fixtures_are_apart():
            return draft.finish(tries)
    raise RuntimeError(f"no layout of task {task_id} in {MAX_TRIES} tries; index {index}, seed {seed}")
