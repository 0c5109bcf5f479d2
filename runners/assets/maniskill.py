"""ManiSkill's asset folder for SIMPLER: a folder or pack that the user names, or ManiSkill's own download."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from runners.assets.packs import LocatedAssets, PackKind, locate
from runners.assets.resolve import ASSETS_DIR_VARIABLE
from runners.assets.user_cache import file_sha256
from runners.envs.base import AssetProvenance

#: A ManiSkill folder has these below its root.
_FOLDERS = ("data/tasks/bridge_v2_real2sim_dataset", "data/robots")
MANISKILL_PACK = PackKind(
    what="ManiSkill (SIMPLER)",
    pack="maniskill.tar.xz",
    folder="maniskill",
    contents=_FOLDERS,
)
#: Read by ManiSkill itself; its default is ``~/.maniskill``.
MANISKILL_VARIABLE = "MS_ASSET_DIR"
STAND_INS = "STANDINS.txt"
RENDER = "raster"
DOWNLOADS: tuple[str, ...] = ("bridge_v2_real2sim", "widowx250s", "googlerobot")


@dataclass(frozen=True, slots=True)
class ManiSkillAssets:
    """``root``: the folder that holds ``data/``. ``provenance``: what to write into every record.

    Attributes:
        stand_ins: files, below ``data/``, that are not the originals.
    """

    root: Path
    provenance: AssetProvenance
    stand_ins: frozenset[str] = frozenset()

    def stand_ins_among(self, shown: Iterable[Path]) -> tuple[str, ...]:
        """Names of the stand-ins among files or folders below ``root``: model id or stage, sorted."""
        places = [path.relative_to("data").as_posix() for path in shown]
        found = (name for name in self.stand_ins if any(f"{name}/".startswith(f"{place}/") for place in places))
        return tuple(sorted({_short_name(Path(name)) for name in found}))


def resolve_maniskill(assets: str) -> ManiSkillAssets:
    """Turn ``assets=auto|<folder>`` into a folder.

    Args:
        assets: ``auto`` (the folder or pack that ``VLACACHE_ASSETS_DIR`` names, else what ManiSkill downloaded), or
            the path of a folder or pack.

    Raises:
        ValueError: ``builtin``, or a place without these assets. RuntimeError: a damaged pack, or no assets at all.
    """
    if assets == "builtin":
        raise ValueError(
            "assets=builtin: generated for LIBERO alone; SIMPLER needs ManiSkill's assets: add assets=auto or "
            "assets=<folder>"
        )
    if assets != "auto":
        return _described(locate(Path(assets), named_by=f"assets={assets}", kind=MANISKILL_PACK))
    if place := os.environ.get(ASSETS_DIR_VARIABLE):
        return _described(locate(Path(place), named_by=ASSETS_DIR_VARIABLE, kind=MANISKILL_PACK))
    root = Path(os.environ.get(MANISKILL_VARIABLE) or "~/.maniskill").expanduser()
    if not MANISKILL_PACK.is_folder(root):
        commands = " && ".join(f"python -m mani_skill.utils.download_asset {name} -y" for name in DOWNLOADS)
        raise RuntimeError(
            f"assets=auto: {ASSETS_DIR_VARIABLE} is not set and ManiSkill has downloaded no assets for SIMPLER to "
            f"its folder ({MANISKILL_VARIABLE}, else ~/.maniskill). Run: {commands}. Or set {ASSETS_DIR_VARIABLE} to "
            f"a folder with {MANISKILL_PACK.pack}, or pass assets=<folder>"
        )
    return _described(locate(root, named_by=MANISKILL_VARIABLE, kind=MANISKILL_PACK), source="official")


def _described(found: LocatedAssets, source: str | None = None) -> ManiSkillAssets:
    stand_ins = _stand_ins(found.root / STAND_INS)
    detail = found.detail
    if stand_ins:
        digest = file_sha256(found.root / STAND_INS)[:8]
        detail = f"{found.detail}, {len(stand_ins)} stand-ins ({STAND_INS} {digest})"
    provenance = AssetProvenance(source or found.source, found.digest[:16], RENDER, detail)
    return ManiSkillAssets(found.root, provenance, stand_ins)


def _short_name(path: Path) -> str:
    return path.parent.name if path.stem == "textured" else path.stem


def _stand_ins(path: Path) -> frozenset[str]:
    """The first column of the list, ``path | what stands in for it``; empty where there is no list."""
    if not path.is_file():
        return frozenset()
    rows = (line for line in path.read_text(encoding="utf-8").splitlines() if "|" in line and line[0] != "#")
    return frozenset(row.split("|")[0].strip() for row in rows)
