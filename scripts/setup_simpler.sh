#!/usr/bin/env bash
# Adds SIMPLER to the environment of `make setup`: SAPIEN, ManiSkill, Ruckig and, on a machine without an NVIDIA
# driver, Mesa's software Vulkan driver. Called by the Makefile: scripts/setup_simpler.sh <venv folder>. Safe to repeat.
set -euo pipefail

venv=$1
target=$venv/share/vlacache-bench/lavapipe
mirror=http://deb.debian.org/debian
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

say() { printf '\033[1m%s\033[0m\n' "$*"; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

install_python_parts() {
  say "SAPIEN, ManiSkill and Ruckig into $venv: about 250 MB."
  # What is installed stays at its version: torch and the simulator of LIBERO are part of every record.
  "$venv/bin/python" -m pip freeze --exclude-editable | grep -v '^vlacache-bench' >"$work/constraints.txt"
  "$venv/bin/python" -m pip install --quiet -c "$work/constraints.txt" -e '.[simpler]'
}

# The package is unpacked beside the environment and not installed: apt would take the whole of Mesa along, and
# LIBERO's pictures depend on the OpenGL of the system's Mesa.
install_lavapipe() {
  local codename apt=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
  codename=$(. /etc/os-release && echo "${ID:-}-${VERSION_CODENAME:-}")
  if [ "$codename" != debian-bookworm ] || ! command -v apt-get >/dev/null || [ ! -f $keyring ]; then
    say "No NVIDIA driver here, and this script knows Debian 12's packages alone. For pictures install Mesa 24.3 or
newer with lavapipe (Debian, Ubuntu: mesa-vulkan-drivers), or name a driver in VK_ICD_FILENAMES."
    return
  fi
  mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/package"
  echo "deb [signed-by=$keyring] $mirror bookworm-backports main" >"$work/sources.list"
  apt-get "${apt[@]}" update -q || die "cannot reach $mirror for lavapipe; run make setup-simpler again with a network"
  (cd "$work" && apt-get "${apt[@]}" download -q mesa-vulkan-drivers)
  dpkg -x "$work"/mesa-vulkan-drivers_*.deb "$work/package"
  mkdir -p "$target"
  cp "$work"/package/usr/lib/*/libvulkan_lvp.so "$target/"
  sed 's|"library_path": *"[^"]*"|"library_path": "./libvulkan_lvp.so"|' "$work"/package/usr/share/vulkan/icd.d/lvp_icd*.json \
    >"$target/lvp_icd.json"
  dpkg-deb -f "$work"/mesa-vulkan-drivers_*.deb Version >"$target/version"
  local missing
  missing=$(ldd "$target/libvulkan_lvp.so" | awk '/not found/ {print $1}' | paste -sd, -)
  [ -z "$missing" ] || die "lavapipe needs $missing. Run, then this again:
  sudo apt-get install -y --no-install-recommends libllvm15 libwayland-client0 libx11-xcb1 libxcb-dri3-0 libxcb-present0 \
libxcb-randr0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxshmfence1 libdrm2"
}

[ -x "$venv/bin/python" ] || die "no environment in $venv; run: make setup"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
install_python_parts
if [ -e /proc/driver/nvidia/version ] || [ -n "${VK_ICD_FILENAMES:-}" ] || [ -f "$target/version" ]; then
  say "The Vulkan driver is there already."
else
  install_lavapipe
fi
"$venv/bin/python" -c 'from runners.envs.simpler.runtime import prepare; print(prepare())'
say "Ready. SIMPLER's assets: docs/simpler.md"
