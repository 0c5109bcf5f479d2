"""Batches as a pure function of seed and update: nothing about the order has to be stored to continue a run."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlacache.models.config import VLAConfig
from vlacache.models.heads import normalize
from vlacache.models.prismatic import VLAModel
from vlacache.models.proprio import normalized_state
from vlacache.models.tokenizer import TextTokenizer, prompt_text
from vlacache.train.augment import Jitter, draw_jitter, patches
from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos, aux_view
from vlacache.train.forward import PLACEHOLDER_ID, PROPRIO_ID, ModelInput
from vlacache.train.frames import FrameStore
from vlacache.train.patch_drop import draw_kept, patch_odds
from vlacache.train.schedule import keep_share
from vlacache.train.targets import Targets, action_token_ids

#: Metres that count as 1 in the auxiliary loss.
AUX_METRES = 0.1
#: Largest component of an action, as a share of full speed, with which the hand counts as standing still.
PAUSE_SPEED = 0.1
#: Entry of an action that turns the hand about the vertical, and the command above which the hand counts as turning.
YAW, TURN_SPEED = 5, 0.5
#: Steps around a change of the gripper command that count as one.
GRIP_WINDOW = 2
#: Batches that are prepared ahead.
PREFETCH = 3


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Samples of one pass."""

    inputs: ModelInput
    targets: Targets


class BatchMaker:
    """Makes the micro-batches of an update.

    Args:
        demos: of the model's views. model: with its normalisation. config: of the run. tokenizer: of the model.
    """

    def __init__(
        self, demos: Demos, model: VLAConfig, config: TrainConfig, tokenizer: TextTokenizer, store: FrameStore
    ) -> None:
        self._demos, self._model, self._config, self._store = demos, model, config, store
        self._text = [tokenizer.encode(prompt_text(model.prompt, text))[1:] for text in demos.instructions]
        self._orders: dict[int, NDArray[np.int64]] = {}
        speed = np.abs(demos.action[demos.frame_rows, :-1]).max(axis=1)
        changes = demos.near_grip_change(GRIP_WINDOW)
        is_pause = (speed < PAUSE_SPEED) & ~changes
        self._pauses = np.flatnonzero(is_pause)
        turns = np.abs(demos.action[demos.frame_rows, YAW]) > TURN_SPEED
        times = np.maximum(np.where(changes, config.grip_repeats, 1), np.where(turns, config.turn_repeats, 1))
        self._moves = np.repeat(np.arange(demos.num_frames), times * ~is_pause)
        self._num_pauses = round(config.pause_keep * len(self._pauses))
        if not len(self._moves) + self._num_pauses:
            raise ValueError(f"demos: no frame is left at pause_keep={config.pause_keep}; the hand never moves in them")
        patch_size = model.towers[0].patch_size
        self._odds = patch_odds(store, demos.num_frames, len(demos.views), patch_size)

    def frames(self, step: int) -> NDArray[np.int64]:
        """Training frames of update ``step``: every epoch is a new permutation of all moves and of some pauses.

        A change of the gripper command counts as a move, also where the hand stands still for it.
        """
        size, n = self._config.batch_size, len(self._moves) + self._num_pauses
        places = np.arange(step * size, (step + 1) * size)
        return np.array([self._order(int(e))[i] for e, i in zip(places // n, places % n, strict=True)])

    def _order(self, epoch: int) -> NDArray[np.int64]:
        if epoch not in self._orders:
            self._orders.pop(epoch - 2, None)
            rng = np.random.default_rng([self._config.seed, 0, epoch])
            pauses = rng.choice(self._pauses, self._num_pauses, replace=False)
            self._orders[epoch] = rng.permutation(np.concatenate([self._moves, pauses]))
        return self._orders[epoch]

    def make(self, step: int) -> list[MicroBatch]:
        """The micro-batches of update ``step``, on the CPU."""
        rng = np.random.default_rng([self._config.seed, 1, step])
        frames = self.frames(step)
        per_view = self._model.grid[0] * self._model.grid[1]
        num_kept = max(1, round(keep_share(self._config, step) * per_view))
        size = self._config.micro_batch
        return [self._micro(frames[i : i + size], num_kept, rng) for i in range(0, len(frames), size)]

    def _micro(self, frames: NDArray[np.int64], num_kept: int, rng: np.random.Generator) -> MicroBatch:
        model, demos = self._model, self._demos
        views = len(demos.views)
        patch_size = model.towers[0].patch_size
        kept = draw_kept(self._odds, len(frames), num_kept, rng)
        jitters = [[draw_jitter(self._config, rng) for _ in range(views)] for _ in frames]
        pixels = np.stack(
            [
                [patches(self._store.get(int(f), v), kept[i, v], patch_size, jitters[i][v]) for v in range(views)]
                for i, f in enumerate(frames)
            ]
        )
        actions, valid = demos.chunks(frames, model.chunk_length)
        normalized = normalize(torch.from_numpy(actions), model.action_low, model.action_high)
        token_ids = None
        if model.head == "token_bins":
            token_ids = action_token_ids(normalized[:, 0], model.decoder.vocab_size, model.num_action_bins)
        tail, lengths, text = self._tail(demos.task[demos.frame_rows[frames]], token_ids)
        proprio = self._proprio(frames, rng)
        inputs = ModelInput(torch.from_numpy(pixels), torch.from_numpy(kept), tail, lengths, text, proprio)
        aux = self._aux(frames, jitters)
        return MicroBatch(inputs, Targets(normalized, torch.from_numpy(valid), token_ids, aux))

    def _tail(self, tasks: NDArray[np.int64], token_ids: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """``tail_ids``, ``tail_lengths`` and ``text_lengths`` of ``ModelInput``."""
        slots = [PLACEHOLDER_ID] * self._model.num_action_tokens + [VLAModel.STOP_ID]
        state = [PROPRIO_ID] if self._model.proprio_last else []
        rows = []
        for i, task in enumerate(tasks):
            actions = slots if token_ids is None else token_ids[i, :-1].tolist()
            rows.append(torch.tensor(self._text[task] + state + actions))
        text = torch.tensor([len(self._text[task]) + len(state) for task in tasks])
        lengths = torch.tensor([len(row) for row in rows])
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True), lengths, text

    def _proprio(self, frames: NDArray[np.int64], rng: np.random.Generator) -> Tensor | None:
        model = self._model
        if model.proprio_dim is None:
            return None
        raw = torch.from_numpy(self._demos.state[self._demos.frame_rows[frames]])
        seen = torch.from_numpy(rng.random((len(frames), 1)) >= self._config.proprio_dropout)
        return normalized_state(model, raw) * seen

    def _aux(self, frames: NDArray[np.int64], jitters: list[list[Jitter]]) -> Tensor:
        """float32[B, A] in units of about 1, NaN where unknown; pixel positions follow the shift of their picture."""
        demos, size = self._demos, self._model.towers[0].image_size
        values = demos.aux[frames].copy()
        for column, name in enumerate(demos.aux_names):
            shown = aux_view(name, demos.views)
            if shown is None:
                values[:, column] /= AUX_METRES
                continue
            view = demos.views.index(shown)
            axis = "dx" if name.endswith(".0") else "dy"
            moved = np.array([getattr(row[view], axis) for row in jitters]) / size
            values[:, column] = 2.0 * (values[:, column] - moved) - 1.0
        return torch.from_numpy(values.astype(np.float32))

    def iterate(self, first: int, stop: int) -> Iterator[list[MicroBatch]]:
        """Batches of the updates ``first .. stop - 1`` in order, prepared ahead in a thread."""
        with ThreadPoolExecutor(1, thread_name_prefix="batches") as pool:
            ahead: list[Future[list[MicroBatch]]] = []
            try:
                for step in range(first, stop):
                    while len(ahead) < PREFETCH and step + len(ahead) < stop:
                        ahead.append(pool.submit(self.make, step + len(ahead)))
                    yield ahead.pop(0).result()
            finally:
                for future in ahead:
                    future.cancel()
