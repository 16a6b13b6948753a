#!/usr/bin/env bash
# A crate of somebody's own with the README's program, which is built and run. Usage: bash tests/dependency.sh [--bare]
#
# With --bare the crate names `fewstep` alone, as people's do: that compiles the tensor framework once more, in a folder of its own
# (10 to 15 minutes). Without it the features of all dependencies are those of this workspace, whose release build is then shared.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

clone="$PWD"
fresh="$(mktemp -d)"
trap 'rm -rf "$fresh"' EXIT
target="${CARGO_TARGET_DIR:-$clone/target}"

mkdir -p "$fresh/src" "$fresh/runs/demo"
{
    printf '[package]\nname = "fresh"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\n'
    printf 'fewstep = { path = "%s" }\n' "$clone"
    if [ "${1:-}" = --bare ]; then
        target="$target/bare"
    else
        # What `python/Cargo.toml` has for the same reason, up to the end.
        sed -n '/^bytes = /,$p' python/Cargo.toml
    fi
} >"$fresh/Cargo.toml"
# The versions that are tested, and no download.
cp Cargo.lock "$fresh/Cargo.lock"
{
    echo 'fn main() -> Result<(), fewstep::Error> {'
    sed -n '/^```rust,no_run$/,/^```$/p' README.md | sed -e '/^```/d' -e 's/^Ok::<(), fewstep::Error>(())$/Ok(())/'
    echo '}'
} >"$fresh/src/main.rs"
cp assets/fashion-mnist-teacher.safetensors "$fresh/runs/demo/student.safetensors"

cd "$fresh"
CARGO_TARGET_DIR="$target" cargo build --release --offline
"$target/release/fresh"
test -s four.png
echo "the README's program built and drew four.png"
