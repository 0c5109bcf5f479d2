"""``assets=builtin|auto|<folder>``: what is found, what the record says, and that nothing falls back silently."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import huggingface_hub
import pytest

from runners.assets import official, packs, resolve_assets
from runners.assets.builtin import COVERED_SUITES, GENERATOR_VERSION

SPATIAL = {"suite": "libero_spatial", "render": "fast"}


def no_download(**_: object) -> str:
    raise ConnectionError("network is unreachable\nmore words")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_download)


def test_builtin(cache: Path) -> None:
    resolved = resolve_assets("builtin", **SPATIAL)
    provenance = resolved.provenance
    assert resolved.root == cache / "builtin" / provenance.digest
    assert (provenance.source, provenance.render) == ("builtin", "fast")
    assert provenance.detail == f"generator {GENERATOR_VERSION}"
    assert resolve_assets("builtin", suite="libero_spatial", render="reference").provenance.render == "reference"


def test_builtin_is_repaired(cache: Path) -> None:
    plate = resolve_assets("builtin", **SPATIAL).root / "stable_scanned_objects" / "plate" / "plate.xml"
    good = plate.read_bytes()
    plate.write_bytes(good.replace(b"0", b"1", 1))
    resolve_assets("builtin", **SPATIAL)
    assert plate.read_bytes() == good


@pytest.mark.parametrize("suite", ["libero_10", "libero_90", "nonsense"])
def test_uncovered_suite(cache: Path, suite: str) -> None:
    assert suite not in COVERED_SUITES
    with pytest.raises(ValueError, match=rf"covers libero_spatial.*not {suite}; use assets=auto.*assets=<folder>"):
        resolve_assets("builtin", suite=suite, render="fast")
    assert not cache.exists()


@pytest.mark.parametrize("inside", [False, True], ids=["the folder", "its parent"])
@pytest.mark.parametrize("by_variable", [False, True], ids=["named", "auto"])
def test_folder(
    cache: Path, libero_folder: Path, monkeypatch: pytest.MonkeyPatch, inside: bool, by_variable: bool
) -> None:
    place = libero_folder.parent if inside else libero_folder
    if by_variable:
        monkeypatch.setenv("VLACACHE_ASSETS_DIR", str(place))
    resolved = resolve_assets("auto" if by_variable else str(place), **SPATIAL)
    assert resolved.root == libero_folder
    assert (resolved.provenance.source, resolved.provenance.detail) == ("folder", "libero")
    assert str(libero_folder) not in str(resolved.provenance)


def test_folder_digest_follows_contents(cache: Path, libero_folder: Path) -> None:
    before = resolve_assets(str(libero_folder), **SPATIAL).provenance.digest
    (libero_folder / "scenes" / "thing.xml").write_text("other")
    assert resolve_assets(str(libero_folder), **SPATIAL).provenance.digest != before


@pytest.mark.parametrize("whole_name", [False, True], ids=["its folder", "the file"])
def test_pack_is_unpacked_once(cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch, whole_name: bool) -> None:
    monkeypatch.setenv("VLACACHE_ASSETS_DIR", str(pack if whole_name else pack.parent))
    resolved = resolve_assets("auto", **SPATIAL)
    assert (resolved.root / "scenes" / "thing.xml").is_file()
    assert resolved.root.is_relative_to(cache)
    assert (resolved.provenance.source, resolved.provenance.detail) == ("folder", "libero.tar.xz")
    monkeypatch.setattr(packs, "_extract", lambda *_: pytest.fail("unpacked again"))
    assert resolve_assets("auto", **SPATIAL) == resolved


def test_known_pack_is_called_shared(cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = packs.file_sha256(pack)
    monkeypatch.setitem(packs.KNOWN_PACKS, "libero.tar.xz", digest)
    provenance = resolve_assets(str(pack), **SPATIAL).provenance
    assert (provenance.source, provenance.digest) == ("shared-pack", digest[:16])


def test_pack_with_another_sha_is_not_called_shared(cache: Path, pack: Path) -> None:
    assert packs.KNOWN_PACKS["libero.tar.xz"] != packs.file_sha256(pack)
    assert resolve_assets(str(pack), **SPATIAL).provenance.source == "folder"


def test_damaged_unpacked_files_are_replaced(cache: Path, pack: Path) -> None:
    root = resolve_assets(str(pack), **SPATIAL).root
    shutil.rmtree(root / "scenes")
    assert (resolve_assets(str(pack), **SPATIAL).root / "scenes" / "thing.xml").is_file()


@pytest.mark.parametrize("keep", [0, 40, 0.5, 0.97], ids=["empty", "header only", "half", "tail missing"])
def test_truncated_pack(cache: Path, pack: Path, keep: float) -> None:
    data = pack.read_bytes()
    pack.write_bytes(data[: int(keep * len(data)) if keep < 1 else int(keep)])
    with pytest.raises(RuntimeError, match=r"pack libero\.tar\.xz: cannot be unpacked .*download it again"):
        resolve_assets(str(pack), **SPATIAL)
    assert not [p for p in (cache / "packs").iterdir() if p.is_dir()], "half a cache"


@pytest.mark.parametrize("filters", ["of this Python", "none, as in Debian 12's Python 3.11.2"])
def test_unsafe_pack(cache: Path, pack: Path, filters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if filters.startswith("none"):
        monkeypatch.delattr(tarfile, "data_filter", raising=False)
    with tarfile.open(pack, "w:xz") as archive:
        member = tarfile.TarInfo("../../escaped.txt")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"evil"))
    with pytest.raises(RuntimeError, match="cannot be unpacked"):
        resolve_assets(str(pack), **SPATIAL)
    assert not list(cache.rglob("escaped.txt"))


def test_a_pack_is_unpacked_without_filters_but_no_link(
    cache: Path, pack: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(tarfile, "data_filter", raising=False)
    assert resolve_assets(str(pack), **SPATIAL).root.is_dir()
    with tarfile.open(pack, "w:xz") as archive:
        link = tarfile.TarInfo("libero/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(RuntimeError, match="libero/link is no file or folder inside the pack"):
        resolve_assets(str(pack), **SPATIAL)


def test_pack_of_something_else(cache: Path, pack: Path) -> None:
    with tarfile.open(pack, "w:xz") as archive:
        archive.add(__file__, arcname="libero/test.py")
    with pytest.raises(RuntimeError, match="expected a folder libero/ with articulated_objects"):
        resolve_assets(str(pack), **SPATIAL)


@pytest.mark.usefixtures("offline")
def test_missing_folder_does_not_fall_back(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "publish_tree", lambda *_, **__: pytest.fail("fell back to the download"))
    with pytest.raises(ValueError, match=r"assets=.*no folder or pack at"):
        resolve_assets(str(tmp_path / "nowhere"), **SPATIAL)
    monkeypatch.setenv("VLACACHE_ASSETS_DIR", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="VLACACHE_ASSETS_DIR: no folder or pack at"):
        resolve_assets("auto", **SPATIAL)
    monkeypatch.setenv("VLACACHE_ASSETS_DIR", str(tmp_path))
    with pytest.raises(ValueError, match="holds no LIBERO assets"):
        resolve_assets("auto", **SPATIAL)
    monkeypatch.setenv("VLACACHE_ASSETS_DIR", "")
    with pytest.raises(ValueError, match="set but empty"):
        resolve_assets("auto", **SPATIAL)


@pytest.mark.sim
@pytest.mark.usefixtures("offline")
def test_auto_without_network_says_what_to_do(cache: Path) -> None:
    with pytest.raises(RuntimeError, match=r"network is unreachable\)\. Set VLACACHE_ASSETS_DIR .*assets=builtin") as e:
        resolve_assets("auto", **SPATIAL)
    assert "more words" not in str(e.value)
    assert not [p for p in (cache / "official").iterdir() if p.is_dir()]


@pytest.mark.sim
def test_auto_downloads_once(cache: Path, libero_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(*, repo_id: str, repo_type: str, local_dir: Path) -> str:
        asked.append(f"{repo_type}:{repo_id}")
        shutil.copytree(libero_folder, local_dir, dirs_exist_ok=True)
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    first, second = (resolve_assets("auto", **SPATIAL) for _ in range(2))
    assert first == second
    assert asked == ["dataset:lerobot/libero-assets"]
    assert (first.provenance.source, first.provenance.detail) == ("official", "lerobot/libero-assets")


@pytest.mark.sim
def test_incomplete_download(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda **_: "")
    with pytest.raises(RuntimeError, match="holds no LIBERO assets"):
        resolve_assets("auto", **SPATIAL)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"assets": "builtin", "render": "pretty"}, "render: expected one of reference, fast, got 'pretty'"),
        ({"assets": "", "render": "fast"}, "assets: expected builtin, auto or a folder"),
    ],
)
def test_bad_arguments(cache: Path, arguments: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_assets(suite="libero_spatial", **arguments)
