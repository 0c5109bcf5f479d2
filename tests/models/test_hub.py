"""Where a checkpoint is: folders, hub ids at a pinned commit, fingerprints. The hub itself is never asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from vlacache.models import hub
from vlacache.models.cogact.twin import write_cogact_twin
from vlacache.models.factory import ModelConfig, load_model
from vlacache.models.hub import find_checkpoint, fingerprint
from vlacache.models.twin import write_openvla_twin

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_the_hub_needs_a_pinned_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def snapshot(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    for revision in (None, "main", "v1.0", COMMIT[:12]):
        with pytest.raises(ValueError, match=r"model.revision: expected the commit hash"):
            find_checkpoint("openvla/openvla-7b", revision, patterns=("*.json",))
    assert not asked
    found = find_checkpoint("openvla/openvla-7b", COMMIT, patterns=("*.json",), ignore=("lora_adapter/*",))
    assert (found.path, found.label) == (tmp_path, "openvla/openvla-7b@0123456789ab")
    assert asked == {
        "repo_id": "openvla/openvla-7b", "revision": COMMIT, "allow_patterns": ["*.json"],
        "ignore_patterns": ["lora_adapter/*"],
    }  # fmt: skip


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> str:
        raise OSError("no route")

    monkeypatch.setattr("huggingface_hub.snapshot_download", offline)
    with pytest.raises(RuntimeError, match=r"could not get openvla/openvla-7b at 0123456789ab .*no route"):
        find_checkpoint("openvla/openvla-7b", COMMIT, patterns=("*",))


def test_what_is_neither_folder_nor_id(tmp_path: Path) -> None:
    for name in ("not/a/hub/id", "nowhere", "./gone/away"):
        with pytest.raises(FileNotFoundError, match="expected a folder or a hub id"):
            find_checkpoint(name, None, patterns=("*",))
    with pytest.raises(ValueError, match="only for hub ids"):
        find_checkpoint(str(tmp_path), COMMIT, patterns=("*",))


def test_a_fingerprint_follows_the_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_BLOCK_BYTES", 16)
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(1000))
    first = fingerprint(tmp_path, ("*.safetensors",))
    assert first == fingerprint(tmp_path, ("*.safetensors",)) and len(first) == 12
    for changed in (b"\1" + bytes(999), bytes(999) + b"\1", bytes(1001)):
        file.write_bytes(changed)
        assert fingerprint(tmp_path, ("*.safetensors",)) != first
    file.write_bytes(bytes(1000))
    (tmp_path / "notes.txt").write_text("not a weight file")
    assert fingerprint(tmp_path, ("*.safetensors",)) == first
    assert fingerprint(tmp_path, ("*",), ignore=("notes.txt",)) == first


@pytest.mark.parametrize(("name", "key"), [("openvla", "libero_spatial"), ("cogact", "bridge_orig")])
@pytest.mark.parametrize(
    ("free", "unnorm_key", "message"),
    [
        (
            1 << 20,
            None,
            r"hub/twin: expected 0\.0 GiB of free memory on cpu \(weights and 10 %, 0\.0 GiB for more\), got 0\.0",
        ),
        (1 << 40, "kitchen", r"model\.unnorm_key: expected one of .* got 'kitchen'"),
    ],
)
def test_weights_are_not_downloaded_in_vain(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    key: str,
    free: int,
    unnorm_key: str | None,
    message: str,
) -> None:
    """What the small files tell is checked before the large ones are fetched."""
    write = {"cogact": lambda: write_cogact_twin(tmp_path), "openvla": lambda: write_openvla_twin(tmp_path, "openvla")}
    write[name]()
    fetched: list[str] = []

    def download(repo_id: str, revision: str, patterns: list[str], ignore: list[str]) -> Path:
        fetched.extend(patterns)
        return tmp_path

    monkeypatch.setattr(hub, "_download", download)
    monkeypatch.setattr("vlacache.models.memory.free_memory", lambda device: free)
    config = ModelConfig(name, "hub/twin", revision=COMMIT, dtype="float32", unnorm_key=unnorm_key or key)
    with pytest.raises((ValueError, RuntimeError), match=message):
        load_model(config, lambda sizes, dtype: {"more": sizes.decoder.num_layers})
    assert fetched and all(pattern.endswith(".json") for pattern in fetched)
    monkeypatch.setattr("vlacache.models.memory.free_memory", lambda device: 1 << 40)
    loaded = load_model(ModelConfig(name, "hub/twin", revision=COMMIT, dtype="float32", unnorm_key=key))
    assert loaded.info.checkpoint == "hub/twin@0123456789ab" and any(not p.endswith(".json") for p in fetched)
