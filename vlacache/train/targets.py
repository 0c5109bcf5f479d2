"""What a batch is trained towards, and the losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlacache.models.config import VLAConfig
from vlacache.models.heads import L1ChunkHead
from vlacache.models.prismatic import VLAModel
from vlacache.models.proprio import state_of
from vlacache.train.config import TrainConfig
from vlacache.train.forward import ModelInput, encode
from vlacache.train.pointing import PointingHead, points_of

#: Of the median head's error in the total loss: about as large as the cross entropy of the bins.
MEDIAN_WEIGHT = 5.0
#: Of the cross entropy where the median head gives its labels. At full weight the pull towards labels that still wander
#: drowns the error they are read from: a fresh decoder stands at 0.40 after 5,600 samples, with this weight at 0.32
#: after 4,800 (docs/training.md).
LABEL_WEIGHT = 0.1


@dataclass(frozen=True, slots=True)
class Targets:
    """Labels of B samples.

    Attributes:
        actions: float32[B, T, dim] in [-1, 1]. valid: bool[B, T], False after the end of the episode.
        token_ids: int64[B, dim] action tokens (token_bins), or None. aux: float32[B, A], NaN where unknown.
    """

    actions: Tensor
    valid: Tensor
    token_ids: Tensor | None
    aux: Tensor


def action_token_ids(actions: Tensor, vocab_size: int, num_bins: int) -> Tensor:
    """Values in [-1, 1] -> token ids by OpenVLA's rule: the value's bin, counted down from the end of the vocabulary.

    Args:
        actions: float32[...].

    Returns:
        int64[...] in ``vocab_size - num_bins .. vocab_size - 1``.
    """
    edges = np.linspace(-1.0, 1.0, num_bins)
    return torch.from_numpy(vocab_size - np.digitize(actions.numpy().astype(np.float64), edges))


def between_tokens(actions: Tensor, vocab_size: int, num_bins: int) -> Tensor:
    """``action_token_ids`` without the rounding: float32[...], at most half a token from it."""
    # Half a bin, because an id stands for the range above its lower edge.
    ids = vocab_size - 0.5 - (actions + 1.0) * 0.5 * (num_bins - 1)
    return ids.clamp(vocab_size - num_bins, vocab_size - 1)


def soft_labels(token_ids: Tensor, vocab_size: int, num_bins: int, sigma: float) -> Tensor:
    """The distribution over the vocabulary that a token is trained towards.

    A Gaussian over the neighbouring bins tells that near bins are nearly right (HL-Gauss, Imani and White, 2018);
    the most probable token stays the label itself.

    Args:
        token_ids: action tokens [...], int64 or, for a label between two bins, float32. sigma: in bins; 0 for the
            nearest label alone.

    Returns:
        float32[..., vocab], sums of 1; zero outside the action tokens.
    """
    if sigma == 0.0:
        return F.one_hot(token_ids.round().long(), vocab_size).float()
    ids = torch.arange(vocab_size, device=token_ids.device)
    exponent = -0.5 * ((ids - token_ids[..., None]) / sigma) ** 2
    return exponent.masked_fill(ids < vocab_size - num_bins, -torch.inf).softmax(dim=-1)


class AuxHead(nn.Module):
    """Numbers read from the rows that also make the action: where gripper and objects are. Never saved with a model."""

    def __init__(self, hidden_size: int, num_outputs: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(hidden_size, hidden_size)
        self.fc2 = nn.Linear(hidden_size, num_outputs)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, D] -> [B, A]."""
        return self.fc2(F.gelu(self.fc1(hidden)))


class TrainNet(nn.Module):
    """A model with its auxiliary heads, for auxiliary targets of these names.

    ``median`` adds a head for the median of each action entry: trained with the absolute error, whose best answer is
    the median, and giving the labels of the bins. It is not saved with the model.
    """

    def __init__(self, model: VLAModel, aux_names: Sequence[str] = (), *, median: bool = False) -> None:
        super().__init__()
        self.model = model
        width, points = model.config.decoder.hidden_size, points_of(aux_names, model.config.views)
        self.median = AuxHead(width, 1) if median else None
        self.aux = AuxHead(width, len(aux_names)) if aux_names else None
        self.pointing = PointingHead(width, points) if points else None


@dataclass(frozen=True, slots=True)
class Losses:
    """Means over a batch. ``error`` is the mean absolute error of the normalised action (of the best bin).

    ``median`` is that of the median head.
    """

    total: Tensor
    action: Tensor
    aux: Tensor
    pointing: Tensor
    error: Tensor
    median: Tensor


def compute_losses(net: TrainNet, inputs: ModelInput, targets: Targets, config: TrainConfig) -> Losses:
    """One pass."""
    encoded = encode(net.model, inputs)
    hidden = encoded.rows
    action, error, median = _action_loss(net, hidden, targets, config.bin_sigma)
    aux = pointing = torch.zeros((), device=hidden.device)
    if net.aux is not None:
        # Later rows of an autoregressive model have seen the label.
        read = hidden.mean(dim=1) if isinstance(net.model.head, L1ChunkHead) else hidden[:, 0]
        known = ~targets.aux.isnan()
        difference = F.smooth_l1_loss(net.aux(read).float(), targets.aux.nan_to_num(), reduction="none", beta=0.1)
        aux = (difference * known).sum() / known.sum().clamp_min(1)
        if net.pointing is not None and config.pointing_weight:
            pointing = net.pointing.loss(read, encoded.patches, inputs.kept, targets.aux, net.model.config.grid)
    imitation = action if net.median is None else LABEL_WEIGHT * action + MEDIAN_WEIGHT * median
    total = imitation + config.aux_weight * aux + config.pointing_weight * pointing
    return Losses(total, action, aux, pointing, error, median)


def _action_loss(net: TrainNet, hidden: Tensor, targets: Targets, bin_sigma: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss of the action head, error of its answer and loss of the median head."""
    if isinstance(net.model.head, L1ChunkHead):
        difference = (net.model.head(hidden).float() - targets.actions).abs().mean(dim=-1)
        loss = (difference * targets.valid).sum() / targets.valid.sum()
        return loss, loss.detach(), torch.zeros((), device=hidden.device)
    if targets.token_ids is None:
        raise ValueError("targets: expected token_ids for a token_bins head, got None")
    return token_loss(net, hidden, targets.actions[:, 0], targets.token_ids, bin_sigma)


def token_loss(
    net: TrainNet, hidden: Tensor, actions: Tensor, token_ids: Tensor, bin_sigma: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Cross entropy of the bins, error of the likeliest bin and error of the median head (0 without one).

    Args:
        hidden: [B, dim, D]. actions: float32[B, dim] normalised. token_ids: int64[B, dim], their bins.
    """
    config, logits = net.model.config, net.model.head(hidden).float()
    vocab_size, num_bins = config.decoder.vocab_size, config.num_action_bins
    label, median_error = token_ids, torch.zeros((), device=hidden.device)
    if net.median is not None:
        median = net.median(hidden)[..., 0].float()
        median_error = (median - actions.clamp(-1.0, 1.0)).abs().mean()
        label = between_tokens(median.detach(), vocab_size, num_bins)
    labels = soft_labels(label, vocab_size, num_bins, bin_sigma)
    loss = F.cross_entropy(logits.flatten(0, 1), labels.flatten(0, -2))
    bins_off = (logits.detach().argmax(-1) - token_ids).abs().float().mean()
    return loss, bins_off * 2.0 / num_bins, median_error


def quantile_bounds(values: np.ndarray, low: float = 0.01, high: float = 0.99) -> tuple[tuple[float, ...], ...]:
    """Per column the two quantiles; a column that hardly moves gets a range of 0.01 around its value."""
    lower, upper = np.quantile(values.astype(np.float64), [low, high], axis=0)
    narrow = upper - lower < 1e-2
    middle = (lower + upper) / 2.0
    lower, upper = np.where(narrow, middle - 5e-3, lower), np.where(narrow, middle + 5e-3, upper)
    return tuple(lower.round(6).tolist()), tuple(upper.round(6).tolist())


def with_normalisation(config: VLAConfig, state: np.ndarray, action: np.ndarray) -> VLAConfig:
    """The config with the quantiles of the demos; the gripper, which is -1 or +1, keeps its range."""
    low, high = quantile_bounds(action)
    low, high = (*low[:-1], -1.0), (*high[:-1], 1.0)
    if config.proprio_dim is None:
        return replace(config, action_low=low, action_high=high)
    proprio_low, proprio_high = quantile_bounds(state_of(config, torch.from_numpy(state)).numpy())
    return replace(config, action_low=low, action_high=high, proprio_low=proprio_low, proprio_high=proprio_high)
