"""Where simulator assets come from: the built-in pack, a folder or pack, LIBERO's own download."""

from runners.assets.resolve import ResolvedAssets, resolve_assets

__all__ = ["ResolvedAssets", "resolve_assets"]
