"""The U-Net of latent diffusion models in plain PyTorch: Stable Diffusion v1's and XL's, and the unconditional one.

Written for this comparison from the description of the network in docs/paper-map.md; module names are those of the
official weight files, so that a fewstep file loads as it is.
"""

import math
from functools import partial

import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from network import read_json

VARIANTS = ["contiguous", "channels-last"]
PREFIX = "model.diffusion_model."


def sinusoid(number, width):
    half = width // 2
    angles = number * 1e-4 ** (torch.arange(half, dtype=torch.float64) / half)
    return torch.cat([angles.cos(), angles.sin()]).float()


def norm(channels, eps=1e-5):
    return nn.GroupNorm(32, channels, eps=eps)


class Residual(nn.Module):
    def __init__(self, cin, cout, embedding):
        super().__init__()
        conv = nn.Conv2d(cin, cout, 3, padding=1)
        self.in_layers = nn.Sequential(norm(cin), nn.SiLU(), conv)
        self.emb_layers = nn.Sequential(nn.Identity(), nn.Linear(embedding, cout))
        conv = nn.Conv2d(cout, cout, 3, padding=1)
        self.out_layers = nn.Sequential(norm(cout), nn.SiLU(), nn.Identity(), conv)
        self.skip_connection = nn.Conv2d(cin, cout, 1) if cin != cout else nn.Identity()

    def forward(self, x, embedding, _):
        shift = self.emb_layers(embedding)[:, :, None, None]
        return self.skip_connection(x) + self.out_layers(self.in_layers(x) + shift)


class PixelAttention(nn.Module):
    """Channels of `qkv` are ordered head, then {q, k, v}, then channel."""

    def __init__(self, width, heads):
        super().__init__()
        self.norm, self.heads = norm(width), heads
        self.qkv, self.proj_out = nn.Conv1d(width, 3 * width, 1), nn.Conv1d(width, width, 1)

    def forward(self, x, *_):
        b, c, h, w = x.shape
        qkv = self.qkv(self.norm(x).reshape(b, c, h * w))
        rows = qkv.reshape(b, self.heads, 3, c // self.heads, h * w).transpose(3, 4).unbind(2)
        mixed = F.scaled_dot_product_attention(*rows)
        return x + self.proj_out(mixed.transpose(2, 3).reshape(b, c, h * w)).reshape(b, c, h, w)


class Attention(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(context, width, bias=False)
        self.to_v = nn.Linear(context, width, bias=False)
        self.to_out = nn.Sequential(nn.Linear(width, width))

    def forward(self, x, context):
        def heads(t):
            return t.unflatten(2, (self.heads, -1)).transpose(1, 2)

        rows = heads(self.to_q(x)), heads(self.to_k(context)), heads(self.to_v(context))
        mixed = F.scaled_dot_product_attention(*rows)
        return self.to_out(mixed.transpose(1, 2).flatten(2))


class Gate(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x):
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.net = nn.Sequential(Gate(width), nn.Identity(), nn.Linear(4 * width, width))

    def forward(self, x):
        return self.net(x)


class TransformerBlock(nn.Module):
    def __init__(self, width, context, heads):
        super().__init__()
        self.attn1 = Attention(width, width, heads)
        self.attn2 = Attention(width, context, heads)
        self.ff = FeedForward(width)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x, context):
        own = self.norm1(x)
        x = x + self.attn1(own, own)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    def __init__(self, width, context, heads, depth, linear):
        super().__init__()
        self.norm, self.linear = norm(width, eps=1e-6), linear
        layer = nn.Linear if linear else partial(nn.Conv2d, kernel_size=1)
        self.proj_in, self.proj_out = layer(width, width), layer(width, width)
        blocks = [TransformerBlock(width, context, heads) for _ in range(depth)]
        self.transformer_blocks = nn.ModuleList(blocks)

    def forward(self, x, _, context):
        _, _, h, w = x.shape
        tokens = self.norm(x)
        if not self.linear:
            tokens = self.proj_in(tokens)
        tokens = tokens.flatten(2).transpose(1, 2)
        if self.linear:
            tokens = self.proj_in(tokens)
        for block in self.transformer_blocks:
            tokens = block(tokens, context)
        if self.linear:
            return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, (h, w))
        return x + self.proj_out(tokens.transpose(1, 2).unflatten(2, (h, w)))


class Down(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x, *_):
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x, *_):
        return self.conv(F.interpolate(x, scale_factor=2, mode="nearest"))


class Stem(nn.Conv2d):
    def forward(self, x, *_):
        return super().forward(x)


class LatentUNet(nn.Module):
    def __init__(self, config):
        super().__init__()
        channels = config["model-channels"]
        self.waves, embedding = channels, 4 * channels
        layers = nn.Linear(channels, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
        self.time_embed = nn.Sequential(*layers)
        how, self.added = config["attention"], config.get("added")
        if self.added:
            inside = self.added["text"] + 6 * self.added["waves"]
            layers = nn.Linear(inside, embedding), nn.SiLU(), nn.Linear(embedding, embedding)
            self.label_emb = nn.Sequential(nn.Sequential(*layers))

        def of(numbers, level):
            return numbers[level] if isinstance(numbers, list) else numbers

        def attention(width, level):
            if how["kind"] == "pixels":
                return PixelAttention(width, width // how["head-channels"])
            heads, depth = of(how["heads"], level), of(how.get("depth", 1), level)
            return SpatialTransformer(width, how["width"], heads, depth, how.get("linear", False))

        def block(cin, cout, level):
            parts = [Residual(cin, cout, embedding)]
            if 1 << level in config["attention-factors"]:
                parts.append(attention(cout, level))
            return parts

        multipliers, blocks = config["channel-multipliers"], config["blocks"]
        width, kept = channels, [channels]
        inputs, outputs = [[Stem(config["channels"], width, 3, padding=1)]], []
        for level, multiplier in enumerate(multipliers):
            for _ in range(blocks):
                cin, width = width, channels * multiplier
                inputs.append(block(cin, width, level))
                kept.append(width)
            if level + 1 < len(multipliers):
                inputs.append([Down(width)])
                kept.append(width)
        inner = attention(width, len(multipliers) - 1)
        middle = [Residual(width, width, embedding), inner, Residual(width, width, embedding)]
        for level, multiplier in reversed(list(enumerate(multipliers))):
            for i in range(blocks + 1):
                cin, width = width + kept.pop(), channels * multiplier
                parts = block(cin, width, level)
                if level and i == blocks:
                    parts.append(Up(width))
                outputs.append(parts)
        self.input_blocks = nn.ModuleList(nn.ModuleList(parts) for parts in inputs)
        self.middle_block = nn.ModuleList(middle)
        self.output_blocks = nn.ModuleList(nn.ModuleList(parts) for parts in outputs)
        self.out = nn.Sequential(norm(width), nn.SiLU(), nn.Conv2d(width, config["channels"], 3, padding=1))

    def forward(self, x, time, context=None):
        embedding = self.time_embed(sinusoid(time, self.waves)[None])
        if self.added:
            # Behind the tokens: the text as a whole, then six numbers, padded to whole rows.
            text, width = self.added["text"], context.shape[2]
            rows = -(-(text + 6) // width)
            context, behind = context[:, :-rows], context[:, -rows:].flatten(1)
            waves = [
                torch.cat([sinusoid(number.item(), self.added["waves"]) for number in numbers])
                for numbers in behind[:, text : text + 6]
            ]
            told = torch.cat([behind[:, :text], torch.stack(waves)], dim=1)
            embedding = embedding + self.label_emb(told)
        embedding = F.silu(embedding)
        kept = []
        for parts in self.input_blocks:
            for part in parts:
                x = part(x, embedding, context)
            kept.append(x)
        for part in self.middle_block:
            x = part(x, embedding, context)
        for parts in self.output_blocks:
            x = torch.cat([x, kept.pop()], dim=1)
            for part in parts:
                x = part(x, embedding, context)
        return self.out(x)


class Denoiser(nn.Module):
    """D(x; sigma) = x - sigma F(x / sqrt(sigma^2 + 1); time), for one noise level."""

    def __init__(self, model, table):
        super().__init__()
        self.model = model
        roots = torch.linspace(
            table["beta-start"] ** 0.5, table["beta-end"] ** 0.5, table["levels"], dtype=torch.float64
        )
        self.log_alphas = (0.5 * torch.log1p(-(roots**2))).cumsum(0)

    def time(self, sigma):
        """The position of a noise level among those of training, linear in log alpha between them."""
        wanted = -0.5 * math.log1p(sigma * sigma)
        left = int((self.log_alphas >= wanted).sum()) - 1
        a, b = self.log_alphas[left].item(), self.log_alphas[left + 1].item()
        return left + (wanted - a) / (b - a)

    def forward(self, x, sigma, context=None):
        raw = self.model(x / math.sqrt(sigma * sigma + 1), self.time(sigma), context)
        return x - sigma * raw


def load(path, variant="contiguous"):
    """The denoiser of a fewstep file in one of the `VARIANTS`, ready for inference, and its sizes."""
    card = read_json(path)
    if card["network"]["kind"] != "latent-unet":
        raise SystemExit(f"{path}: this comparison is for kind = latent-unet")
    denoiser = Denoiser(LatentUNet(card["network"]), card["noise-table"])
    weights = {name.removeprefix(PREFIX): tensor for name, tensor in load_file(path).items()}
    denoiser.model.load_state_dict(weights, strict=True, assign=True)
    if variant == "channels-last":
        denoiser = denoiser.to(memory_format=torch.channels_last)
    return denoiser.eval(), card["network"]
