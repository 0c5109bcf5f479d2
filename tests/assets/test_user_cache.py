"""The cache: a tree is complete or absent, whatever happens to the process that builds it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from runners.assets.user_cache import MANIFEST, is_intact, manifest_digest, publish_tree, read_manifest, user_cache_dir


def build(folder: Path) -> None:
    """Two files."""
    (folder / "sub").mkdir()
    (folder / "sub" / "a.txt").write_text("first", encoding="utf-8")
    (folder / "b.txt").write_text("second", encoding="utf-8")


def never(folder: Path) -> None:
    """A builder that must not be called."""
    raise AssertionError(f"built again in {folder}")


def test_builds_once(tmp_path: Path) -> None:
    target = publish_tree(tmp_path / "tree", build)
    assert (target / "sub" / "a.txt").read_text() == "first"
    assert publish_tree(tmp_path / "tree", never, hashed=True) == target


@pytest.mark.parametrize(
    "damage",
    [
        lambda t: (t / "b.txt").unlink(),
        lambda t: (t / "b.txt").write_text("short"),
        lambda t: (t / MANIFEST).unlink(),
        lambda t: (t / MANIFEST).write_text('{"b.txt": [6'),
        lambda t: (t / MANIFEST).write_text("{}"),
    ],
    ids=["file gone", "file cut", "no manifest", "manifest cut", "manifest empty"],
)
def test_damage_is_seen_and_repaired(tmp_path: Path, damage) -> None:
    target = publish_tree(tmp_path / "tree", build)
    damage(target)
    assert not is_intact(target, hashed=False)
    publish_tree(target, build)
    assert (target / "b.txt").read_text() == "second"
    assert is_intact(target, hashed=True)


def test_changed_bytes_of_equal_size_are_seen_by_hash(tmp_path: Path) -> None:
    target = publish_tree(tmp_path / "tree", build)
    (target / "b.txt").write_text("SECOND")
    assert is_intact(target, hashed=False)
    assert not is_intact(target, hashed=True)
    publish_tree(target, build, hashed=True)
    assert (target / "b.txt").read_text() == "second"


def test_failing_builder_leaves_nothing(tmp_path: Path) -> None:
    def fails(folder: Path) -> None:
        build(folder)
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        publish_tree(tmp_path / "tree", fails)
    assert [p.name for p in tmp_path.iterdir()] == [".tree.lock"]


def _build_slowly(target: Path, log: Path, seconds: float) -> None:
    def slow(folder: Path) -> None:
        with log.open("a") as stream:
            stream.write("build\n")
        (folder / "first.txt").write_text("first")
        time.sleep(seconds)
        build(folder)

    publish_tree(target, slow)


def test_killed_builder_leaves_no_tree_and_no_rubbish(tmp_path: Path) -> None:
    target, log = tmp_path / "tree", tmp_path / "log"
    victim = multiprocessing.get_context("spawn").Process(target=_build_slowly, args=(target, log, 60.0))
    victim.start()
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".tmp-tree-*/first.txt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert victim.pid is not None
    os.kill(victim.pid, signal.SIGKILL)
    victim.join()
    assert not target.exists()
    assert list(tmp_path.glob(".tmp-tree-*"))
    publish_tree(target, build)
    assert is_intact(target, hashed=True)
    assert not list(tmp_path.glob(".tmp-tree-*"))


def test_two_processes_build_once(tmp_path: Path) -> None:
    target, log = tmp_path / "tree", tmp_path / "log"
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_build_slowly, args=(target, log, 0.3)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert log.read_text() == "build\n"
    assert is_intact(target, hashed=True)


def test_digest_depends_on_names_and_contents_only(tmp_path: Path) -> None:
    def renamed(folder: Path) -> None:
        build(folder)
        (folder / "b.txt").rename(folder / "c.txt")

    digests = [
        manifest_digest(read_manifest(publish_tree(tmp_path / name, builder)))
        for name, builder in (("one", build), ("two", build), ("three", renamed))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("VLACACHE_CACHE_DIR", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert user_cache_dir() == tmp_path / ".cache" / "vlacache-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert user_cache_dir() == tmp_path / "xdg" / "vlacache-bench"
    monkeypatch.setenv("VLACACHE_CACHE_DIR", "~/mine")
    assert user_cache_dir() == tmp_path / "mine"
