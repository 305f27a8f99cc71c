"""Turns past decisions into which kinds of pictures may be approved without a person, and with what bound on the error.

A stratum is a kind of picture: topic of the concept, generator, checks. In it, k of n decisions by people were
rejections. The rate at which people would reject what is approved unseen is at most Clopper and Pearson's one-sided bound

    u = B^-1(1 - alpha; k + 1, n - k),      alpha = (1 - confidence) / strata

with B the beta distribution; alpha is shared among all strata that are asked about (Bonferroni), so that with
probability `confidence` every bound holds at once. Where u is at most the setting, pictures pass; a share of them still
goes to people, whose verdicts count like any other. Source: C. Clopper and E. Pearson, Biometrika 26 (1934).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from scipy.stats import beta

from contracts.seeds import stream

AUTO = "auto"
"""The reviewer in the decisions that no person made."""


@dataclass(frozen=True, order=True)
class Stratum:
    """A kind of picture.

    Attributes:
        topic: first topic of the concept.
        generator: how it was drawn.
        checks: checks it failed or was warned of, sorted and joined by "+"; "" when it passed them all.
    """

    topic: str
    generator: str
    checks: str


@dataclass(frozen=True)
class Tier:
    """What is known of a stratum.

    Attributes:
        decided, rejected: decisions by people.
        bound: the upper bound of the share that people would reject.
        passes: whether the bound is at most the setting.
    """

    stratum: Stratum
    decided: int
    rejected: int
    bound: float
    passes: bool


def upper_bound(rejected: int, decided: int, *, alpha: float) -> float:
    """Clopper and Pearson's one-sided upper bound of a share at level 1 - alpha; 1.0 without decisions."""
    if not 0 <= rejected <= decided:
        raise ValueError(f"{rejected} of {decided}")
    return 1.0 if rejected == decided else float(beta.ppf(1 - alpha, rejected + 1, decided - rejected))


def tiers(
    decisions: Iterable[tuple[Stratum, bool]], *, most_error: float, confidence: float = 0.95
) -> dict[Stratum, Tier]:
    """What is known of every stratum that people have decided in.

    Args:
        decisions: (stratum, whether it was rejected), decisions by people alone: the last of each on each picture.
        most_error: the largest share of wrong approvals that is tolerated, in (0, 1).
        confidence: with which all bounds hold at once.
    """
    counts: dict[Stratum, list[int]] = {}
    for stratum, was_rejected in decisions:
        count = counts.setdefault(stratum, [0, 0])
        count[0] += 1
        count[1] += was_rejected
    alpha = (1 - confidence) / max(len(counts), 1)
    found = {}
    for stratum, (decided, rejected) in sorted(counts.items()):
        bound = upper_bound(rejected, decided, alpha=alpha)
        found[stratum] = Tier(stratum, decided, rejected, bound, bound <= most_error)
    return found


def decisions_needed(most_error: float, *, strata: int = 1, confidence: float = 0.95) -> int:
    """Approvals in a row, without a rejection, after which a stratum passes: u = 1 - alpha^(1/n) <= most_error."""
    alpha, count = (1 - confidence) / strata, 1
    while upper_bound(0, count, alpha=alpha) > most_error:
        count += 1
    return count


@dataclass(frozen=True)
class AutoApproval:
    """One picture that passes without a person, and why; `comment` goes into its decision row."""

    creative_id: str
    tier: Tier
    to_people: bool

    @property
    def comment(self) -> str:
        """The reason in words, with its figures."""
        tier, kind = self.tier, self.tier.stratum
        checks = kind.checks or "all checks passed"
        return (
            f"approved without a person: in {kind.topic} / {kind.generator} / {checks} people rejected {tier.rejected} of "
            f"{tier.decided}; at most {tier.bound:.2%} would be rejected (Clopper-Pearson)"
        )


def auto_approvals(
    waiting: Mapping[str, Stratum], known: Mapping[Stratum, Tier], *, people_share: float, seed: int
) -> list[AutoApproval]:
    """The waiting pictures that pass, by name; a share of them still goes to people.

    Args:
        waiting: stratum by creative_id, of pictures nobody has decided on; sensitive advertisers' are not to be given.
        known: of `tiers`.
        people_share: chance that one that passes is shown to people all the same.
        seed: of that draw, which depends on the name alone.
    """
    return [
        AutoApproval(name, known[kind], stream(seed, "people still see", name).random() < people_share)
        for name, kind in sorted(waiting.items())
        if kind in known and known[kind].passes
    ]
