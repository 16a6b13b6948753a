#!/usr/bin/env bash
# The checks that CI runs, cheapest first. Usage: bash check.sh
#
# Everything is built in the release profile: a debug build of the networks would be slow to run, and would compile
# every dependency a second time. Clippy and rustdoc share one set of (unlinked) dependencies, the tests and the tool
# another. Always `--workspace`: a single package would use other features of the dependencies, and compile them anew.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

run() {
    printf '\n== %s\n' "$*"
    local start=$SECONDS
    "$@" || {
        local status=$?
        printf '\nfailed: %s\n' "$*" >&2
        exit "$status"
    }
    printf '== %d s\n' $((SECONDS - start))
}

run cargo fmt --all --check
run cargo clippy --release --workspace --all-targets -- -D warnings
# The tool without downloads and charts.
run cargo clippy --release --workspace --no-default-features -- -D warnings
run env RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps --workspace
run cargo test --release --workspace

printf '\nall checks passed in %d s\n' "$SECONDS"
