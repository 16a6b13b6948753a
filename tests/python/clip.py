"""Compares `fewstep evaluate --metrics clip` with transformers.

Usage: python3 tests/python/clip.py [FEWSTEP]

Makes a small CLIP model with random weights, a vocabulary, pictures of several sizes and a prompt for each, and computes a hundred times
the mean cosine with transformers and with FEWSTEP. Exit status 0: they agree to 1e-3; 1: they do not; 77: transformers is not installed.
"""

import importlib.util
import json
import pathlib
import subprocess
import sys
import tempfile

PROMPTS = ["a cat", "two old dogs, asleep", "THE red house at night!", "it's 42", "an umbrella   and a boat", "x"]


def vocabulary(folder):
    """Every byte alone and at the end of a word, a few merges, and the two marks: as CLIP's, but small."""
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    names, extra = [], 0
    for byte in range(256):
        if byte in keep:
            names.append(chr(byte))
        else:
            names.append(chr(256 + extra))
            extra += 1
    order = [names[byte] for byte in keep] + [names[byte] for byte in range(256) if byte not in keep]
    merges = ["a t</w>", "t h", "th e</w>", "o l", "ol d</w>", "d o", "do g", "dog s</w>", "r e", "re d</w>"]
    symbols = order + [name + "</w>" for name in order] + [merge.replace(" ", "") for merge in merges]
    symbols += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {symbol: number for number, symbol in enumerate(symbols)}
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return len(vocab)


def pictures(folder):
    from PIL import Image
    import numpy as np

    folder.mkdir()
    draw = np.random.default_rng(1)
    for i in range(len(PROMPTS)):
        # Much larger than the model's 32 pixels, or smaller: Pillow 13 resizes some that are a little larger downwards first,
        # where earlier ones went across first, and rounds to other bytes.
        height, width = 25 + 13 * i, 90 - 9 * i
        coarse = draw.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        picture = Image.fromarray(coarse).resize((width, height), Image.BICUBIC)
        picture.save(folder / f"{i:03}.png")


def theirs(folder, images):
    import torch
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    prepare = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    shown = [Image.open(path).convert("RGB") for path in sorted(images.iterdir())]
    with torch.no_grad():
        told = tokenizer(PROMPTS, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
        found = model(**told, pixel_values=prepare(shown, return_tensors="pt")["pixel_values"])
    cosines = (found.image_embeds * found.text_embeds).sum(1)
    return 100 * float(cosines.double().mean())


def main():
    missing = [name for name in ("torch", "transformers", "PIL", "numpy") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"skipped: {', '.join(missing)} not installed")
        return 77
    import torch
    from transformers import CLIPConfig, CLIPModel, CLIPTextConfig, CLIPVisionConfig

    program = sys.argv[1] if len(sys.argv) > 1 else "fewstep"
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        folder, images = work / "clip", work / "pictures"
        folder.mkdir()
        size = vocabulary(folder)
        pictures(images)
        torch.manual_seed(0)
        text = CLIPTextConfig(
            vocab_size=size, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
            bos_token_id=size - 2, eos_token_id=size - 1, pad_token_id=size - 1,
        )
        vision = CLIPVisionConfig(
            hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8
        )
        model = CLIPModel(CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=32))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        model.save_pretrained(folder)
        (work / "prompts.json").write_text(json.dumps(PROMPTS))
        typed = [program, "evaluate", "pictures", "--metrics", "clip", "--prompts", "prompts.json", "--clip", "clip", "--json"]
        ours = json.loads(subprocess.run(typed, cwd=work, check=True, capture_output=True).stdout)["clip"]["mean"]
        expected = theirs(folder, images)
    error = abs(ours - expected)
    print(f"transformers {expected:.5f}, ours {ours:.5f}: off by {error:.2e}")
    return int(error > 1e-3)


sys.exit(main())
