"""Checks before the simulator is imported: MuJoCo's version and the OpenGL backend."""

from __future__ import annotations

import pytest

from runners.envs import libero_runtime
from runners.envs.libero_runtime import check_mujoco_version, select_gl_backend


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(libero_runtime.ALLOW_UNTESTED_VARIABLE, raising=False)


@pytest.mark.parametrize("version", ["3.2.3", "3.3.0", "3.3.1", "3.3.2"])
def test_tested_mujoco_passes(version: str) -> None:
    assert check_mujoco_version(version) == version


@pytest.mark.parametrize("version", ["3.2.2", "3.2.4", "3.3.3", "3.4.0", "3.8.0", "2.3.7", "3.3.2rc1"])
def test_other_mujoco_is_refused_or_marked(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match=r"pip install mujoco==3\.3\.2"):
        check_mujoco_version(version)
    assert check_mujoco_version(version, allow_untested=True) == f"{version} (untested)"
    monkeypatch.setenv(libero_runtime.ALLOW_UNTESTED_VARIABLE, "1")
    assert check_mujoco_version(version) == f"{version} (untested)"


@pytest.mark.parametrize(
    ("egl", "osmesa", "expected"), [(True, True, "egl"), (True, False, "egl"), (False, True, "osmesa")]
)
def test_backend_choice(egl: bool, osmesa: bool, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, egl=egl, osmesa=osmesa)
    assert select_gl_backend.__wrapped__() == expected
    assert libero_runtime.os.environ["MUJOCO_GL"] == expected


def test_no_opengl_names_the_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, egl=False, osmesa=False)
    with pytest.raises(RuntimeError, match=r"apt-get install .*libegl1"):
        select_gl_backend.__wrapped__()


def test_a_choice_of_the_user_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, egl=True, osmesa=True)
    monkeypatch.setenv("MUJOCO_GL", "osmesa")
    assert select_gl_backend.__wrapped__() == "osmesa"


def pretend(monkeypatch: pytest.MonkeyPatch, *, egl: bool, osmesa: bool) -> None:
    """Make the libraries look present or absent, with no choice made yet."""
    monkeypatch.setenv("MUJOCO_GL", "")
    monkeypatch.setattr(libero_runtime, "_egl_works", lambda: egl)
    monkeypatch.setattr(libero_runtime, "_loads", lambda library: osmesa)
