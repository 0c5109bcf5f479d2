"""What has to be right before MuJoCo and LIBERO are imported: OpenGL backend, MuJoCo version, LIBERO's folders."""

from __future__ import annotations

import contextlib
import ctypes
import importlib.metadata
import logging
import os
import re
from functools import cache
from pathlib import Path

from runners.assets.hf_libero import activate

#: Set to 1 to run on a MuJoCo outside the tested range; the run's records are marked.
ALLOW_UNTESTED_VARIABLE = "VLACACHE_ALLOW_UNTESTED_MUJOCO"
#: 3.3.3 darkens the floor of LIBERO-Object, 3.4.0 breaks task 5 of LIBERO-Spatial (LIBERO issue 88, lerobot 4390).
TESTED_MUJOCO = "3.2.3 or 3.3.0 to 3.3.2"
APT_PACKAGES = "libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libosmesa6"

_EGL_PLATFORM_DEVICE = 0x313F


def prepare(assets_root: Path, *, allow_untested_mujoco: bool = False) -> dict[str, str]:
    """Check MuJoCo, choose the OpenGL backend, point hf-libero at ``assets_root``.

    Returns:
        Simulator facts for the run record: versions of mujoco, robosuite, hf-libero and the backend ``gl``.

    Raises:
        RuntimeError: a package is missing, MuJoCo is outside the tested range, or no OpenGL library works.
    """
    _load_triton_before_opengl()
    mujoco_version = check_mujoco_version(_version("mujoco"), allow_untested=allow_untested_mujoco)
    versions = {
        "mujoco": mujoco_version,
        "robosuite": _version("robosuite"),
        "hf-libero": _version("hf-libero"),
        "gl": select_gl_backend(),
    }
    logging.getLogger("robosuite_logs").addFilter(_is_worth_reading)
    activate(assets_root)
    return versions


def _load_triton_before_opengl() -> None:
    """Importing triton (torchvision does) after Mesa's LLVM crashes the process: two LLVMs, one set of symbols.

    Seen with triton 3.9 and Mesa 22.3; the other order works, so whoever opens an environment first and loads a model
    later is safe too.
    """
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401


def check_mujoco_version(version: str, *, allow_untested: bool = False) -> str:
    """Return ``version``, with the mark `` (untested)`` where the check was overruled.

    Args:
        version: installed version. allow_untested: overrule, as ``VLACACHE_ALLOW_UNTESTED_MUJOCO=1`` does.

    Raises:
        RuntimeError: ``version`` is outside the range in which LIBERO's published results hold.
    """
    match = re.match(r"(\d+)\.(\d+)\.(\d+)$", version)
    release = tuple(map(int, match.groups())) if match else ()
    if release == (3, 2, 3) or (3, 3, 0) <= release <= (3, 3, 2):
        return version
    if allow_untested or os.environ.get(ALLOW_UNTESTED_VARIABLE) == "1":
        return f"{version} (untested)"
    raise RuntimeError(
        f"MuJoCo: expected {TESTED_MUJOCO}, got {version}. Newer ones change LIBERO's floors and its physics, so "
        "results do not compare. Run: pip install mujoco==3.3.2, or set "
        f"{ALLOW_UNTESTED_VARIABLE}=1 to mark the run as untested"
    )


@cache
def select_gl_backend() -> str:
    """Set ``MUJOCO_GL`` (a value of the user is kept) to ``egl`` if that works here, else ``osmesa``; return it.

    Raises:
        RuntimeError: neither works; names the packages to install.
    """
    chosen = os.environ.get("MUJOCO_GL")
    if not chosen:
        if _egl_works():
            chosen = "egl"
        elif _loads("libOSMesa.so.8"):
            chosen = "osmesa"
        else:
            raise RuntimeError(
                "no OpenGL library for headless rendering works (tried EGL and OSMesa); on Debian or Ubuntu run: "
                f"apt-get install -y {APT_PACKAGES}"
            )
        os.environ["MUJOCO_GL"] = chosen
    return chosen


def _egl_works() -> bool:
    """Whether some EGL device can be initialised. By ctypes: importing mujoco would fix the backend for good."""
    if not _loads("libEGL.so.1"):
        return False
    egl = ctypes.CDLL("libEGL.so.1")
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query_address = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_address = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query_address or not display_address:
        return False
    pointer, integer = ctypes.c_void_p, ctypes.c_int
    query_devices = ctypes.CFUNCTYPE(integer, integer, pointer, pointer)(query_address)
    get_display = ctypes.CFUNCTYPE(pointer, integer, pointer, pointer)(display_address)
    egl.eglInitialize.argtypes = [pointer, pointer, pointer]
    devices, count = (pointer * 16)(), integer(0)
    if not query_devices(len(devices), devices, ctypes.byref(count)):
        return False
    displays = [get_display(_EGL_PLATFORM_DEVICE, devices[i], None) for i in range(count.value)]
    return any(display and egl.eglInitialize(display, None, None) for display in displays)


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeError(f"{package} is not installed; run: pip install 'vlacache-bench[libero]'") from error


def _is_worth_reading(record: logging.LogRecord) -> bool:
    """Drop robosuite's advice to write a private macro file, printed at every import."""
    return "macro" not in record.getMessage()
