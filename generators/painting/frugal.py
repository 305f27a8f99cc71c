"""Turns a painter that may run out of GPU memory into one that paints fewer scenes at once, and says so."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch

from contracts.errors import ModelError
from generators.painting.devices import is_out_of_memory
from generators.painting.painters import Painter, SceneRequest
from generators.products import Pixels


class FrugalPainter:
    """Paints so many scenes at once; when the GPU's memory runs out, half as many from then on.

    Args:
        painter: the way to draw.
        rows: scenes at once, to begin with. The same requests in the same order are always cut in the same places, so that
            bytes repeat where memory suffices.
        tell: told, in a sentence, when there are fewer.
    """

    def __init__(self, painter: Painter, *, rows: int, tell: Callable[[str], object]) -> None:
        self.painter, self.rows, self.tell = painter, rows, tell

    @property
    def side(self) -> int:
        """S of the scenes, pixels."""
        return self.painter.side

    @property
    def weights_hash(self) -> str:
        """SHA-256 of all learned weights that paint."""
        return self.painter.weights_hash

    def paint(self, requests: Sequence[SceneRequest]) -> Pixels:
        """Scenes around the products, uint8 (B, S, S, 3); what was finished before memory ran out is kept.

        Raises:
            ModelError: there is not enough memory for one scene.
        """
        done = [np.zeros((0, self.side, self.side, 3), np.uint8)]
        first = 0
        while first < len(requests):
            part = requests[first : first + self.rows]
            scenes = self._try(part)
            if scenes is None:
                self._halve(len(part))
                continue
            done.append(scenes)
            first += len(part)
        return np.concatenate(done)

    def _try(self, part: Sequence[SceneRequest]) -> Pixels | None:
        """The scenes; None when memory ran out. The error goes with this call, and with it all that it holds on to."""
        try:
            return self.painter.paint(part)
        except RuntimeError as error:
            if is_out_of_memory(error):
                return None
            raise

    def _halve(self, tried: int) -> None:
        if tried == 1:
            fix = "Paint smaller scenes, stop what else uses the GPU, or set device to cpu"
            raise ModelError("the GPU's memory does not suffice for one scene", where="painter", fix=fix)
        self.rows = (tried + 1) // 2
        torch.cuda.empty_cache()
        self.tell(f"The GPU's memory does not suffice for {tried} scenes at once; going on with {self.rows}.")
