#!/usr/bin/env bash
# Makes the environment for `make run` and `make test`: checks Python, installs system libraries, fills a virtual
# environment. Called by the Makefile: scripts/setup.sh <python> <venv folder>. Safe to run again.
set -euo pipefail

python=$1
venv=$2

# Headless OpenGL for MuJoCo; a compiler for egl-probe, which hf-libero needs and which has no wheels.
apt_packages=(libegl1 libegl-mesa0 libgl1 libgl1-mesa-dri libosmesa6 libglib2.0-0 cmake make g++)

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

check_python() {
  command -v "$python" >/dev/null || die "'$python' not found. Install Python 3.11 or 3.12, or name one: make setup PYTHON=/path/to/python3.11"
  "$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' ||
    die "expected Python 3.11 or 3.12, got $("$python" --version 2>&1). Name another: make setup PYTHON=python3.11"
}

has_library() { "$python" -c "import ctypes, sys; ctypes.CDLL(sys.argv[1])" "$1" 2>/dev/null; }

missing_system_parts() {
  has_library libEGL.so.1 || has_library libOSMesa.so.8 || echo "OpenGL (EGL or OSMesa)"
  has_library libGL.so.1 || echo "libGL"
  has_library libgthread-2.0.so.0 || echo "glib"
  command -v cmake >/dev/null || echo "cmake"
  command -v make >/dev/null || echo "make"
  command -v g++ >/dev/null || echo "g++"
  "$python" -c 'import ensurepip, venv' 2>/dev/null || echo "python venv"
}

install_system_parts() {
  local missing packages=() package
  missing=$(missing_system_parts | paste -sd, -)
  [ -z "$missing" ] && return
  "$python" -c 'import ensurepip, venv' 2>/dev/null ||
    apt_packages+=("$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')")
  if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
    die "missing on this system: ${missing}. Run this, then the same make command again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends ${apt_packages[*]}"
  fi
  say "System packages (about 15 MB beside a compiler that is there already) for: ${missing}"
  apt-get update -q
  for package in "${apt_packages[@]}"; do # libosmesa6 has left newer distributions; EGL is enough
    if [ -n "$(apt-cache policy "$package" 2>/dev/null)" ]; then packages+=("$package"); fi
  done
  DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "${packages[@]}"
  missing=$(missing_system_parts | paste -sd, -)
  [ -z "$missing" ] || die "still missing after apt-get install: $missing"
}

install_python_parts() {
  if [ -d "$venv" ] && "$venv/bin/python" -c 'import torch, libero' 2>/dev/null; then
    say "Bringing the Python packages in $venv up to date; little or nothing to download."
  else
    say "Python packages into $venv: about 3.1 GB to download, 7.8 GB on the disk, 2 to 15 minutes (torch is most of it)."
  fi
  [ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet --upgrade pip
  # egl-probe's build file is older than what CMake 4 accepts.
  CMAKE_POLICY_VERSION_MINIMUM=3.5 "$venv/bin/python" -m pip install -e '.[dev]'
}

check_python
install_system_parts
install_python_parts
say "Ready. Try: make run"
