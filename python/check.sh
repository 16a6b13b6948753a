#!/usr/bin/env bash
# Builds the wheel, installs it into a fresh environment and tests it there. Usage: bash python/check.sh
#
# With the release build of the tool there already it takes minutes: the module is the library once more, linked for Python.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT

run() {
    printf '\n== %s\n' "$*"
    local start=$SECONDS
    "$@"
    printf '== %d s\n' $((SECONDS - start))
}

cargo fmt --check
python3 -m venv "$work/venv"
pip() { "$work/venv/bin/pip" --quiet --disable-pip-version-check "$@"; }
run pip wheel . --no-deps --wheel-dir "$work/wheel"
ls -l "$work/wheel"
run pip install "$work"/wheel/fewstep-*.whl
# Nothing of this folder but the tests is seen from there.
cp -r tests "$work/tests"
cp ../cli/tests/support/teacher.toml "$work/tests"
cd "$work/tests"
if pip install mypy==2.4.1; then
    run "$work/venv/bin/mypy" --strict --python-executable "$work/venv/bin/python" use.py
else
    echo "mypy is missing: types are not checked" >&2
fi
# The interpreter of the environment, and no program but its own.
run env PATH="$work/venv/bin:$PATH" "$work/venv/bin/python" -m unittest -v test_package
printf '\nthe Python package passed in %d s\n' "$SECONDS"
