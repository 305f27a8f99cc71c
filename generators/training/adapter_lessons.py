"""Turns logged pictures and clicks into what an adapter and its styles are taught with, on a frozen checkpoint.

Both lessons denoise logged pictures as the checkpoint was taught to, by its own noise schedule and prediction type (Ho et
al. 2020; Salimans and Ho 2022), outside the product. The first teaches the slot who clicked what, the second teaches a LoRA how
one advertiser's creatives look. Nothing else changes: not the UNet, not the autoencoder, not the text encoders.

Letters: P pictures, C concepts, B rows, L side in latents, T text tokens, W their width. Draws depend on (seed, step) alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from diffusers import DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional

from contracts.errors import DataError
from contracts.seeds import seed_of
from generators.examples import ExampleBatches, Examples
from generators.painting.adapter import Adapter, add_style, slot_parameters, style_tensors
from generators.painting.pretrained import Pretrained
from generators.pixels import to_float

FORGET = 0.1
"""Share of rows that forget each of: the prompt; the user; the click; user and click. Guidance needs all of them."""

_AT_ONCE = 8


class Grafted(nn.Module):
    """Some parameters of a frozen network, in float32, trained in its place.

    They are set into the host when this is called, and stay there; so gradient checkpointing, and several modules
    that take turns on one host, work.

    Args:
        host: whose parameters; not a part of this module.
        names: of the parameters in the host.
    """

    def __init__(self, host: nn.Module, names: Iterable[str]) -> None:
        super().__init__()
        self._host = (host,)  # in a tuple, so that it is no submodule
        self.grafts = nn.ParameterDict(
            {name.replace(".", "/"): nn.Parameter(host.get_parameter(name).detach().float().clone()) for name in names}
        )

    def tensors(self) -> dict[str, Tensor]:
        """The parameters by their names in the host."""
        return {name.replace("/", "."): parameter for name, parameter in self.grafts.items()}

    def graft(self) -> None:
        """Set them into the host."""
        for name, parameter in self.tensors().items():
            owner, _, leaf = name.rpartition(".")
            setattr(self._host[0].get_submodule(owner), leaf, parameter)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What the host makes of it."""
        self.graft()
        return self._host[0](*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Studies:
    """Pictures and prompts as the checkpoint's own encoders see them.

    Attributes:
        latents: (P, 4, L, L), scaled. products: (P, 4, L, L) of the products on grey.
        scene: (P, 1, L, L) 1 where there is scene, 0 where there is product.
        text: (C + 1, T, W); the last row is of no words. pooled: (C + 1, W'), of the XL family only.
        side: of the pictures, pixels.
    """

    latents: Tensor
    products: Tensor
    scene: Tensor
    text: Tensor
    pooled: Tensor | None
    side: int


def study(pretrained: Pretrained, examples: Examples, prompts: Sequence[str]) -> Studies:
    """All pictures and prompts through the frozen encoders, once.

    Args:
        pretrained: the checkpoint, on the device to encode on.
        examples: pictures of the side to train at.
        prompts: of each concept (C,).
    """
    pipeline = pretrained.pipeline
    latents, products, scenes = [], [], []
    with torch.inference_mode():
        for start in range(0, len(examples.pictures), _AT_ONCE):
            part = slice(start, start + _AT_ONCE)
            pictures = to_float(torch.from_numpy(examples.pictures[part]).permute(0, 3, 1, 2))
            scene = (torch.from_numpy(examples.masks[part]) < 128).float()[:, None]
            latents.append(_encode(pipeline, pictures))
            products.append(_encode(pipeline, pictures * (1 - scene)))
            scenes.append(functional.interpolate(scene, size=latents[-1].shape[-2:]))
        texts, pools = [], []
        for prompt in [*prompts, ""]:
            told = pipeline.encode_prompt(
                prompt=prompt, device=pipeline.device, num_images_per_prompt=1, do_classifier_free_guidance=False
            )
            texts.append(told[0].float().cpu())
            if pretrained.is_xl:
                pools.append(told[2].float().cpu())
    pooled = torch.cat(pools).clone() if pools else None
    return Studies(
        latents=torch.cat(latents).clone(),
        products=torch.cat(products).clone(),
        scene=torch.cat(scenes).clone(),
        text=torch.cat(texts).clone(),
        pooled=pooled,
        side=examples.side,
    )


def _encode(pipeline: Any, pictures: Tensor) -> Tensor:
    vae = pipeline.vae
    coded = vae.encode(pictures.to(pipeline.device, vae.dtype)).latent_dist.mode() * vae.config.scaling_factor
    latents: Tensor = coded.float().cpu()
    return latents


class _Lesson:
    """What both lessons share: a checkpoint, what is studied, and the loss of denoising."""

    name: str

    def __init__(self, pretrained: Pretrained, adapter: Adapter, studies: Studies, *, seed: int) -> None:
        self.pretrained, self.adapter, self.studies, self.seed = pretrained, adapter, studies, seed
        self.unet = pretrained.pipeline.unet
        self.noising: Any = DDPMScheduler.from_config(pretrained.pipeline.scheduler.config)  # type: ignore[no-untyped-call]

    def denoise(
        self, module: nn.Module, pictures: Tensor, concepts: Tensor, told: Tensor, lot: torch.Generator
    ) -> Tensor:
        """Mean squared error outside the product, a scalar.

        Args:
            module: called like the UNet.
            pictures: (B,) rows of the studies. concepts: (B,) rows of its texts. told: (B, 1, .) of the users.
            lot: to draw times and noise from.
        """
        studies, device = self.studies, self.unet.device
        clean, scene = studies.latents[pictures], studies.scene[pictures]
        noise = torch.randn(clean.shape, generator=lot)
        times = torch.randint(self.noising.config.num_train_timesteps, (len(clean),), generator=lot)
        noisy = self.noising.add_noise(clean, noise, times)
        kind = self.noising.config.prediction_type
        aims = {"epsilon": noise, "sample": clean}
        aim = aims[kind] if kind in aims else self.noising.get_velocity(clean, noise, times)
        if self.unet.config.in_channels == 9:
            noisy = torch.cat([noisy, scene, studies.products[pictures]], dim=1)
        extra: dict[str, Any] = {"image_embeds": [told.to(device)]}
        if studies.pooled is not None:
            sides = torch.tensor([[studies.side, studies.side, 0, 0, studies.side, studies.side]]).float()
            extra |= {
                "text_embeds": studies.pooled[concepts].to(device),
                "time_ids": sides.expand(len(clean), -1).to(device),
            }
        kinds = {"device": device, "dtype": self.unet.dtype}
        guess = module(
            noisy.to(**kinds), times.to(device), encoder_hidden_states=studies.text[concepts].to(**kinds), added_cond_kwargs=extra
        ).sample.float()  # fmt: skip
        wrong = (guess - aim.to(device)).square().mean(dim=1, keepdim=True) * scene.to(device)
        loss: Tensor = wrong.sum() / scene.sum().clamp(min=1).to(device)
        return loss

    def _lot(self, step: int) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(self.seed, self.name, step))


class UserLesson(_Lesson):
    """Who clicked what: teaches projection, keys and values of the slot, into which a new adapter has been plugged.

    Args:
        pretrained, adapter, studies: see above.
        examples: impressions; clicked ones are half of a batch.
        seed: of all draws.
    """

    name = "users"

    def __init__(
        self, pretrained: Pretrained, adapter: Adapter, studies: Studies, examples: Examples, *, source: str, seed: int
    ) -> None:
        super().__init__(pretrained, adapter, studies, seed=seed)
        self.examples = examples
        self.identity = f"{source} {pretrained.weights_hash} {adapter.weights_hash}"

    def student(self) -> Grafted:
        """The slot's parameters."""
        return Grafted(self.unet, slot_parameters(self.unet).values())

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """The loss of one batch of impressions."""
        chosen = ExampleBatches(self.examples, rows=rows, seed=self.seed).impressions(step)
        examples, lot = self.examples, self._lot(step)
        picture = torch.from_numpy(examples.impression_picture[chosen].astype(np.int64))
        concept = torch.from_numpy(examples.picture_concept[picture.numpy()].astype(np.int64))
        users = torch.from_numpy(examples.user_vectors[examples.impression_user[chosen]])
        click = torch.from_numpy(examples.clicked[chosen].astype(np.float32)) * 2 - 1
        words, lost = torch.rand(rows, generator=lot) >= FORGET, torch.rand(rows, generator=lot)
        known = ((lost >= FORGET) & (lost < 2 * FORGET)) | (lost >= 3 * FORGET)
        click = torch.where(lost < 2 * FORGET, 0.0, click)
        concept = torch.where(words, concept, len(self.studies.text) - 1)
        return self.denoise(module, picture, concept, self.adapter.tell(users, known, click), lot)

    def learned(self, module: Grafted) -> dict[str, Tensor]:
        """The adapter's tensors, once the module has been taught."""
        module.graft()
        taught = {name: tensor.detach().cpu().clone() for name, tensor in module.tensors().items()}
        slot = {name: taught[own] for name, own in slot_parameters(self.unet).items()}
        return {**self.adapter.tensors, **slot}


class StyleLesson(_Lesson):
    """How one advertiser's creatives look: teaches a LoRA, for nobody in particular.

    Args:
        pretrained, adapter, studies: see above; the adapter is plugged in.
        pictures: rows of the studies that are the advertiser's.
        concepts: (P,) concept of every picture.
        advertiser: whose.
        seed: of the LoRA's first weights and all draws.

    Raises:
        DataError: the advertiser has no pictures.
    """

    def __init__(
        self, pretrained: Pretrained, adapter: Adapter, studies: Studies, *, pictures: npt.NDArray[np.int64],
        concepts: npt.NDArray[np.int32], advertiser: str, source: str, seed: int,
    ) -> None:  # fmt: skip
        super().__init__(pretrained, adapter, studies, seed=seed)
        if not len(pictures):
            fix = "Name an advertiser of the concepts table whose creatives stand in pictures"
            raise DataError("no logged picture is this advertiser's", where=f"advertiser {advertiser}", fix=fix)
        self.pictures, self.concepts = torch.from_numpy(pictures), torch.from_numpy(concepts.astype(np.int64))
        self.name = f"style of {advertiser}"
        self.identity = f"{source} {pretrained.weights_hash} {adapter.weights_hash} {advertiser} {pictures.tolist()}"
        self.told = torch.zeros(1, 1, 2 * adapter.dimensions + 1)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(seed, self.name))
            add_style(self.unet, "taught")
        self.unet.requires_grad_(False)

    def student(self) -> Grafted:
        """The LoRA's parameters."""
        return Grafted(self.unet, [name for name, _ in self.unet.named_parameters() if name.endswith(".taught.weight")])

    def loss(self, module: nn.Module, step: int, rows: int) -> Tensor:
        """The loss of one batch of the advertiser's pictures."""
        lot = self._lot(step)
        picture = self.pictures[torch.randint(len(self.pictures), (rows,), generator=lot)]
        words = torch.rand(rows, generator=lot) >= FORGET
        concept = torch.where(words, self.concepts[picture], len(self.studies.text) - 1)
        return self.denoise(module, picture, concept, self.told.expand(rows, -1, -1), lot)

    def learned(self, module: Grafted) -> dict[str, Tensor]:
        """The style's tensors, once the module has been taught; the LoRA leaves the UNet."""
        module.graft()
        tensors = style_tensors(self.unet, "taught")
        self.unet.delete_adapters("taught")
        return tensors
