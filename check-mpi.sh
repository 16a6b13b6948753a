#!/usr/bin/env bash
# Builds the tool with the feature `mpi` and runs its tests with several processes on this machine. It needs an MPI (Debian:
# libopenmpi-dev, openmpi-bin) and libclang (libclang-dev). Usage: bash check-mpi.sh
#
# Into the usual target folder: all that is built anew is the tool, and what binds it to MPI.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
mpirun --version | head -1
export FEWSTEP_MPI=1
cargo test --release --workspace --features fewstep-cli/mpi --test mpi -- --test-threads=1
