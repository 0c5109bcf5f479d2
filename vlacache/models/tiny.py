"""The embedded models: small twins of OpenVLA-OFT and OpenVLA with their kind of inference."""

from __future__ import annotations

from vlacache.models.config import DecoderConfig, TowerConfig, VLAConfig

#: 3 blocks keep the tower under a quarter of all MACs, as in the real models (OFT on two views: about 8 %).
_TOWER = TowerConfig(image_size=224, patch_size=14, width=192, depth=3, num_heads=3, mlp_hidden=768, feature_block=2)

#: 8 layers, so that layers differ; 512 text ids and 256 action ids.
_DECODER = DecoderConfig(hidden_size=256, intermediate_size=384, num_layers=8, num_heads=8, vocab_size=768)

#: OFT's proprio range on LIBERO (1 % and 99 % quantiles of the published statistics, rounded outwards):
#: position (m), axis-angle (rad), finger joints (m).
_PROPRIO_LOW = (-0.30, -0.25, 0.90, 2.75, -1.35, -0.45, 0.0, -0.04)
_PROPRIO_HIGH = (0.15, 0.40, 1.30, 3.30, 0.95, 0.65, 0.04, 0.0)

#: The same where the rotation is given by ``pointing_and_yaw``.
_POINTING_LOW = (*_PROPRIO_LOW[:3], -0.06, -0.05, -0.8, *_PROPRIO_LOW[6:])
_POINTING_HIGH = (*_PROPRIO_HIGH[:3], 0.05, 0.05, 1.35, *_PROPRIO_HIGH[6:])

TINY_OFT = VLAConfig(
    name="tiny_oft",
    views=("agentview", "wrist"),
    towers=(_TOWER,),
    projector_hidden=256,
    decoder=_DECODER,
    causal=False,
    head="l1_chunk",
    chunk_length=8,
    proprio_dim=8,
    proprio_low=_PROPRIO_LOW,
    proprio_high=_PROPRIO_HIGH,
)

TINY_OPENVLA = VLAConfig(
    name="tiny_openvla",
    views=("agentview",),
    towers=(_TOWER,),
    projector_hidden=256,
    decoder=_DECODER,
    causal=True,
    head="token_bins",
    chunk_length=1,
    proprio_dim=8,
    proprio_last=True,
    proprio_rotation="pointing",
    proprio_low=_POINTING_LOW,
    proprio_high=_POINTING_HIGH,
)

TINY_MODELS = {config.name: config for config in (TINY_OFT, TINY_OPENVLA)}
