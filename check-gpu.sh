#!/usr/bin/env bash
# Builds the tool for a GPU, lists the devices and checks the smallest network there. Not part of CI: the build takes about
# twice as long as the usual one. Usage: bash check-gpu.sh [vulkan|metal|rocm|wgpu|cuda] [DEVICE]
#
#   bash check-gpu.sh cuda        also packs target/gpu/fewstep-cuda.tar.xz, to be tried on a machine with a card and without Rust:
#                                 benches/gpu/README.md. Without a card, or the internet, it still builds.
#   bash check-gpu.sh software    without a GPU: Mesa's software device (Debian: mesa-vulkan-drivers), hundreds of times slower
#                                 than the CPU itself. It needs a CubeCL that is mended first: .ci/cubecl-spirv.patch says why.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
interface="${1:-vulkan}"
mended=()
if [ "$interface" = software ]; then
    interface=vulkan
    cargo fetch --locked
    manifest="$(cargo metadata --format-version 1 --locked |
        grep -o '"manifest_path":"[^"]*/cubecl-spirv-[^"]*"' | cut -d '"' -f 4)"
    source=target/gpu/cubecl-spirv
    # Left alone once it is there: its files' times decide what is built again.
    if [ ! -e "$source" ]; then
        rm -rf "$source.new"
        mkdir -p "$source.new"
        cp -r "$(dirname "$manifest")/." "$source.new"
        patch --directory "$source.new" --strip 1 <.ci/cubecl-spirv.patch
        mv "$source.new" "$source"
    fi
    mended=(--config "patch.crates-io.cubecl-spirv.path='$source'")
    # The lock file names where a package comes from; this origin is nobody else's business.
    cp Cargo.lock target/gpu/Cargo.lock
    trap 'cp target/gpu/Cargo.lock Cargo.lock' EXIT
    # Choosing among kernels takes longer there than any of them is worth.
    export CUBECL_AUTOTUNE_LEVEL=minimal
fi
device="${2:-$interface:0}"
if [ "$interface" = cuda ]; then
    exec bash benches/gpu/pack.sh
fi

# A folder of its own: other features of Burn would make the usual build stale.
cargo build --release --package fewstep-cli --features "$interface" --target-dir target/gpu ${mended[@]+"${mended[@]}"}
fewstep=target/gpu/release/fewstep
"$fewstep" devices
# The first kernels of a process are compiled while it runs.
"$fewstep" verify tests/golden/network_song_tiny.safetensors --device "$device"
