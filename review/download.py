"""Turns a run's approvals into a ZIP that the browser saves, or into the list of what is stale."""

from __future__ import annotations

import tempfile
from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse, Response
from starlette.background import BackgroundTask

from contracts.decisions import Role
from contracts.errors import DataError
from review.desk import DeskNow, Form, Reviewer, Viewer, need, page, text
from review.filters import Filter

router = APIRouter()


@router.get("/export")
def ask(desk: DeskNow, caller: Viewer, run: str = "") -> Response:
    """How many creatives would leave the house, and a button; for approvers."""
    need(caller, Role.APPROVER)
    wanted = desk.settled(Filter(run=run))
    chosen = desk.shelf.run(wanted.run)
    counts = desk.select(Filter(run=chosen.run_id)).counts
    return page("export.html", caller, {"run": chosen.run_id, "runs": desk.shelf.runs(), "counts": counts})


@router.post("/export")
def export(desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """The ZIP; a refusal is a page that lists what is stale."""
    need(caller, Role.APPROVER)
    if desk.export is None:
        raise DataError("cannot be exported from here", where="export", fix="Use: adloom export RUN OUT.zip.")
    run = desk.shelf.run(text(form, "of"))
    folder = tempfile.TemporaryDirectory(prefix="adloom-export-")
    archive = Path(folder.name) / f"{run.run_id}.zip"
    try:
        desk.export(run.folder, desk.log, archive, bool(text(form, "leave_out_stale")))
    except BaseException:
        folder.cleanup()
        raise
    desk.accounts.note(caller.name, caller.address, "export", run.run_id)
    return FileResponse(
        archive, filename=archive.name, media_type="application/zip", background=BackgroundTask(folder.cleanup)
    )
