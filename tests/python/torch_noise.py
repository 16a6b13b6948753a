"""Compares `--noise torch-cpu` and `--noise torch-cuda` with PyTorch itself.

Usage: python3 tests/python/torch_noise.py [FEWSTEP]

Writes golden cases of kind `noise` with the PyTorch that is installed, on the CPU and, where there is one, on a CUDA
device, and lets `fewstep verify` (FEWSTEP, or the one on the path) compare. Says that it is skipped where PyTorch is
not installed. Exit status 0: same or skipped; otherwise that of `fewstep verify`.
"""

import json
import pathlib
import struct
import subprocess
import sys
import tempfile

SEEDS = [0, 1, 7, 42, 49999, 2**31 + 5, 2**32 - 1]
SHAPES = [[1], [5], [15], [16], [17], [100], [1, 28, 28], [1, 32, 32], [3, 32, 32], [3, 64, 64], [4, 64, 64]]
# More elements than any device has threads: the layout then depends on the device.
LARGE = [[3, 512, 512], [1, 1500, 1501]]


def write(path, case, tensors):
    """A safetensors file with a case in its metadata; tensors are 1-d, by name, of float32 or int64."""
    header, data = {"__metadata__": {"case": json.dumps(case)}}, b""
    for name, tensor in tensors.items():
        integers = tensor.dtype.is_floating_point is False
        values = tensor.flatten().cpu().tolist()
        raw = struct.pack(f"<{len(values)}{'q' if integers else 'f'}", *values)
        header[name] = {
            "dtype": "I64" if integers else "F32",
            "shape": list(tensor.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def case(torch, device):
    """What PyTorch draws on a device."""

    def fresh(seed):
        return torch.Generator(device).manual_seed(seed)

    shapes = SHAPES if device == "cpu" else SHAPES + LARGE
    tensors = {}
    for seed in SEEDS:
        for shape in shapes:
            name = "x".join(map(str, shape))
            tensors[f"out/seed{seed}/{name}"] = torch.randn(shape, generator=fresh(seed), device=device)
        generator = fresh(seed)
        place = f"out/seed{seed}/sequence"
        tensors[f"{place}/latent"] = torch.randn([1, 28, 28], generator=generator, device=device)
        tensors[f"{place}/label"] = torch.randint(10, [1], generator=generator, device=device)
        tensors[f"{place}/after"] = torch.randn([7], generator=generator, device=device)
    config = {"generator": f"torch-{device}", "seeds": SEEDS, "shapes": shapes}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        config["blocks"] = properties.multi_processor_count * (properties.max_threads_per_multi_processor // 256)
    # CUDA takes sine and cosine from fast instructions with an error of about 2^-21, times a length of up to 6.7.
    tolerance = {"abs": 1e-6 if device == "cpu" else 1e-5}
    return {"kind": "noise", "name": f"torch_{device}", "config": config, "tolerance": tolerance}, tensors


def main():
    try:
        import torch
    except ImportError:
        print("skipped: PyTorch is not installed")
        return 0
    program = sys.argv[1] if len(sys.argv) > 1 else "fewstep"
    devices = ["cpu"] + ["cuda"] * torch.cuda.is_available()
    with tempfile.TemporaryDirectory() as folder:
        for device in devices:
            write(pathlib.Path(folder) / f"torch_{device}.safetensors", *case(torch, device))
        print(f"PyTorch {torch.__version__} on {', '.join(devices)}")
        return subprocess.run([program, "verify", folder]).returncode


if __name__ == "__main__":
    sys.exit(main())
