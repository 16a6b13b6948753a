"""Builds the wheel: maturin's backend, with the program `fewstep` beside the module.

The program is the compiled one, in the wheel's `scripts`, as of ruff and uv: on the path it is the same file that cargo makes,
which starts at once, is stopped by signals as its manual says and works under `nohup`, with no Python process around it. A script
that called into the module would share the code and halve the wheel, but then an interpreter would hold the signals and the
memory of a training of hours. maturin makes a wheel of a program or of a module, not of both; this builds the first, puts it where
maturin picks up data, and leaves the rest to it.

Both are built into one folder, `target` of the clone or CARGO_TARGET_DIR, so that what they are made of is compiled once where their
settings agree. FEWSTEP_FEATURES are features of the program, such as `vulkan`.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import maturin
from maturin import get_requires_for_build_editable, get_requires_for_build_wheel  # noqa: F401

PACKAGE = Path(__file__).resolve().parent.parent
CLONE = PACKAGE.parent
SCRIPTS = PACKAGE / "fewstep.data" / "scripts"


def program() -> None:
    """Builds the program, and puts it where maturin takes scripts from."""
    if not (CLONE / "cli" / "Cargo.toml").is_file():
        raise SystemExit(f"{CLONE} is no clone of fewstep: build the package in one, with `pip install ./python`")
    os.environ.setdefault("CARGO_TARGET_DIR", str(CLONE / "target"))
    command = ["cargo", "build", "--release", "--locked", "--workspace", "--bin", "fewstep"]
    features = os.environ.get("FEWSTEP_FEATURES")
    if features:
        command += ["--features", features]
    command += ["--message-format", "json-render-diagnostics"]
    try:
        built = subprocess.run(command, cwd=CLONE, check=True, stdout=subprocess.PIPE, text=True)
    except FileNotFoundError:
        raise SystemExit("there is no cargo: get Rust 1.95 or newer from https://rustup.rs") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"the program could not be built: {' '.join(command)} ended with {error.returncode}") from None
    made = [json.loads(line) for line in built.stdout.splitlines() if line.startswith("{")]
    files = [message["executable"] for message in made if message.get("executable")]
    if len(files) != 1:
        raise SystemExit(f"cargo names {len(files)} programs where one was expected")
    shutil.rmtree(SCRIPTS, ignore_errors=True)
    SCRIPTS.mkdir(parents=True)
    target = SCRIPTS / Path(files[0]).name
    shutil.copy2(files[0], target)
    target.chmod(0o755)
    strip = shutil.which("strip")
    if strip and sys.platform == "linux":
        subprocess.run([strip, str(target)], check=False)


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    # maturin wants the folder of its data, whatever it is asked.
    SCRIPTS.mkdir(parents=True, exist_ok=True)
    return maturin.prepare_metadata_for_build_wheel(metadata_directory, config_settings)


prepare_metadata_for_build_editable = prepare_metadata_for_build_wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    program()
    return maturin.build_wheel(wheel_directory, config_settings, metadata_directory)


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    program()
    return maturin.build_editable(wheel_directory, config_settings, metadata_directory)


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_sdist(sdist_directory, config_settings=None):
    raise SystemExit("an archive of the Python folder alone could not be built: make a wheel, with `pip wheel ./python`")
