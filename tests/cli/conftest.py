"""What the tests of the command share."""

from __future__ import annotations

import pytest

from runners.cli import main


@pytest.fixture
def run_main(tmp_path, monkeypatch, capsys):
    """Call ``main`` in an empty folder; returns exit code, standard output and standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*words: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as caught:
            main(words)
        out, err = capsys.readouterr()
        return caught.value.code, out, err

    return call
