"""Turns many drawn scenes with products in them into the constants that standardise a look. Run it to print them."""

from __future__ import annotations

import numpy as np

from contracts.seeds import stream
from sources.campaigns import planted_concepts
from sources.creatives import draw_creative
from sources.law import LAW_SEED, LOOKS, Floats
from sources.look import LOOK_MEANS, LOOK_SPREADS, raw_look

SCENES, SIDE = 4000, 128


def measure_looks(scenes: int = SCENES, side: int = SIDE) -> Floats:
    """Raw looks (scenes, 5) of creatives drawn as a planted world draws them, the products taken in turn."""
    rng = stream(LAW_SEED, "calibration")
    products = planted_concepts().products
    pictures = [draw_creative(products[index % len(products)], side, rng)[0] for index in range(scenes)]
    return raw_look(np.stack(pictures))


def main() -> None:
    """Prints the measured means, spreads and correlations beside the constants in use."""
    raw = measure_looks()
    correlations = np.asarray(np.corrcoef(raw.T))
    print(f"{'look':<11}{'mean':>8}{'in use':>8}{'sd':>8}{'in use':>8}   correlations")
    for index, name in enumerate(LOOKS):
        row = " ".join(f"{value:6.2f}" for value in correlations[index])
        mean, spread = float(raw[:, index].mean()), float(raw[:, index].std())
        print(f"{name:<11}{mean:8.2f}{LOOK_MEANS[index]:8.2f}{spread:8.3f}{LOOK_SPREADS[index]:8.3f}   {row}")


if __name__ == "__main__":
    main()
