"""Turns a network in training into a sheet of pictures to look at: are they clean, and do users change them?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from contracts.seeds import seed_of, stream
from generators.examples import Examples, rows_of, to_bytes
from generators.network import Precision, SceneNetwork, clicked_by
from generators.sampling import Guidance, draw

COLUMNS = 8
STEPS = 16
ENLARGE = 2


def write_sheet(
    network: SceneNetwork,
    examples: Examples,
    file: Path,
    *,
    weight: float,
    seed: int,
    precision: Precision = "fp32",
) -> None:
    """Draw COLUMNS products, always the same, in four rows: as logged, for nobody, for one user, for another.

    Args:
        network: which paints.
        examples: where products, concepts and users come from.
        file: PNG to write.
        weight: of the guidance in the last two rows.
        seed: of the choice of columns and of the noise.
        precision: see `sampling.draw`.
    """
    random = stream(seed, "sheet")
    logged = rows_of(examples, random.integers(0, len(examples.clicked), COLUMNS))
    seeds = torch.tensor([seed_of(seed, "sheet", column) for column in range(COLUMNS)])
    users = torch.from_numpy(examples.user_vectors[random.integers(0, len(examples.user_vectors), 2)])
    rows = [to_bytes(logged.picture).permute(0, 2, 3, 1)]
    for user, strength in ((None, 0.0), (users[0], weight), (users[1], weight)):
        vectors = None if user is None else user.expand(COLUMNS, -1)
        condition = clicked_by(vectors, logged.concept)
        guidance = Guidance(weight=strength)
        rows.append(
            draw(
                network, condition, logged.picture, logged.mask, seeds,
                steps=STEPS, guidance=guidance, rows_at_once=COLUMNS, precision=precision,
            )
        )  # fmt: skip
    sheet = np.concatenate([np.concatenate(list(row.numpy()), axis=1) for row in rows], axis=0)
    file.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(sheet)
    image.resize((image.width * ENLARGE, image.height * ENLARGE), Image.Resampling.NEAREST).save(file)
