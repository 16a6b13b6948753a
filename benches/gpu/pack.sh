#!/usr/bin/env bash
# Builds the tool for CUDA and Vulkan and packs it with all that benches/gpu/run.py needs: see README.md beside this file.
# Usage: bash check-gpu.sh cuda
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
target=target/gpu
build() {
    cargo rustc --release --locked --package fewstep-cli --bin fewstep --features cuda,vulkan --target-dir "$target" -- "$@"
}

# CubeCL's other compiler of kernels for CUDA, which the tool never calls, is an LLVM that its build downloads. Where it cannot,
# what is missing is filled with functions that end the program: enough to check all else, and what the card is told to do
# is the same. What users build has the real one.
if [ -z "${FEWSTEP_STUBS:-}" ] && curl --silent --fail --head --max-time 10 https://github.com >/dev/null; then
    build
else
    echo "without the internet: LLVM, which is not used, is left out" >&2
    export DOCS_RS=1
    stubs="$target/stubs"
    mkdir -p "$stubs"
    if [ ! -e "$stubs/stubs.o" ]; then
        build -C link-arg=-Wl,--unresolved-symbols=ignore-all
        nm -D --undefined-only "$target/release/fewstep" | awk '{print $2}' | grep -E '^(LLVM|cubecl_)' |
            sed 's/@.*//; s/.*/void &(void) { __builtin_trap(); }/' >"$stubs/stubs.c"
        cc -c -fno-builtin -o "$stubs/stubs.o" "$stubs/stubs.c"
    fi
    build -C "link-arg=$PWD/$stubs/stubs.o"
fi
"$target/release/fewstep" devices

folder="$target/fewstep-cuda"
rm -rf "$folder"
mkdir -p "$folder/golden" "$folder/data" "$folder/pytorch"
cp "$target/release/fewstep" "$folder"
strip "$folder/fewstep"
cp benches/gpu/run.py benches/gpu/amp.py benches/gpu/README.md assets/fashion-mnist-teacher.safetensors "$folder"
cp benches/pytorch/{network,method,worker}.py "$folder/pytorch"
cp -r tests/golden/. "$folder/golden"
[ ! -d ../shared/golden ] || cp -r ../shared/golden/. "$folder/golden"
# The speed of training does not depend on which images these are: the small half of the data, as if it were the large.
fashion_mnist="${FEWSTEP_FASHION_MNIST:-/usr/share/datasets/fashion-mnist}"
for kind in images-idx3 labels-idx1; do
    file="$fashion_mnist/t10k-$kind-ubyte.gz"
    [ ! -e "$file" ] || cp "$file" "$folder/data/train-$kind-ubyte.gz"
done
rmdir --ignore-fail-on-non-empty "$folder/data"
tar --create --xz --file "$folder.tar.xz" --directory "$target" fewstep-cuda
size=$(($(stat --format %s "$folder.tar.xz") / 1000000))
echo "$folder.tar.xz: $size MB. On a machine with a card: tar xf fewstep-cuda.tar.xz && python3 fewstep-cuda/run.py"
[ "$size" -lt 60 ] || { echo "that is more than 60 MB" >&2; exit 1; }
