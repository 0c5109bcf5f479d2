"""The two published towers, as this project states them."""

from __future__ import annotations

import torch

from vlacache.models.published import TOWERS


def test_towers_file_agrees_with_timm() -> None:
    """The two published towers as timm itself defines them."""
    import timm

    for name, ours in TOWERS.items():
        with torch.device("meta"):
            theirs = timm.create_model(name, img_size=224, num_classes=0)
        block = theirs.blocks[0]
        assert (ours.width, ours.depth, ours.num_heads) == (theirs.embed_dim, len(theirs.blocks), block.attn.num_heads)
        assert ours.mlp_hidden == block.mlp.fc1.out_features and ours.grid == theirs.patch_embed.grid_size
        assert ours.class_token is (theirs.cls_token is not None) and ours.layer_scale is hasattr(block.ls1, "gamma")
        assert ours.num_registers + int(ours.class_token) == theirs.num_prefix_tokens
        assert block.norm1.eps == 1e-6 and ours.feature_block == len(theirs.blocks) - 2
