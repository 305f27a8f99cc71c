"""Turns posts into decisions: one at a time, undone, in batches after a confirmation, in blind pairs, drawn again."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response
from starlette.datastructures import FormData

from contracts.decisions import Kind, Reason, Role
from contracts.errors import AdloomError, DataError, RunError
from review.access import Caller
from review.decisions import Said
from review.desk import Desk, DeskNow, Form, Reviewer, Viewer, answer, need, page, text
from review.filters import Filter
from review.shelf import Creative

router = APIRouter()


class ChangedError(AdloomError):
    """What somebody saw is not what there is now."""


@router.post("/act")
def act(request: Request, desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """One decision on one creative."""
    kind = kind_of(text(form, "kind"))
    if kind not in {Kind.APPROVE, Kind.REJECT, Kind.RATING, Kind.COMMENT}:
        raise DataError(f"{kind} is no decision on one creative", where="decision", fix="Use the page's buttons.")
    one = desk.shelf.creative(text(form, "of"), text(form, "id"))
    same_bytes(one, text(form, "hash"))
    rating = text(form, "rating")
    said = Said(
        reviewer=caller.name,
        role=caller.role,
        run_id=one.run_id,
        creative_id=one.creative_id,
        file_hash=one.file_hash,
        kind=kind,
        reason=reason_of(text(form, "reason")) if kind is Kind.REJECT else None,
        rating=int(rating) if rating.isdecimal() and len(rating) < 4 else None,
        comment=text(form, "comment").strip() or None,
    )
    made = desk.log.record(said, request=token_of(form))
    standing = desk.log.standings([one.subject])[0]
    told = {"decision": made.decision_id, "status": standing.status, "meaning": standing.status.meaning}
    return answer(request, told, text(form, "next"))


@router.post("/undo")
def undo(request: Request, desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """The caller's last decision, or batch, no longer counts."""
    rows = desk.log.undo(caller.name, caller.role, request=token_of(form))
    if not rows:
        raise DataError("there is nothing to take back", where=caller.name, fix="You have not decided on anything yet.")
    told: list[dict[str, Any]] = []
    for row in rows:
        try:
            one = desk.shelf.creative(row.run_id, row.creative_id)
        except RunError:
            continue
        status = desk.log.standings([one.subject])[0].status
        told.append({"of": row.run_id, "id": row.creative_id, "status": status})
    return answer(request, {"undone": told}, text(form, "next"))


@router.post("/batch")
def batch(request: Request, desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """Many at once: first a page that says how many and asks, then the decisions, all or none."""
    kind = kind_of(text(form, "kind"))
    if kind not in {Kind.APPROVE, Kind.REJECT}:
        raise DataError(f"{kind} is no batch", where="batch", fix="Approve or reject.")
    need(caller, Role.APPROVER if kind is Kind.APPROVE else Role.REVIEWER)
    reason = reason_of(text(form, "reason")) if kind is Kind.REJECT else None
    wanted = desk.settled(Filter.read(dict(parse_qsl(text(form, "query")))))
    picked = [str(value) for value in form.getlist("pick")]
    creatives = chosen(desk, wanted, picked)
    if not creatives:
        raise DataError("no creative is chosen", where="batch", fix="Select some with X, or act on the whole filter.")
    seen = digest(creatives)
    if text(form, "confirmed") != seen:
        values = {
            "kind": kind,
            "reason": reason,
            "wanted": wanted,
            "picked": picked,
            "creatives": creatives,
            "seen": seen,
            "changed": bool(text(form, "confirmed")),
            "token": secrets.token_hex(16),
        }
        return page("batch.html", caller, values, 409 if values["changed"] else 200)
    said = [
        Said(caller.name, caller.role, one.run_id, one.creative_id, one.file_hash, kind, reason=reason)
        for one in creatives
    ]
    made = desk.log.record_all(said, request=token_of(form))
    desk.accounts.note(
        caller.name, caller.address, f"batch {kind}", f"{len(made)} creatives, filter {wanted.address()}"
    )
    return answer(request, {"recorded": len(made)}, f"/?{wanted.address()}")


def chosen(desk: Desk, wanted: Filter, picked: Sequence[str]) -> list[Creative]:
    """The picked ones (RUN/ID), or everything that the filter shows; what has no picture is left out."""
    if picked:
        pairs = [value.partition("/")[::2] for value in picked]
        return [one for one in (desk.shelf.creative(run, name) for run, name in pairs) if one.file_hash]
    return [one for one, _ in desk.select(wanted).shown if one.file_hash]


def digest(creatives: Sequence[Creative]) -> str:
    """Changes when a confirmed set would be another one, or other bytes."""
    return hashlib.sha256(
        "\n".join(f"{one.run_id}/{one.creative_id} {one.file_hash}" for one in creatives).encode()
    ).hexdigest()


@router.get("/compare")
def compare(request: Request, desk: DeskNow, caller: Viewer) -> Response:
    """Two pictures of one concept without a word of whose they are; the pair compared least often first."""
    wanted = desk.settled(Filter.read(request.query_params))
    skipped = set(request.query_params.get("skip", "").split(",")[:200])
    pair = next_pair(desk, caller, wanted, skipped)
    return page("compare.html", caller, {"wanted": wanted, "pair": pair, "skip": ",".join(sorted(skipped - {""}))})


def next_pair(desk: Desk, caller: Caller, wanted: Filter, skipped: set[str]) -> tuple[str, Creative, Creative] | None:
    """The name of a pair that the caller has not judged and its two sides, in an order that nobody can guess from."""
    by_concept: dict[tuple[str, str], list[Creative]] = {}
    for one, _ in desk.select(wanted).shown:
        if one.file_hash:
            by_concept.setdefault((one.run_id, one.concept_id), []).append(one)
    best: tuple[int, str, Creative, Creative] | None = None
    for creatives in by_concept.values():
        judged: dict[frozenset[str], list[str]] = {}
        for one in creatives:
            for row in desk.log.history(one.run_id, one.creative_id):
                if row.kind is Kind.PAIRWISE and row.creative_id == one.creative_id and row.other_creative_id:
                    judged.setdefault(frozenset((row.creative_id, row.other_creative_id)), []).append(row.reviewer)
        for index, left in enumerate(creatives):
            for right in creatives[index + 1 : index + 6]:
                by = judged.get(frozenset((left.creative_id, right.creative_id)), [])
                name = hashlib.sha256(f"{caller.name} {left.creative_id} {right.creative_id}".encode()).hexdigest()[:12]
                if caller.name in by or name in skipped or left.file_hash == right.file_hash:
                    continue
                if best is None or (len(by), name) < best[:2]:
                    best = (len(by), name, left, right)
    if best is None:
        return None
    _, name, left, right = best
    return (name, left, right) if int(name, 16) % 2 else (name, right, left)


@router.post("/compare")
def prefer(request: Request, desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """One of a pair is preferred."""
    better = desk.shelf.creative(text(form, "of"), text(form, "better"))
    worse = desk.shelf.creative(text(form, "of"), text(form, "worse"))
    for one in (better, worse):
        same_bytes(one, text(form, f"hash {one.creative_id}"))
    said = Said(
        caller.name,
        caller.role,
        better.run_id,
        better.creative_id,
        better.file_hash,
        Kind.PAIRWISE,
        other_creative_id=worse.creative_id,
        other_file_hash=worse.file_hash,
    )
    made = desk.log.record(said, request=token_of(form))
    return answer(request, {"decision": made.decision_id}, text(form, "next"))


@router.post("/redraw")
def redraw(desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """Has a creative drawn again for the chosen reasons; goes on in the background."""
    one = desk.shelf.creative(text(form, "of"), text(form, "id"))
    reasons = [reason_of(str(value)) for value in form.getlist("reason")]
    if desk.start_redraw is None or not reasons:
        fix = "Choose at least one reason." if desk.start_redraw else "Use: adloom redraw RUN CREATIVE --reason REASON."
        raise DataError("cannot be drawn again like this", where=one.creative_id, fix=fix)
    job = desk.start_redraw(desk.shelf.run(one.run_id).folder, one.creative_id, reasons, caller.name)
    desk.accounts.note(caller.name, caller.address, "draw again", f"{one.run_id} {one.creative_id}: {job}")
    return RedirectResponse(text(form, "next") or "/", 303) if _own(text(form, "next")) else RedirectResponse("/", 303)


def _own(address: str) -> bool:
    return address.startswith("/") and not address.startswith(("//", "/\\"))


def kind_of(value: str) -> Kind:
    """A kind by its name. Raises DataError."""
    if value not in list(Kind):
        raise DataError(f"{value[:40]!r} is no kind of decision", where="decision", fix=f"One of: {', '.join(Kind)}.")
    return Kind(value)


def reason_of(value: str) -> Reason:
    """A reason by its name. Raises DataError."""
    if value not in list(Reason):
        raise DataError(f"{value[:40]!r} is no reason", where="rejection", fix=f"One of: {', '.join(Reason)}.")
    return Reason(value)


def token_of(form: FormData) -> str | None:
    """Token of the click, at most 64 characters."""
    return text(form, "request")[:64] or None


def same_bytes(one: Creative, seen: str) -> None:
    """Raises ChangedError when the picture is not, or no longer, the one that was seen."""
    if not one.file_hash:
        raise ChangedError("its picture is missing", where=one.creative_id, fix="Draw it again: adloom run DATA.")
    if seen != one.file_hash:
        fix = "Nothing was recorded. Look at it again."
        raise ChangedError("the picture has changed since you opened it", where=one.creative_id, fix=fix)
