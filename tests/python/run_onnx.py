"""Runs ONNX files that fewstep wrote in onnxruntime, and compares.

    python run_onnx.py FOLDER

FOLDER has for each NAME.onnx a file NAME.safetensors with the tensors `in/INPUT` and `out/OUTPUT`, all of f32: what goes in, and
what fewstep says comes out.

Exit status: 0 all is well, 1 something differs, 77 onnx or onnxruntime is not installed.
"""

import json
import pathlib
import struct
import sys

try:
    import numpy
    import onnx
    import onnxruntime
except ImportError as missing:
    print(f"skipped: {missing.name} is not installed")
    sys.exit(77)

# Roundings of f32 in some hundred operators: largest difference over the root mean square.
TOLERANCE = 1e-4


def read(path):
    """The tensors of a safetensors file, all of f32."""
    data = path.read_bytes()
    (length,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    found = {}
    for name, info in header.items():
        assert info["dtype"] == "F32", name
        start, end = (8 + length + offset for offset in info["data_offsets"])
        found[name] = numpy.frombuffer(data[start:end], "<f4").reshape(info["shape"])
    return found


def main():
    folder = pathlib.Path(sys.argv[1])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    failed = False
    for path in sorted(folder.glob("*.onnx")):
        onnx.checker.check_model(path, full_check=True)
        case = read(path.with_suffix(".safetensors"))
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        inputs = {name[3:]: value for name, value in case.items() if name.startswith("in/")}
        wanted = [name for name in case if name.startswith("out/")]
        assert {value.name for value in session.get_inputs()} == set(inputs), path.name
        card = json.loads(session.get_modelmeta().custom_metadata_map["fewstep"])
        calls = json.loads(session.get_modelmeta().custom_metadata_map["fewstep-calls"])
        assert card["format"] == 1 and calls["images"], path.name
        answers = session.run([name[4:] for name in wanted], inputs)
        for name, answer in zip(wanted, answers):
            expected = case[name]
            assert answer.shape == expected.shape, (path.name, answer.shape, expected.shape)
            off = numpy.abs(answer - expected).max() / numpy.sqrt(numpy.square(expected).mean())
            print(f"{path.stem} {name[4:]}: off by {off:.1e} of the root mean square, allowed {TOLERANCE:.0e}")
            failed |= not off <= TOLERANCE
    sys.exit(failed)


if __name__ == "__main__":
    main()
