"""Turns variances and users into power, the smallest effect that can be seen, and the users that an effect needs."""

from __future__ import annotations

import math

from scipy.stats import norm


def detectable(variances: tuple[float, float], users: tuple[int, int], *, alpha: float, power: float) -> float:
    """The difference that a two-sided z test at `alpha` finds with chance `power`: (z_{1-alpha/2} + z_power) * se.

    Args:
        variances: of one user's outcome in control and treatment; those of adjusted outcomes under CUPED.
        users: in control and treatment.
        alpha: level.
        power: chance, above alpha.
    """
    error = math.sqrt(variances[0] / users[0] + variances[1] / users[1])
    return float(norm.isf(alpha / 2) + norm.ppf(power)) * error


def power_of(difference: float, variances: tuple[float, float], users: tuple[int, int], *, alpha: float) -> float:
    """Chance that a two-sided z test at `alpha` finds `difference`, in either direction; 1 when nothing varies."""
    error = math.sqrt(variances[0] / users[0] + variances[1] / users[1])
    if error == 0:
        return 1.0
    reach, shift = float(norm.isf(alpha / 2)), difference / error
    return float(norm.sf(reach - shift) + norm.cdf(-reach - shift))


def users_needed(
    difference: float, variances: tuple[float, float], *, alpha: float, power: float, control_share: float = 0.5
) -> int:
    """Users in both arms for which `detectable` is `difference`, of whom `control_share` in control.

    Raises:
        ValueError: the difference is 0, or the share is not between 0 and 1.
    """
    if difference == 0 or not 0 < control_share < 1:
        raise ValueError("needs a difference other than 0 and a share between 0 and 1")
    spread = variances[0] / control_share + variances[1] / (1 - control_share)
    return math.ceil(spread * (float(norm.isf(alpha / 2) + norm.ppf(power)) / difference) ** 2)
