"""Turns a filter into the gallery, and a creative's file into what the browser shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from contracts.errors import RunError
from review.desk import DeskNow, Form, Reviewer, Viewer, page, text
from review.filters import PAGE, UNDECIDED, Filter
from review.pictures import KINDS, inside
from review.second_look import mixed
from review.shelf import Run

router = APIRouter()


@router.get("/")
def gallery(request: Request, desk: DeskNow, caller: Viewer) -> Response:
    """The gallery."""
    wanted = desk.settled(Filter.read(request.query_params))
    if not request.query_params:
        wanted = replace(wanted, status=UNDECIDED)
    found = desk.select(wanted)
    wanted = replace(wanted, page=min(wanted.page, found.pages))
    shown = [desk.now(pair) for pair in found.shown[PAGE * (wanted.page - 1) : PAGE * wanted.page]]
    if wanted.page == 1:
        shown = mixed(shown, desk.again(wanted, caller.name), desk.repeats)
    runs = desk.shelf.runs()
    return page(
        "gallery.html",
        caller,
        {
            "wanted": wanted,
            "found": found,
            "shown": shown,
            "runs": runs,
            "problems": desk.shelf.problems,
            "choices": desk.choices(wanted),
            "reviewers": reviewers(found.shown),
            "views": desk.views(caller.name),
        },
    )


def reviewers(shown: list[Any]) -> list[str]:
    """Everybody who said something of these."""
    return sorted(set().union(*(standing.reviewers for _, standing in shown)))


@router.post("/views")
def keep_view(desk: DeskNow, caller: Reviewer, form: Form) -> Response:
    """Saves or forgets a filter."""
    query = text(form, "query").removeprefix("?")
    desk.keep_view(caller.name, text(form, "name").strip(), None if text(form, "forget") else query)
    return RedirectResponse(f"/?{query}", 303)


@router.get("/picture")
def picture(desk: DeskNow, _: Viewer, of: str, id: str, kind: str = "full", v: str = "") -> Response:
    """A creative's picture: `full`, `thumb`, `scene`, `control`, or a size such as 300x250.

    With the file's hash as `v` the browser may keep it for ever.
    """
    run = desk.shelf.run(of)
    kept = {"cache-control": "private, max-age=31536000, immutable"}
    if kind == "control":
        rows = run.rows("controls", concept_id=id)
        if not rows:
            raise RunError("there is no such picture", where=id[:80], fix="Go back to the gallery.")
        path = inside(run.folder, rows[0]["file"])
        return FileResponse(path, media_type=KINDS[path.suffix.lower()])
    one = desk.shelf.creative(of, id)
    if kind == "thumb":
        content = desk.thumbnails.of(inside(run.folder, one.file), one.file_hash)
        return Response(content, media_type="image/webp", headers=kept if v == one.file_hash else {})
    path = inside(run.folder, file_of(run, id, kind, one.scene, one.file))
    fresh = v == one.file_hash and kind == "full"
    return FileResponse(path, media_type=KINDS[path.suffix.lower()], headers=kept if fresh else {})


def file_of(run: Run, creative_id: str, kind: str, scene: str, full: str) -> str:
    """The path, relative to the run, of one of a creative's pictures."""
    if kind == "scene":
        return scene
    for row in sizes_of(run, creative_id):
        if row["size"] == kind:
            return str(row["file"])
    return full


def sizes_of(run: Run, creative_id: str) -> list[dict[str, Any]]:
    """Renditions of a creative: size (name), width, height, file relative to the run."""
    found = []
    home = Path(run.by_id[creative_id].file).parts[:-2]  # of the stage, or of the redraw
    for row in run.rows("renditions", creative_id=creative_id):
        width, height = int(row["width"]), int(row["height"])
        found.append(
            {"size": f"{width}x{height}", "width": width, "height": height, "file": Path(*home, row["file"]).as_posix()}
        )
    return sorted(found, key=lambda row: (-row["width"] * row["height"], row["size"]))
