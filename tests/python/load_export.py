"""Loads what `fewstep convert --to pytorch` wrote with plain torch, and compares it with the file it was made from.

    python load_export.py SOURCE.pt EXPORT.safetensors

Exit status: 0 all is well, 1 something differs, 77 torch is not installed.
"""

import json
import struct
import sys

try:
    import torch
except ImportError:
    print("skipped: torch is not installed")
    sys.exit(77)


def load_safetensors(path):
    """The official loader where it is installed, else the format read by hand: it is a header and plain numbers."""
    try:
        from safetensors.torch import load_file

        return load_file(path)
    except ImportError:
        pass
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
    with open(path, "rb") as file:
        content = bytearray(file.read())
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, info in header.items():
        start, end = (8 + length + offset for offset in info["data_offsets"])
        numbers = torch.frombuffer(content[start:end], dtype=types[info["dtype"]])
        tensors[name] = numbers.reshape(info["shape"])
    return tensors


def module_of(tensors):
    """A module with exactly these entries, as any network has that was built with them."""
    root = torch.nn.Module()
    for name, tensor in tensors.items():
        *path, last = name.split(".")
        module = root
        for part in path:
            if part not in module._modules:
                module.add_module(part, torch.nn.Module())
            module = module._modules[part]
        if last == "resample_filter":
            module.register_buffer(last, torch.zeros_like(tensor))
        else:
            module.register_parameter(last, torch.nn.Parameter(torch.zeros_like(tensor)))
    return root


def main():
    source = torch.load(sys.argv[1], map_location="cpu", weights_only=True)["state_dict"]
    network = module_of(source)
    # The three lines of docs/files.md, with our own loader for machines without the safetensors package.
    exported = load_safetensors(sys.argv[2])
    network.load_state_dict(exported, strict=True)
    wrong = [name for name, tensor in network.state_dict().items() if not torch.equal(tensor, source[name])]
    print(f"{len(source)} tensors, {len(wrong)} differ: {wrong[:3]}")
    return 1 if wrong else 0


sys.exit(main())
