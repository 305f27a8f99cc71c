"""Turns counts of users by arm into an alarm when the split is not the planned one, and where to look for the cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import chisquare

Ints = npt.NDArray[np.int64]
WARNING_LEVEL = 0.02
"""Below it, look: 52/48 at 10,000 users is seen with 95 % power; 1 sound experiment in 50 is looked at in vain."""
ALARM_LEVEL = 0.001
"""Below it, no result of the experiment is to be believed (Fabijan et al. 2019); 1 sound experiment in 1,000."""


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """The split against the plan.

    Attributes:
        counts: (A,) users by arm.
        expected: (A,) as planned.
        p: of so large a deviation when users are split as planned.
        level: "sound", "warning" or "alarm".
    """

    counts: Ints
    expected: npt.NDArray[np.float64]
    p: float
    level: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """A segment whose users are not split as planned: `share` of them in control against `planned`."""

    segment: str
    level: str
    users: int
    share: float
    planned: float
    p: float


def sample_ratio(counts: Ints, shares: Sequence[float]) -> SampleRatio:
    """Pearson's chi-square of the counts against the planned shares, which are scaled to sum to 1."""
    planned = np.asarray(shares, dtype=np.float64)
    expected = counts.sum() * planned / planned.sum()
    p = float(chisquare(counts, expected).pvalue)
    level = "alarm" if p < ALARM_LEVEL else "warning" if p < WARNING_LEVEL else "sound"
    return SampleRatio(counts, expected, p, level)


def suspects(arm: Ints, shares: Sequence[float], segments: Mapping[str, tuple[tuple[str, ...], Ints]]) -> list[Suspect]:
    """Segment levels whose split is not the planned one (ALARM_LEVEL, Bonferroni over levels), worst first."""
    found: list[Suspect] = []
    for name, (levels, codes) in segments.items():
        for place, level in enumerate(levels):
            counts = np.bincount(arm[codes == place], minlength=len(shares))
            if counts.sum():
                p = sample_ratio(counts, shares).p
                found.append(
                    Suspect(name, level, int(counts.sum()), counts[0] / counts.sum(), shares[0] / sum(shares), p)
                )
    return sorted((one for one in found if one.p * len(found) < ALARM_LEVEL), key=lambda one: one.p)


def likely_causes(
    ratio: SampleRatio,
    arms: Sequence[str],
    *,
    crossovers: int,
    left_out: Mapping[str, int],
    suspected: Sequence[Suspect],
) -> list[str]:
    """What to look at first, from this table; then what most often is to blame (Fabijan et al. 2019, section 5)."""
    if ratio.level == "sound":
        return []
    causes = [
        f"The split is off among {one.level} ({one.segment}): {100 * one.share:.1f} % of {one.users:,} users in control "
        f"against {100 * one.planned:.1f} % planned. Look at what assigns, redirects or logs them."
        for one in suspected[:3]
    ]
    if crossovers:
        causes.append(f"{crossovers:,} users were in several arms and left out: assignment does not stick to the user.")
    if left_out:
        told = ", ".join(f"{left_out.get(name, 0):,} in {name}" for name in arms)
        causes.append(f"Users left out for want of a sound row differ by arm ({told}): the arm changes what is logged.")
    least = arms[int(np.argmin(ratio.counts / ratio.expected))]
    return [
        *causes,
        f"Users of {least} are lost on the way: a redirect, a slower page, a crash, or a filter for bots that it trips.",
        "Users are counted where the arms already differ: count from the moment of assignment, in all arms alike.",
        "Shares changed during the experiment, or one arm began earlier: compare days with equal shares only.",
    ]
