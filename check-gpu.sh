#!/usr/bin/env bash
# Builds the tool for a GPU, lists the devices and checks the smallest network there. Not part of CI: the build takes about
# twice as long as the usual one. Usage: bash check-gpu.sh [vulkan|metal|rocm|wgpu|cuda] [DEVICE]
#
# Without a GPU, Mesa's software device (Debian: mesa-vulkan-drivers) can stand in for one; it is hundreds of times slower
# than the CPU itself.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
interface="${1:-vulkan}"
device="${2:-$interface:0}"

# A folder of its own: other features of Burn would make the usual build stale.
cargo build --release --package fewstep-cli --features "$interface" --target-dir target/gpu
fewstep=target/gpu/release/fewstep
"$fewstep" devices
# The first kernels of a process are compiled while it runs.
"$fewstep" verify tests/golden/network_song_tiny.safetensors --device "$device"
