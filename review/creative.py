"""Turns one creative into its page: beside what else was drawn, why it was chosen, checks, provenance, history."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response
from PIL import Image

from contracts.decisions import Kind
from contracts.errors import AdloomError, RunError
from contracts.provenance import Provenance
from contracts.redraw_jobs import list_jobs
from contracts.stamps import is_as_stamped, read_stamp
from contracts.tables import GENERAL_COHORT
from review.desk import Desk, DeskNow, Viewer, page
from review.filters import Filter, Shown
from review.filters import select as select_creatives
from review.gallery import sizes_of
from review.pictures import differences, inside
from review.second_look import UNDECIDED_LOOK
from review.shelf import Creative, Run, siblings
from review.standing import Decision

router = APIRouter()


@router.get("/creative")
def creative(request: Request, desk: DeskNow, caller: Viewer, of: str, id: str) -> Response:
    """One creative, within the filter it was opened from."""
    wanted = desk.settled(Filter.read(request.query_params))
    run = desk.shelf.run(of)
    redraws = [job for job in list_jobs(run.folder) if job.creative_id == id]
    if any(name not in run.by_id for job in redraws for name in job.made):  # just drawn
        desk.shelf.look()
        run = desk.shelf.run(of)
    one, standing = desk.one(of, id)
    second = any(_same(other, one) for other in desk.again(wanted, caller.name))
    before, after, place, total = neighbours(desk, wanted, one)
    return page(
        "creative.html",
        caller,
        {
            "one": one,
            "standing": UNDECIDED_LOOK if second else standing,
            "wanted": wanted,
            "before": before,
            "after": after,
            "place": place,
            "total": total,
            "beside": beside(run, one),
            "changed": changed(run, one),
            "why": why(run, one),
            "checks": run.rows("checks", creative_id=id),
            "sizes": sizes_of(run, id),
            "provenance": provenance(run, one),
            "history": [] if second else worded(desk.log.history(of, id), one),
            "redraws": redraws,
            "can_redraw": desk.start_redraw is not None,
        },
    )


def neighbours(desk: Desk, wanted: Filter, one: Creative) -> tuple[Creative | None, Creative | None, int, int]:
    """The creatives before and after one in a filter, its place from 1, and how many there are.

    A creative that a decision has just moved out of the filter still has its place in the order.
    """
    everything = desk.select(replace(wanted, status="")).shown
    at = next((index for index, (other, _) in enumerate(everything) if _same(other, one)), None)
    if at is None:
        return None, None, 1, 1
    matching = [index for index, pair in enumerate(everything) if _matches(pair, wanted) or index == at]
    place = matching.index(at)
    before = everything[matching[place - 1]][0] if place > 0 else None
    after = everything[matching[place + 1]][0] if place + 1 < len(matching) else None
    return before, after, place + 1, len(matching)


def _matches(pair: Shown, wanted: Filter) -> bool:
    if not wanted.status:
        return True
    return bool(select_creatives([pair[0]], [pair[1]], wanted).shown)


def _same(a: Creative, b: Creative) -> bool:
    return (a.run_id, a.creative_id) == (b.run_id, b.creative_id)


@dataclass(frozen=True)
class Beside:
    """A picture to compare with: what it is, its address, and the creative when it is one of this run."""

    label: str
    kind: str
    creative: Creative | None
    creative_id: str


def beside(run: Run, one: Creative) -> list[Beside]:
    """The general one, another cohort's, the control, the version before, and what was drawn again for it."""
    others = list(siblings(run, one))
    found = []
    general = next((other for other in others if other.cohort == GENERAL_COHORT), None)
    if general is not None and one.cohort != GENERAL_COHORT:
        found.append(Beside("general", "full", general, general.creative_id))
    foreign = next((other for other in others if other.cohort not in {GENERAL_COHORT, one.cohort}), None)
    if foreign is not None:
        found.append(Beside(foreign.audience, "full", foreign, foreign.creative_id))
    if run.rows("controls", concept_id=one.concept_id):
        found.append(Beside("control: shown so far", "control", None, one.concept_id))
    if one.replaces and one.replaces in run.by_id:
        found.append(Beside("version before", "full", run.by_id[one.replaces], one.replaces))
    for other in others:
        if other.replaces == one.creative_id:
            found.append(Beside("drawn again", "full", other, other.creative_id))
    return found


def changed(run: Run, one: Creative) -> list[str]:
    """What the picture changed against the general one, in words."""
    general = next((other for other in siblings(run, one) if other.cohort == GENERAL_COHORT), None)
    if one.cohort == GENERAL_COHORT or general is None:
        return []
    try:
        return differences(inside(run.folder, one.file), inside(run.folder, general.file))
    except RunError:
        return []


def why(run: Run, one: Creative) -> list[dict[str, Any]]:
    """What the ranker says for showing this concept to this cohort: words, and what it adds to the score."""
    rows = run.rows("reasons", concept_id=one.concept_id, cohort=one.cohort)
    return sorted(rows, key=lambda row: -abs(row["adds"]))


def provenance(run: Run, one: Creative) -> list[tuple[str, str]]:
    """How it was made, and what its file says of itself."""
    said = [
        ("generator", one.generator),
        ("weights", one.weights_hash),
        ("seed", str(one.seed)),
        ("file", one.file),
        ("sha256", one.file_hash or "there is no such file"),
        ("run", one.run_id),
    ]
    try:
        path = inside(run.folder, one.file)
        with Image.open(path) as image:
            said.insert(0, ("size", f"{image.width} x {image.height} pixels"))
        content = path.read_bytes()
        facts = read_stamp(content, where=one.file)
        return said + stamp_rows(facts, facts is not None and is_as_stamped(content, facts, where=one.file))
    except AdloomError as error:
        return [*said, ("in the file", f"{error.what}")]
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return [("size", "the picture cannot be read"), *said]


def stamp_rows(facts: Provenance | None, as_stamped: bool) -> list[tuple[str, str]]:
    """What a file says of itself, in words, and whether its pixels are those that were stamped."""
    if facts is None:
        return [("in the file", "nothing of how it was made")]
    return [
        ("digital source type", facts.source_type),
        ("in the file: weights", facts.model_hash),
        ("in the file: policy", facts.policy_hash),
        ("in the file: seed", str(facts.seed)),
        ("in the file: label", facts.label or "none"),
        ("pixels", "as stamped" if as_stamped else "not those that were stamped"),
    ]


def worded(history: list[Decision], one: Creative) -> list[dict[str, Any]]:
    """The decisions in words, the newest first."""
    undone = {row.undoes for row in history if row.kind is Kind.UNDO}
    found = []
    for row in history:
        seen = row.file_hash if row.creative_id == one.creative_id else row.other_file_hash
        found.append(
            {
                "row": row,
                "words": _words(row, one),
                "undone": row.decision_id in undone,
                "outdated": seen != one.file_hash,
            }
        )
    return found[::-1]


def _words(row: Decision, one: Creative) -> str:
    if row.kind is Kind.PAIRWISE:
        won = row.creative_id == one.creative_id
        return f"preferred to {row.other_creative_id}" if won else f"{row.creative_id} was preferred"
    said = {Kind.APPROVE: "approved", Kind.COMMENT: "commented", Kind.UNDO: f"took back decision {row.undoes}"}
    if row.kind is Kind.REJECT:
        return f"rejected: {row.reason.label if row.reason else '?'}"
    return f"rated {row.rating} of 5" if row.kind is Kind.RATING else said[row.kind]
