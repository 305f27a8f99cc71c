"""Turns the log of decisions into the page on trust: reviewers with themselves and each other, and what might pass unseen."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import Response

from contracts.decisions import Role
from review.desk import ALL_RUNS, Desk, DeskNow, Viewer, need, page
from review.filters import Filter
from review.tiers import AUTO, Stratum, Tier, decisions_needed, tiers
from review.trust import trust_of

router = APIRouter()

_RESAMPLES = 400  # of the interval on the page; `adloom trust` takes more
_TOLERATED = 0.02


@router.get("/trust")
def trust(desk: DeskNow, caller: Viewer, run: str = "") -> Response:
    """Reviewers' consistency and agreement in a run, or in all; for approvers."""
    need(caller, Role.APPROVER)
    wanted = desk.settled(Filter(run=run))
    found = trust_of(desk.log.table(None if wanted.run == ALL_RUNS else wanted.run), resamples=_RESAMPLES)
    kinds = strata(desk, wanted)
    return page(
        "trust.html",
        caller,
        {
            "wanted": wanted,
            "runs": desk.shelf.runs(),
            "found": found,
            "rates": {name: (count, share) for name, count, share in found.rates},
            "tiers": kinds,
            "tolerated": _TOLERATED,
            "needed": decisions_needed(_TOLERATED, strata=max(len(kinds), 1)),
            "repeats": desk.repeats,
        },
    )


def strata(desk: Desk, wanted: Filter) -> list[Tier]:
    """What people's decisions say of every kind of picture there is now, the surest first.

    A picture counts once, as rejected when anybody's last word on it is a rejection.
    """
    told = []
    for one, standing in desk.select(wanted).shown:
        refused = bool(standing.rejected_by)
        if refused or set(standing.approved_by) - {AUTO}:
            kind = Stratum(one.topics[0] if one.topics else "unknown", one.generator, "+".join(sorted(one.checks)))
            told.append((kind, refused))
    return sorted(tiers(told, most_error=_TOLERATED).values(), key=lambda tier: (tier.bound, tier.stratum))
