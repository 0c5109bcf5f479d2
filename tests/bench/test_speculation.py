"""Replayed speculation: what is counted, what is compared, and that a wrong answer is seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.bench.scripts import load_script
from tests.models.twins import observation, tiny
from vlacache.bench.episode import DEFAULT_EPISODE, RecordedEpisode, load_episodes
from vlacache.bench.speculation import Agreement, Answers, SpeculationReport, compare_decoding
from vlacache.core.policies import build_cache_policy
from vlacache.models.decode import ActionDecoder
from vlacache.models.factory import LoadedModel

EPISODES = [[observation(i, moved=m) for i, m in enumerate(moves)] for moves in ((0, 0, 30), (12, 12))]
NONE = {"none": build_cache_policy("none")}


@pytest.fixture(scope="module")
def causal() -> LoadedModel:
    return tiny()


def test_agreement_counts_calls_and_tokens() -> None:
    one = Answers([np.array([1, 2, 3]), np.array([4, 5, 6])], [None, 1])
    two = Answers([np.array([1, 2, 3]), np.array([4, 9, 6])], [None, 1])
    assert Agreement.of(one, two) == Agreement(calls=2, same_calls=1, tokens=6, same_tokens=5)


def test_float32_agrees_and_drafts_are_counted(causal: LoadedModel) -> None:
    """The first call of an episode has no draft; a picture that stayed is accepted whole."""
    half = {"reuse_ratio": 0.5, "min_saving": 0.0, "max_backoff": 0}
    caches = {"none": build_cache_policy("none"), "half": build_cache_policy("fixed_ratio", half)}
    none, cached = compare_decoding(causal, caches, EPISODES)
    for found in (none, cached):
        assert found.plain == found.shapes == Agreement(5, 5, 35, 35)
        assert sum(found.accepted) == 3 and len(found.accepted) == 7
        assert 0 < found.mean_accepted <= 6
    assert (none.cache, cached.cache, none.accepted[6]) == ("none", "half", 2)


def test_a_draft_taken_for_the_answer_is_seen(causal: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch = ActionDecoder._fetch

    def trusting(self: ActionDecoder):
        ids, logits, accepted = fetch(self)
        if self.draft is not None:
            ids = np.concatenate([self.draft.numpy(), ids[-1:]])
        return ids, logits, accepted

    monkeypatch.setattr(ActionDecoder, "_fetch", trusting)
    (found,) = compare_decoding(causal, NONE, EPISODES)
    assert found.shapes.same_calls == found.shapes.calls, "plain decoding does not draft"
    assert found.plain.same_calls < found.plain.calls


def test_models_without_tokens_are_refused(twins: dict[str, LoadedModel]) -> None:
    with pytest.raises(ValueError, match="expected a model that answers in tokens, got openvla_oft"):
        compare_decoding(twins["openvla_oft"], NONE, [])


def test_the_script_writes_what_it_shows(
    repo_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script, file = load_script(repo_root, "replay_speculation"), tmp_path / "out.json"
    words = ["--model", "tiny_openvla", "--checkpoint", "none", "--device", "cpu", "--dtype", "float32"]
    words += ["--calls", "2", "--cache", "none", "--output", str(file)]
    monkeypatch.setattr("sys.argv", ["x/replay_speculation.py", *words])
    assert script.main() == 0
    data = json.loads(file.read_text())
    report = SpeculationReport.from_dict(data)
    assert report.show() in capsys.readouterr().out and report.calls == 2
    assert [r.dtype for r in report.results] == ["float32"], "one dtype is asked for twice and answers once"
    assert data["kind"] == "speculation" and str(tmp_path) not in file.read_text()
    broken = replace(report.results[0], plain=Agreement(2, 1, 14, 13))
    monkeypatch.setattr(script, "compare_decoding", lambda *args: [broken])
    assert script.main() == 1


def test_the_mean_leaves_out_calls_without_a_draft(causal: LoadedModel, tmp_path: Path) -> None:
    (found,) = compare_decoding(causal, NONE, [[observation(0)]])
    assert sum(found.accepted) == 0 and not np.isfinite(found.mean_accepted)
    report = SpeculationReport(causal.info, ["x"], 1, [found], "", "")
    report.write(tmp_path / "out.json")
    assert json.loads((tmp_path / "out.json").read_text())["mean_accepted"] == {"none, float32": None}


def test_a_folder_stands_for_its_episodes(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected recorded episodes"):
        load_episodes([tmp_path])
    episode = RecordedEpisode.load()
    short = RecordedEpisode(episode.views, episode.frames[:2], episode.proprio[:2], episode.instruction, "short")
    short.save(tmp_path / "b.npz")
    assert [e.source for e in load_episodes([DEFAULT_EPISODE, tmp_path])] == [episode.source, "short"]
    with pytest.raises(FileNotFoundError, match=r"none\.npz"):
        load_episodes([tmp_path / "none.npz"])
