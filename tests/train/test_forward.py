"""The training pass computes what inference computes, for both models; teacher forcing equals greedy decoding."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.models.twins import loaded, observation, small
from vlacache.core.policies import build_cache_policy
from vlacache.models.config import VLAConfig
from vlacache.models.heads import detokenize
from vlacache.models.policy import CachedPolicy
from vlacache.models.tiny import TINY_MODELS, TINY_OFT, TINY_OPENVLA
from vlacache.models.tokenizer import TinyTokenizer
from vlacache.train.attention import attend
from vlacache.train.augment import Jitter, draw_jitter, patches
from vlacache.train.batches import BatchMaker
from vlacache.train.config import TrainConfig
from vlacache.train.demos import Demos
from vlacache.train.forward import PROPRIO_ID, ModelInput, encode
from vlacache.train.frames import FrameStore
from vlacache.train.targets import TrainNet, action_token_ids, between_tokens, compute_losses, soft_labels, token_loss

PLAIN = TrainConfig(
    batch_size=6, micro_batch=6, samples=60, keep_shares=((0.0, 1.0),), shift_pixels=0, brightness=0.0, contrast=0.0,
    colour=0.0, proprio_dropout=0.0,
)  # fmt: skip


def maker(demos: Demos, model: VLAConfig, config: TrainConfig = PLAIN) -> BatchMaker:
    demos = demos.select(model.views)
    return BatchMaker(demos, model, config, TinyTokenizer(), FrameStore(demos, model.towers[0].image_size))


def frames_of(batch_inputs, config: VLAConfig) -> torch.Tensor:
    """Whole pictures back from patches."""
    (rows, columns), p = config.grid, config.towers[0].patch_size
    b, v = batch_inputs.patches.shape[:2]
    tiles = batch_inputs.patches.view(b, v, rows, columns, 3, p, p).permute(0, 1, 4, 2, 5, 3, 6)
    return tiles.reshape(b, v, 3, rows * p, columns * p).float()


def test_all_patches_give_what_the_dense_model_gives(demos: Demos) -> None:
    config = small(TINY_OFT)
    model = loaded(config).model
    micro = maker(demos, config).make(0)[0].inputs
    assert micro.text_lengths.min() < micro.text_lengths.max(), "the batch should mix prompts of different length"
    ours = model.head(encode(model, micro).rows)
    frames = frames_of(micro, config)
    for i, length in enumerate(micro.text_lengths.tolist()):
        ids = torch.cat([torch.tensor([1]), micro.tail_ids[i, :length]])
        theirs = model(frames[i : i + 1], ids[None], micro.proprio[i : i + 1])
        assert torch.allclose(ours[i], theirs[0], atol=1e-5)


@pytest.mark.parametrize("proprio_last", [False, True])
def test_first_token_of_every_prompt_is_the_dense_models(demos: Demos, proprio_last: bool) -> None:
    config = replace(small(TINY_OPENVLA), proprio_last=proprio_last)
    model = loaded(config).model
    with torch.no_grad():
        model.proprio.fc2.weight.mul_(100.0)  # so that the state matters
    micro = maker(demos, config).make(0)[0].inputs
    ours = model.head(encode(model, micro).rows[:, 0])
    frames = frames_of(micro, config)
    assert micro.text_lengths.min() < micro.text_lengths.max()
    for i, length in enumerate(micro.text_lengths.tolist()):
        ids = torch.cat([torch.tensor([1]), micro.tail_ids[i, : length - proprio_last]])
        theirs = model(frames[i : i + 1], ids[None], micro.proprio[i : i + 1])
        assert torch.allclose(ours[i], theirs[0], atol=1e-5)
        other = model(frames[i : i + 1], ids[None], micro.proprio[i : i + 1] + 0.5)
        assert not torch.allclose(ours[i], other[0], atol=1e-3)


def test_dropped_patches_are_gone_and_the_others_keep_their_place(demos: Demos) -> None:
    config = small(TINY_OFT)
    model = loaded(config).model
    half = replace(PLAIN, keep_shares=((0.0, 0.5),))
    micro = maker(demos, config, half).make(0)[0].inputs
    assert micro.kept.shape[-1] == 8
    base = encode(model, micro).rows
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    shuffled = replace(micro, patches=micro.patches[:, :, order], kept=micro.kept[:, :, order])
    assert torch.allclose(base, encode(model, shuffled).rows, atol=1e-5), "a patch is where its number says"
    moved = replace(micro, kept=(micro.kept + 1) % 16)
    assert not torch.allclose(base, encode(model, moved).rows, atol=1e-3)


@pytest.mark.parametrize("proprio_last", [False, True])
def test_teacher_forcing_equals_greedy_decoding(proprio_last: bool) -> None:
    """The tokens that inference decodes are the most likely ones of the training pass that is given them."""
    config = replace(small(TINY_OPENVLA), proprio_last=proprio_last)
    twin = loaded(config, seed=4)
    with torch.no_grad():
        twin.model.head.proj.weight[: twin.model.head.first_bin()] = -1.0  # only action ids can win
        twin.model.head.proj.weight[twin.model.head.first_bin() :].mul_(10.0)
        twin.model.embed.weight.mul_(60.0)  # so that the token before matters
    policy = CachedPolicy(twin, build_cache_policy("none"))
    policy.reset(0)
    seen = observation()
    frames, text_ids, proprio = policy._preprocess(seen)
    layout = twin.model.layout(text_ids.numel())
    chunk = policy.infer(seen)
    inputs = _teacher_forced(config, frames, text_ids, proprio, None)
    ids: list[int] = []
    for _ in range(config.action_dim):
        inputs = _teacher_forced(config, frames, text_ids, proprio, ids)
        ids.append(int(twin.model.head(encode(twin.model, inputs).rows)[0, len(ids)].argmax()))
    inputs = _teacher_forced(config, frames, text_ids, proprio, ids)
    forced = twin.model.head(encode(twin.model, inputs).rows)[0].argmax(-1)
    assert forced.tolist() == ids and len(set(ids)) > 1
    values = detokenize(np.array(ids), config.decoder.vocab_size, config.num_action_bins)
    assert np.allclose(chunk.actions[0], values, atol=1e-6)
    assert layout.num_tokens == 1 + 16 + 1 + text_ids.numel() - 1
    assert (layout.positions("proprio")[0] == layout.num_tokens - 1) == proprio_last


def _teacher_forced(
    config: VLAConfig, frames: torch.Tensor, text_ids: torch.Tensor, proprio: torch.Tensor, ids: list[int] | None
):
    grid = config.grid[0] * config.grid[1]
    kept = np.arange(grid)
    same = Jitter(0, 0, np.tile(np.arange(256, dtype=np.uint8), (3, 1)))
    pixels = [patches(f.permute(1, 2, 0).numpy(), kept, config.towers[0].patch_size, same) for f in frames]
    answers = ((ids or []) + [700] * config.action_dim)[: config.action_dim - 1]
    state = [PROPRIO_ID] if config.proprio_last else []
    tail = torch.cat([text_ids[1:], torch.tensor(state + answers)])
    return ModelInput(
        torch.from_numpy(np.stack(pixels))[None],
        torch.from_numpy(kept).expand(1, len(frames), -1),
        tail[None],
        torch.tensor([len(tail)]),
        torch.tensor([len(text_ids) - 1 + len(state)]),
        proprio[None],
    )


@pytest.mark.parametrize("kind", ["none", "keys", "causal"])
def test_blocked_attention_has_the_values_and_gradients_of_torch(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr("vlacache.train.attention.BLOCK_ENTRIES", 2 * 3 * 20 * 20)  # two samples at a time, and a rest
    torch.manual_seed(0)
    q, k, v = (torch.randn(5, 20, 3, 16, dtype=torch.bfloat16, requires_grad=True) for _ in range(3))
    keys = torch.arange(20) < torch.tensor([20, 15, 18, 16, 17])[:, None]
    allowed = {"none": None, "keys": keys[:, None], "causal": torch.ones(20, 20).tril().bool()[None]}[kind]
    grad = torch.randn(5, 20, 48)
    ours = attend(q, k, v, allowed, 15 if kind == "keys" else 0)
    our_grads = torch.autograd.grad(ours, (q, k, v), grad.bfloat16())
    q32, k32, v32 = (t.detach().float().requires_grad_() for t in (q, k, v))
    mask = None if allowed is None else allowed[:, None]
    exact = F.scaled_dot_product_attention(*(t.transpose(1, 2) for t in (q32, k32, v32)), attn_mask=mask)
    exact = exact.transpose(1, 2).flatten(2)
    assert torch.allclose(ours.float(), exact, atol=0.02)
    for a, b in zip(our_grads, torch.autograd.grad(exact, (q32, k32, v32), grad), strict=True):
        assert torch.allclose(a.float(), b, atol=0.05, rtol=0.05)


def test_labels_between_the_bins_round_to_the_bin() -> None:
    values = torch.linspace(-1, 1, 1001)
    assert (between_tokens(values, 768, 256) - action_token_ids(values, 768, 256)).abs().max() <= 0.5 + 1e-4


def test_median_labels_lead_the_likeliest_bin_to_the_median_and_plain_ones_to_the_mode() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(1, 7, 256)
    draws = torch.tensor([0.0] * 8 + [0.4] * 3 + [0.5] * 3 + [0.6] * 3 + [0.7] * 3)  # mode 0, median 0.4 .. 0.5
    likeliest = {}
    for median in (False, True):
        net = TrainNet(loaded(TINY_OPENVLA).model.requires_grad_(True), median=median)
        assert net.model.head.proj.in_features == hidden.shape[-1]
        learnt = [*net.model.head.parameters(), *(net.median.parameters() if median else ())]
        optimizer = torch.optim.Adam(learnt, lr=2e-3)
        actions = draws[:, None].expand(-1, 7)
        ids = action_token_ids(actions, 768, 256)
        for _ in range(400):
            optimizer.zero_grad()
            action, _, off = token_loss(net, hidden.expand(len(draws), -1, -1), actions, ids, bin_sigma=3.0)
            (action + off).backward()
            optimizer.step()
        best = net.model.head(hidden)[0].argmax(-1)
        likeliest[median] = detokenize(best.numpy(), 768, 256)
    np.testing.assert_allclose(likeliest[False], 0.0, atol=0.03)
    assert ((likeliest[True] > 0.35) & (likeliest[True] < 0.55)).all(), likeliest[True]


def test_bin_labels_are_undone_by_the_detokenizer() -> None:
    values = torch.linspace(-1, 1, 1001)
    ids = action_token_ids(values, 768, 256)
    assert ids.min() >= 768 - 256 and ids.max() == 767
    back = detokenize(ids.numpy(), 768, 256)
    assert np.abs(back - values.numpy()).max() <= 1.0 / 255 + 1e-9


@pytest.mark.parametrize("name", sorted(TINY_MODELS))
def test_every_weight_gets_a_gradient(demos: Demos, name: str) -> None:
    config = small(TINY_MODELS[name])
    model = loaded(config).model.requires_grad_(True)
    net = TrainNet(model, demos.select(config.views).aux_names, median=name == "tiny_openvla")
    micro = maker(demos, config).make(0)[0]
    compute_losses(net, micro.inputs, micro.targets, TrainConfig(aux_weight=0.5, pointing_weight=0.2)).total.backward()
    idle = [n for n, p in net.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not idle


def test_augmentation_moves_pixels_and_targets_together(demos: Demos) -> None:
    config = small(TINY_OFT)
    plain, shifted = maker(demos, config), maker(demos, config, replace(PLAIN, shift_pixels=5))
    still, moved = plain.make(3)[0], shifted.make(3)[0]
    a, b = (frames_of(m.inputs, config)[:, 0, 0] > 150 for m in (still, moved))
    for i in range(len(a)):
        centres = [torch.nonzero(x[i]).float().mean(0).flip(0) for x in (a, b)]
        column = demos.aux_names.index("aux.agentview.target.0")
        targets = [m.targets.aux[i, column : column + 2] for m in (still, moved)]
        assert torch.allclose((centres[1] - centres[0]) / 28, targets[1] - targets[0], atol=0.06)
    assert not torch.equal(still.targets.aux.nan_to_num(), moved.targets.aux.nan_to_num())


def test_colour_tables_stay_near_the_identity() -> None:
    rng = np.random.default_rng(0)
    tables = np.stack([draw_jitter(TrainConfig(), rng).table.astype(int) for _ in range(50)])
    assert np.abs(tables - np.arange(256)).max() < 80 and (np.diff(tables, axis=-1) >= 0).all()
    assert tables.std(axis=0).max() > 3


@pytest.mark.parametrize("sigma", [0.0, 0.75, 3.0])
def test_soft_labels_are_a_distribution_around_the_label(sigma: float) -> None:
    ids = torch.tensor([[512, 513, 640, 767]])
    labels = soft_labels(ids, 768, 256, sigma)
    assert labels.shape == (1, 4, 768)
    torch.testing.assert_close(labels.sum(-1), torch.ones(1, 4))
    assert torch.equal(labels.argmax(-1), ids)
    assert labels[..., :512].abs().max() == 0.0
    spread = (labels[0, 2] * (torch.arange(768) - 640.0) ** 2).sum().sqrt()
    assert float(spread) == pytest.approx(sigma, rel=0.02)
