"""Small random models of Stable Diffusion, as folders that the diffusers library itself writes.

    python tiny.py KIND FOLDER        KIND: first (Stable Diffusion 1), second (2, which predicts velocities) or xl
"""

import json
import math
import pathlib
import sys
import tempfile

import torch
from diffusers import (
    AutoencoderKL, DDIMScheduler, PNDMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline, UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

# Width of a text encoder, heads of 64 as in the published ones, of XL's second one, and of a text as a whole. The two differ: by that
# `from_single_file` tells them apart.
WIDTH, SECOND_WIDTH, WHOLE = 64, 128, 32


def fill(module, seed):
    """Random numbers of such sizes that nothing grows or dies on the way."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            drawn = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(drawn / math.sqrt(parameter[0].numel()))
            else:
                parameter.copy_(0.1 * drawn + (1 if name.endswith("weight") else 0))
    return module.eval()


def tokenizer(pad):
    """Bytes, bytes at the end of a word, two merges, start and end: 516 symbols."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    symbols = [chr(byte) for byte in printing] + [chr(256 + n) for n in range(256 - len(printing))]
    words = symbols + [symbol + "</w>" for symbol in symbols] + ["ca", "cat</w>", "<|startoftext|>", "<|endoftext|>"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "vocab.json").write_text(json.dumps({word: n for n, word in enumerate(words)}))
        (folder / "merges.txt").write_text("#version: 0.2\nc a\nca t</w>\n")
        return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=pad, model_max_length=77)


def text_encoder(layers, act, seed, projection=False):
    width = SECOND_WIDTH if projection else WIDTH
    config = CLIPTextConfig(
        vocab_size=516, hidden_size=width, intermediate_size=32, num_hidden_layers=layers, num_attention_heads=width // 64,
        max_position_embeddings=77, hidden_act=act, projection_dim=WHOLE, bos_token_id=514, eos_token_id=515, pad_token_id=515)
    return fill((CLIPTextModelWithProjection if projection else CLIPTextModel)(config), seed)


def autoencoder(scale):
    # Pictures of 64 x 64, eight times as wide as latents, as in the published ones.
    widths = (32, 32, 32, 32)
    blocks = {f"{side}_block_types": (f"{side.capitalize()}{end}2D",) * 4 for side, end in
              [("down", "EncoderBlock"), ("up", "DecoderBlock")]}
    vae = AutoencoderKL(block_out_channels=widths, layers_per_block=1, latent_channels=4, sample_size=64,
                        scaling_factor=scale, **blocks)
    fill(vae, 2)
    with torch.no_grad():
        # Pictures that use the range of grey levels without leaving it often.
        vae.decoder.conv_out.weight *= 0.5
    return vae


def unet(kind):
    xl = kind == "xl"
    width = WIDTH + SECOND_WIDTH if xl else WIDTH
    more = dict(use_linear_projection=True, attention_head_dim=(1, 2)) if kind != "first" else dict(attention_head_dim=8)
    if xl:
        waves = 8
        more |= dict(addition_embed_type="text_time", addition_time_embed_dim=waves, transformer_layers_per_block=(1, 2),
                     projection_class_embeddings_input_dim=6 * waves + WHOLE)
    channels = 32 if kind == "first" else 64
    model = UNet2DConditionModel(
        sample_size=8, block_out_channels=(channels, 2 * channels), layers_per_block=1, cross_attention_dim=width,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), **more)
    return fill(model, 1)


def pipeline(kind):
    table = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    if kind == "xl":
        return StableDiffusionXLPipeline(
            vae=autoencoder(0.13025), text_encoder=text_encoder(2, "quick_gelu", 3),
            text_encoder_2=text_encoder(3, "gelu", 4, projection=True), tokenizer=tokenizer("<|endoftext|>"),
            tokenizer_2=tokenizer("!"), unet=unet(kind), scheduler=DDIMScheduler(clip_sample=False, steps_offset=1, **table),
            add_watermarker=False)
    second = kind == "second"
    schedule = DDIMScheduler(clip_sample=False, steps_offset=1, prediction_type="v_prediction", **table)
    return StableDiffusionPipeline(
        vae=autoencoder(0.18215), text_encoder=text_encoder(2, "gelu" if second else "quick_gelu", 3),
        tokenizer=tokenizer("!" if second else "<|endoftext|>"), unet=unet(kind),
        scheduler=schedule if second else PNDMScheduler(skip_prk_steps=True, steps_offset=1, **table),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False)


if __name__ == "__main__":
    pipeline(sys.argv[1]).save_pretrained(sys.argv[2])
