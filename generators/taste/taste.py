"""Turns logged pictures and clicks into a taste for looks, per user: what chooses cohorts, renders and candidates.

The model is a logistic regression in which a user's vector u bends the appeal of a picture's look f (generators/taste/look.py):

    log-odds = concept bias + match * cos(u, concept) + appeal(u, f)
    appeal(u, f) = (w0 + W u) . f - 1/2 sum_j q_j f_j^2,        q_j >= 0

an ideal-point (unfolding) model: each user has a look that pleases most, and going beyond it does not pay
(Coombs 1964; DeSarbo and Hoffman 1986). It is the *scorer*: reports never quote it as evidence.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from contracts.errors import ModelError

Floats = npt.NDArray[np.float32]

PENALTY = 300.0
"""Ridge penalty on W: as if each of its entries, per standard deviation of look and user vector, were drawn from a normal
distribution of spread 1 / sqrt(2 * 300) = 0.04 log-odds. Clicks are rare: without it, few thousand of them would be
overheard for taste. With many, it hardly counts."""


@dataclass(frozen=True)
class Taste:
    """A fitted taste model. D = dimensions of a user vector, F = numbers of a look.

    Attributes:
        centre: (F,) mean of the looks it was fitted on; scale: (F,) their standard deviation.
        common: (F,) w0. bend: (F, D) W. curvature: (F,) q, >= 0.
        user_centre: (D,) mean user vector, subtracted first.
        space_hash: of the space the user vectors live in.
    """

    centre: Floats
    scale: Floats
    common: Floats
    bend: Floats
    curvature: Floats
    user_centre: Floats
    space_hash: str

    def leanings(self, user_vectors: Floats) -> Floats:
        """(U, F): how much each user leans away from the common taste, log-odds per standard deviation of a feature."""
        return np.asarray((user_vectors - self.user_centre) @ self.bend.T, np.float32)

    def appeal(self, user_vectors: Floats | None, features: Floats) -> Floats:
        """(U, P) log-odds that each picture adds for each user; (1, P) for nobody in particular when given None."""
        standard = (features - self.centre) / self.scale
        linear = self.common[None] if user_vectors is None else self.common + self.leanings(user_vectors)
        return np.asarray(linear @ standard.T - 0.5 * (standard**2) @ self.curvature, np.float32)

    def gain(self, leanings: Floats, group: Floats) -> Floats:
        """(U,) log-odds that a picture at the group's ideal look adds over one at the common ideal, for each user.

        Args:
            leanings: (U, F) of the users.
            group: (F,) leaning the picture is drawn for.
        """
        stiff = np.maximum(self.curvature, 0.05)
        return np.asarray(leanings @ (group / stiff) - 0.5 * float(group @ (group / stiff)), np.float32)

    def save(self, folder: Path) -> None:
        """Writes taste.safetensors."""
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: np.ascontiguousarray(getattr(self, name)) for name in _TENSORS}
        save_file(tensors, folder / "taste.safetensors", metadata={"taste": json.dumps({"space": self.space_hash})})

    @classmethod
    def load(cls, folder: Path, space_hash: str) -> Taste:
        """Reads it back. Raises ModelError when it is damaged or belongs to another space."""
        path = folder / "taste.safetensors"
        try:
            tensors = load_file(path)
            with path.open("rb") as file:
                header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
            found = json.loads(header["__metadata__"]["taste"])["space"]
            taste = cls(**{name: tensors[name] for name in _TENSORS}, space_hash=found)
        except (OSError, SafetensorError, KeyError, ValueError) as error:
            raise ModelError(
                "the taste model is missing or damaged",
                where=str(path),
                fix="Train again: adloom train generator DATA.",
            ) from error
        if found != space_hash:
            raise ModelError(
                f"the taste model belongs to space {found[:12]}, not {space_hash[:12]}",
                where=str(path),
                fix="Train again for this space: adloom train generator DATA.",
            )
        return taste


_TENSORS = ("centre", "scale", "common", "bend", "curvature", "user_centre")


@dataclass(frozen=True)
class ClickModel:
    """The whole model of a click on a picture: a taste, the biases of C concepts, and what a matching concept adds.

    Attributes:
        taste: the appeal of looks.
        bias: (C,) log-odds of each concept.
        match: log-odds per unit of cos(u, concept).
    """

    taste: Taste
    bias: Floats
    match: float

    def chances(self, user_vectors: Floats, concept: int, concept_vector: Floats, features: Floats) -> Floats:
        """(U, P) click chance of each picture of a concept for each user, in (0, 1); the slots are averaged over."""
        norms = np.linalg.norm(user_vectors, axis=1) * float(np.linalg.norm(concept_vector))
        cosine = user_vectors @ concept_vector / np.maximum(norms, 1e-8)
        odds = float(self.bias[concept]) + self.match * cosine[:, None] + self.taste.appeal(user_vectors, features)
        return np.asarray(1 / (1 + np.exp(-odds)), np.float32)


def fit_taste(features: Floats, **data: Any) -> Taste:
    """The taste of a `fit_clicks` with the same arguments."""
    return fit_clicks(features, **data).taste


def fit_clicks(
    features: Floats,
    *,
    user_vectors: Floats,
    concept_vectors: Floats,
    impression_picture: npt.NDArray[np.int32],
    impression_user: npt.NDArray[np.int32],
    picture_concept: npt.NDArray[np.int32],
    clicked: npt.NDArray[np.uint8],
    space_hash: str,
    penalty: float = PENALTY,
) -> ClickModel:
    """Fits the model by penalised maximum likelihood (L-BFGS, deterministic on one machine).

    Args:
        features: (P, F) of `picture_looks`.
        user_vectors: (U, D). concept_vectors: (C, D).
        impression_picture, impression_user, clicked: (I,).
        picture_concept: (P,) index of each picture's concept.
        space_hash: of the space of the vectors.
        penalty: ridge penalty on W per unit variance of the user vectors, in log-likelihood units.
    """
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-4, spread, 1.0)  # a number that never changed says nothing, however it comes later
    user_centre = user_vectors.mean(axis=0)
    user_scale = float((user_vectors - user_centre).std()) + 1e-6
    looks = torch.from_numpy((features - centre) / scale)[torch.from_numpy(impression_picture).long()]
    users = torch.from_numpy((user_vectors - user_centre) / user_scale)[torch.from_numpy(impression_user).long()]
    concept = torch.from_numpy(picture_concept).long()[torch.from_numpy(impression_picture).long()]
    raw = torch.from_numpy(user_vectors)[torch.from_numpy(impression_user).long()]
    match = torch.cosine_similarity(raw, torch.from_numpy(concept_vectors)[concept], dim=1)
    truth = torch.from_numpy(clicked.astype(np.float32))
    rate = float(np.clip(clicked.mean(), 1e-4, 1 - 1e-4))

    bias = torch.full((len(concept_vectors),), float(np.log(rate / (1 - rate))), requires_grad=True)
    slope = torch.zeros(1, requires_grad=True)
    common = torch.zeros(features.shape[1], requires_grad=True)
    bend = torch.zeros(features.shape[1], user_vectors.shape[1], requires_grad=True)
    root = torch.full((features.shape[1],), 0.3, requires_grad=True)
    parameters = [bias, slope, common, bend, root]
    optimiser = torch.optim.LBFGS(parameters, max_iter=80, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        appeal = ((common + users @ bend.T) * looks).sum(1) - 0.5 * (looks**2) @ root**2
        odds = bias[concept] + slope * match + appeal
        fit = torch.nn.functional.binary_cross_entropy_with_logits(odds, truth, reduction="sum")
        ridge = penalty * (bend**2).sum() + 0.1 * (common**2).sum() + 0.1 * ((bias - bias.mean()) ** 2).sum()
        total = (fit + ridge + 0.1 * slope.square().sum()) / len(truth)
        total.backward()  # type: ignore[no-untyped-call]
        return total

    optimiser.step(loss)  # type: ignore[no-untyped-call]
    taste = Taste(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        common=common.detach().numpy(),
        bend=(bend.detach() / user_scale).numpy(),
        curvature=(root.detach() ** 2).numpy(),
        user_centre=user_centre.astype(np.float32),
        space_hash=space_hash,
    )
    return ClickModel(taste, bias.detach().numpy(), float(slope.detach()))
