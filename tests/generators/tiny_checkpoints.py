"""Stable Diffusion checkpoints with random weights, a few hundred kilobytes each, in diffusers' layout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import diffusers
import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

Kind = Literal["sd15", "sd2", "xl", "inpainting"]
KINDS: tuple[Kind, ...] = ("sd15", "sd2", "xl", "inpainting")
WIDTH = 16


def tiny_checkpoint(folder: Path, kind: Kind, *, seed: int = 0) -> Path:
    """Writes a checkpoint of 32-pixel pictures. sd2 predicts velocities, xl has two text encoders, inpainting 9 channels."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        _pipeline(folder, kind).save_pretrained(folder, safe_serialization=True)
    return folder


def _pipeline(folder: Path, kind: Kind) -> Any:
    parts: dict[str, Any] = {
        "unet": _unet(kind),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 8), down_block_types=["DownEncoderBlock2D"] * 2, up_block_types=["UpDecoderBlock2D"] * 2,
            layers_per_block=1, norm_num_groups=4, latent_channels=4, sample_size=32,
        ),
        "scheduler": diffusers.DDIMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1,
            set_alpha_to_one=False, prediction_type="v_prediction" if kind == "sd2" else "epsilon",
        ),
        "tokenizer": _tokenizer(folder / "words"),
        "text_encoder": CLIPTextModel(_text_config()),
    }  # fmt: skip
    if kind == "xl":
        parts |= {
            "tokenizer_2": parts["tokenizer"],
            "text_encoder_2": CLIPTextModelWithProjection(_text_config()),
        }
        return diffusers.StableDiffusionXLPipeline(**parts, add_watermarker=False)
    plain = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if kind == "inpainting":
        return diffusers.StableDiffusionInpaintPipeline(**parts, **plain)
    return diffusers.StableDiffusionPipeline(**parts, **plain)


def _unet(kind: Kind) -> diffusers.UNet2DConditionModel:
    changes: dict[str, Any] = {
        "sd15": {},
        "inpainting": {"in_channels": 9},
        "sd2": {"use_linear_projection": True, "attention_head_dim": (2, 4)},
        "xl": {
            "use_linear_projection": True, "attention_head_dim": (2, 4), "addition_embed_type": "text_time",
            "addition_time_embed_dim": 8, "projection_class_embeddings_input_dim": 6 * 8 + WIDTH,
            "cross_attention_dim": 2 * WIDTH, "transformer_layers_per_block": (1, 2),
        },
    }[kind]  # fmt: skip
    usual: dict[str, Any] = {
        "block_out_channels": (8, 16), "layers_per_block": 1, "sample_size": 16, "norm_num_groups": 4,
        "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
        "cross_attention_dim": WIDTH, "attention_head_dim": 4,
    }  # fmt: skip
    if kind == "xl":
        usual |= {
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        }
    return diffusers.UNet2DConditionModel(**{**usual, **changes})


def _text_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=WIDTH, intermediate_size=32, num_attention_heads=2, num_hidden_layers=2, projection_dim=WIDTH,
        vocab_size=1000, max_position_embeddings=77, bos_token_id=512, eos_token_id=513, pad_token_id=513,
    )  # fmt: skip


def _tokenizer(folder: Path) -> CLIPTokenizer:
    """One token a byte."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]
    names = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps({name: place for place, name in enumerate(names)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    for file in folder.iterdir():
        file.unlink()
    folder.rmdir()
    return tokenizer
