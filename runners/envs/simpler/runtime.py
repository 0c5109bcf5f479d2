"""What has to be right before SAPIEN is imported: LLVM's order, the Vulkan driver, no download prompts."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
import warnings
from functools import cache
from pathlib import Path

#: Where ``make setup-simpler`` puts Mesa's software renderer: inside the environment, away from the system's Mesa.
LAVAPIPE = Path(sys.prefix) / "share/vlacache-bench/lavapipe"
#: Drivers that the system has; lavapipe before Mesa 24.3 lacks what SAPIEN needs.
SYSTEM_LAVAPIPE = (Path("/usr/share/vulkan/icd.d/lvp_icd.x86_64.json"), Path("/usr/share/vulkan/icd.d/lvp_icd.json"))
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")
DRIVER_VARIABLE = "VK_ICD_FILENAMES"


@cache
def prepare() -> dict[str, str]:
    """Choose the Vulkan driver and import SAPIEN.

    Returns:
        Facts for the run record: versions of sapien and mani-skill, and the driver ``vulkan``.

    Raises:
        RuntimeError: a package is missing.
    """
    with contextlib.suppress(ImportError):
        import triton  # noqa: F401 - imported after Mesa's LLVM it would crash the process, see libero_runtime
    driver = choose_driver()
    os.environ.setdefault("MS_SKIP_ASSET_DOWNLOAD_PROMPT", "1")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Failed to find system libvulkan")  # SAPIEN brings its own loader
        try:
            import sapien  # noqa: F401
        except ImportError as error:
            raise RuntimeError(f"SIMPLER needs SAPIEN and ManiSkill ({error}); run: make setup-simpler") from error
    return {"sapien": _version("sapien"), "mani-skill": _version("mani_skill"), "vulkan": driver}


def choose_driver() -> str:
    """Set ``VK_ICD_FILENAMES`` unless the user has, and say which driver it is, for the record.

    NVIDIA's driver is left to Vulkan's own search. Without one, Mesa's lavapipe renders on the processor: the one of
    ``make setup-simpler``, else the system's. Nothing is raised when there is none: physics needs no renderer.
    """
    if chosen := os.environ.get(DRIVER_VARIABLE):
        return _describe(Path(chosen.split(":")[0]))
    if NVIDIA_DRIVER.exists():
        return "nvidia " + NVIDIA_DRIVER.read_text().split("Module")[-1].split()[0]
    for driver in (LAVAPIPE / "lvp_icd.json", *SYSTEM_LAVAPIPE):
        if driver.is_file():
            os.environ[DRIVER_VARIABLE] = str(driver)
            return _describe(driver)
    return "none"


def _describe(driver: Path) -> str:
    """``lavapipe mesa 25.0.7-2~bpo12+1``; of another driver the name of its file."""
    version = driver.with_name("version")
    if driver.parent == LAVAPIPE and version.is_file():
        return f"lavapipe mesa {version.read_text().strip()}"
    return driver.name.removesuffix(".json")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise RuntimeError(f"the package {package} is not installed; run: make setup-simpler") from error
