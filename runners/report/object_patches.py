"""How often the cache calls a patch static that shows a movable object.

Behind SIMPLER's robot stands a photo that is the same in every frame, bit by bit: reuse ratios look better than they
would on a camera. What happens on the objects does not depend on that.
"""

from __future__ import annotations

from typing import Any

import pandas as pd


def summarize_object_patches(calls: pd.DataFrame) -> dict[str, Any] | None:
    """Over the policy calls of one arm after an episode's first, which has nothing to compare with.

    Returns:
        ``calls``, ``patches`` (mean a call) and ``static_share`` (static ones / all of them); None where the simulator
        does not tell which pixels show an object, or none was ever seen.
    """
    if "object_patches" not in calls:
        return None
    known = calls[calls["object_patches"].notna() & (calls["fallback"] != "cold")]
    patches = int(known["object_patches"].sum())
    if patches == 0:
        return None
    static = int(known["object_static"].sum())
    return {"calls": len(known), "patches": patches / len(known), "static_share": static / patches}
