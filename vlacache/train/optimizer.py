"""AdamW, or Muon for the matrices of the blocks and AdamW for the rest."""

from __future__ import annotations

import re
from concurrent.futures import Executor

import torch
from torch import Tensor, nn

from vlacache.train.config import TrainConfig

#: The matrices that Muon takes: those of transformer blocks. Embeddings, projections into and out of the network and
#: vectors stay with AdamW (Jordan et al., 2024, kellerjordan.github.io/posts/muon).
_BLOCK_MATRIX = re.compile(r"(decoder\.layers|vit\.blocks)\.\d+\..*weight$")
#: No weight decay for these and for vectors.
_EMBEDDINGS = ("embed.weight", "pos_embed")

MUON_MOMENTUM = 0.95
#: Muon's matrices are dealt out to so many optimisers that can run at once: orthogonalising costs several products of
#: each matrix with itself, a sixth of an update of 32 samples on one core.
MUON_SHARES = 8


class Optimizer:
    """One or two torch optimisers behind one ``step``.

    Args:
        net: float32. config: of the run.
    """

    def __init__(self, net: nn.Module, config: TrainConfig) -> None:
        self._named = dict(net.named_parameters())
        muon = [n for n, p in self._named.items() if config.optimizer == "muon" and p.ndim == 2 and _is_block(n)]
        rest = [n for n in self._named if n not in set(muon)]
        adamw = torch.optim.AdamW(
            self._groups(rest, config.weight_decay),
            lr=config.learning_rate,
            betas=(config.beta1, config.beta2),
            fused=True,
        )
        self._parts: list[torch.optim.Optimizer] = [adamw]
        self._owner: dict[str, torch.optim.Optimizer] = dict.fromkeys(rest, adamw)
        for share in (muon[i::MUON_SHARES] for i in range(MUON_SHARES)):
            if share:
                self._parts.append(_muon([self._named[n] for n in share], config))
                self._owner |= dict.fromkeys(share, self._parts[-1])

    def _groups(self, names: list[str], weight_decay: float) -> list[dict[str, object]]:
        decayed = [n for n in names if self._named[n].ndim >= 2 and not n.endswith(_EMBEDDINGS)]
        free = [n for n in names if n not in set(decayed)]
        return [
            {"params": [self._named[n] for n in decayed], "weight_decay": weight_decay},
            {"params": [self._named[n] for n in free], "weight_decay": 0.0},
        ]

    def step(self, learning_rate: float, pool: Executor) -> None:
        """One update of every parameter from its ``grad``; the parts run side by side in ``pool``."""
        for group in (group for part in self._parts for group in part.param_groups):
            group["lr"] = learning_rate
        for done in [pool.submit(part.step) for part in self._parts]:
            done.result()

    def moments(self) -> dict[str, dict[str, Tensor]]:
        """Running averages by parameter name, on the CPU."""
        return {
            name: {key: value.detach().cpu() for key, value in owner.state[self._named[name]].items()}
            for name, owner in self._owner.items()
        }

    def restore(self, moments: dict[str, dict[str, Tensor]]) -> None:
        """Continue from ``moments``."""
        for name, owner in self._owner.items():
            # The count of AdamW moves with the weights, as the fused kernel wants it.
            parameter = self._named[name]
            owner.state[parameter] = {k: v.clone().to(parameter.device) for k, v in moments[name].items()}


def _muon(parameters: list[Tensor], config: TrainConfig) -> torch.optim.Optimizer:
    """Scaled to AdamW's usual update size, so that both share learning rate and weight decay."""
    return torch.optim.Muon(
        parameters,
        lr=config.learning_rate,
        weight_decay=config.weight_decay,
        momentum=MUON_MOMENTUM,
        adjust_lr_fn="match_rms_adamw",
    )


def _is_block(name: str) -> bool:
    return _BLOCK_MATRIX.search(name) is not None
