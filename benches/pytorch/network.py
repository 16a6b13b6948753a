"""DDPM++ ("SongUNet") with its preconditioning in plain PyTorch.

Written for this comparison from the description of the network in docs/paper-map.md; module names are those of the
official weight files, so that a fewstep file loads as it is.
"""

import json
import math
import struct

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

# Memory layout of weights and images, and whose attention.
VARIANTS = ["contiguous", "contiguous+sdpa", "channels-last", "channels-last+sdpa"]


class Conv(nn.Conv2d):
    """3x3 or 1x1, size kept, after doubling or halving."""

    def __init__(self, cin, cout, side, resample=None):
        super().__init__(cin, cout, side, padding=side // 2)
        self.resample = resample

    def forward(self, x):
        if self.resample == "up":
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        elif self.resample == "down":
            x = F.avg_pool2d(x, 2)
        return super().forward(x)


def norm(channels):
    return nn.GroupNorm(min(32, channels // 4), channels, eps=1e-6)


class Block(nn.Module):
    def __init__(self, cin, cout, embedding, resample=None, attention=False):
        super().__init__()
        self.norm0 = norm(cin)
        self.conv0 = Conv(cin, cout, 3, resample)
        self.affine = nn.Linear(embedding, cout)
        self.norm1 = norm(cout)
        self.conv1 = Conv(cout, cout, 3)
        self.skip = Conv(cin, cout, 1, resample) if cin != cout or resample else None
        self.attends = attention
        if attention:
            self.norm2 = norm(cout)
            self.qkv = Conv(cout, 3 * cout, 1)
            self.proj = Conv(cout, cout, 1)

    def forward(self, x, embedding, fused):
        hidden = self.conv0(F.silu(self.norm0(x)))
        shift = self.affine(embedding)[:, :, None, None]
        hidden = self.conv1(F.silu(self.norm1(hidden + shift)))
        skip = x if self.skip is None else self.skip(x)
        x = (hidden + skip) * math.sqrt(0.5)
        return self.attend(x, fused) if self.attends else x

    def attend(self, x, fused):
        """One head over all pixels; channels of `qkv` are ordered channel, then {q, k, v}."""
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm2(x)).reshape(b, c, 3, h * w)
        query, key, value = qkv.unbind(2)
        if fused:
            rows = [t.transpose(1, 2).unsqueeze(1) for t in (query, key, value)]
            mixed = F.scaled_dot_product_attention(*rows).squeeze(1).transpose(1, 2)
        else:
            weights = torch.softmax(query.transpose(1, 2) @ key / math.sqrt(c), dim=2)
            mixed = value @ weights.transpose(1, 2)
        return (self.proj(mixed.reshape(b, c, h, w)) + x) * math.sqrt(0.5)


class SongUNet(nn.Module):
    """`fused` attention is PyTorch's own `scaled_dot_product_attention`."""

    def __init__(self, config, fused=False):
        super().__init__()
        for key, plain in {
            "step-branch": False,
            "embedding": "positional",
            "encoder": "standard",
            "decoder": "standard",
            "resample-filter": "box",
        }.items():
            if config.get(key, plain) != plain:
                raise SystemExit(f"this comparison has no networks with {key} = {config[key]}")
        self.fused = fused
        channels = config["model-channels"]
        self.waves, self.classes = channels, config.get("classes", 0)
        embedding = 4 * channels
        if self.classes:
            self.map_label = nn.Linear(self.classes, self.waves)
        if config.get("augment-labels", 0):
            # In the file, but without augmentation not in use.
            self.map_augment = nn.Linear(config["augment-labels"], self.waves, bias=False)
        self.map_layer0 = nn.Linear(self.waves, embedding)
        self.map_layer1 = nn.Linear(embedding, embedding)

        def block(cin, cout, **how):
            return Block(cin, cout, embedding, **how)

        multipliers, blocks = config["channel-multipliers"], config["blocks"]
        attention = config["attention-resolutions"]
        self.enc, self.dec = nn.ModuleDict(), nn.ModuleDict()
        width, kept = channels, [channels]
        for level, multiplier in enumerate(multipliers):
            size = config["resolution"] >> level
            if level == 0:
                self.enc[f"{size}x{size}_conv"] = Conv(config["channels"], width, 3)
            else:
                self.enc[f"{size}x{size}_down"] = block(width, width, resample="down")
                kept.append(width)
            for i in range(blocks):
                cin, width = width, channels * multiplier
                self.enc[f"{size}x{size}_block{i}"] = block(cin, width, attention=size in attention)
                kept.append(width)
        for level, multiplier in reversed(list(enumerate(multipliers))):
            size = config["resolution"] >> level
            if level == len(multipliers) - 1:
                self.dec[f"{size}x{size}_in0"] = block(width, width, attention=True)
                self.dec[f"{size}x{size}_in1"] = block(width, width)
            else:
                self.dec[f"{size}x{size}_up"] = block(width, width, resample="up")
            for i in range(blocks + 1):
                cin, width = width + kept.pop(), channels * multiplier
                attends = i == blocks and size in attention
                self.dec[f"{size}x{size}_block{i}"] = block(cin, width, attention=attends)
        self.dec[f"{size}x{size}_aux_norm"] = norm(width)
        self.dec[f"{size}x{size}_aux_conv"] = Conv(width, config["channels"], 3)

    def embed(self, noise, labels):
        half = self.waves // 2
        frequencies = 1e-4 ** (torch.arange(half, dtype=torch.float64) / (half - 1))
        angles = noise * frequencies
        embedding = torch.cat([angles.sin(), angles.cos()]).float()[None]
        if self.classes:
            embedding = embedding + self.map_label(labels * math.sqrt(self.classes))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(embedding))))

    def forward(self, x, noise, labels=None):
        embedding = self.embed(noise, labels)
        kept = []
        for layer in self.enc.values():
            x = layer(x, embedding, self.fused) if isinstance(layer, Block) else layer(x)
            kept.append(x)
        for name, layer in self.dec.items():
            if not isinstance(layer, Block):
                x = F.silu(layer(x)) if name.endswith("aux_norm") else layer(x)
                continue
            if "_block" in name:
                x = torch.cat([x, kept.pop()], dim=1)
            x = layer(x, embedding, self.fused)
        return x


class Denoiser(nn.Module):
    """D(x; sigma) = c_skip x + c_out F(c_in x; c_noise)."""

    def __init__(self, model, sigma_data):
        super().__init__()
        self.model, self.sigma_data = model, sigma_data

    def forward(self, x, sigma, labels=None):
        data = self.sigma_data
        total = sigma * sigma + data * data
        raw = self.model(x / math.sqrt(total), math.log(sigma) / 4, labels)
        return (data * data / total) * x + (sigma * data / math.sqrt(total)) * raw


def read_json(path):
    """The JSON that fewstep writes into the header of a safetensors file."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(json.loads(file.read(length))["__metadata__"]["fewstep"])


def load(path, variant="contiguous"):
    """The network of a fewstep file in one of the `VARIANTS`, ready for inference, and its sizes."""
    layout, _, attention = variant.partition("+")
    card = read_json(path)
    if card["network"]["kind"] != "song-unet":
        raise SystemExit(f"{path}: this comparison is for kind = song-unet")
    denoiser = Denoiser(SongUNet(card["network"], attention == "sdpa"), card["sigma-data"])
    denoiser.load_state_dict(load_file(path), strict=True)
    if layout == "channels-last":
        denoiser = denoiser.to(memory_format=torch.channels_last)
    return denoiser.eval(), card["network"]
