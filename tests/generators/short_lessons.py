"""Turns a lesson into the losses of its first steps, as plain as training can be."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor
from torch.optim import Optimizer


def losses_of(optimiser: Optimizer, loss_at: Callable[[int], Tensor], *, steps: int) -> list[float]:
    """Takes so many steps down the losses; says what they were before each."""
    losses = []
    for step in range(steps):
        loss = loss_at(step)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses
