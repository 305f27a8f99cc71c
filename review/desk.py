"""Turns a runs folder and a database into everything a page needs: who asks, what there is, where it stands."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import delete, insert, select
from starlette.datastructures import FormData

from contracts.decisions import Reason, Role, Status
from contracts.errors import DataError
from contracts.redraw_jobs import StartRedraw
from review.access import Caller, ForbiddenError, Gate, same_token
from review.accounts import Accounts
from review.database import Database
from review.decisions import DecisionLog
from review.filters import SORTS, STATUSES, UNDECIDED, Filter, Selection, Shown, choices
from review.filters import select as select_creatives
from review.pictures import Thumbnails
from review.schema import VIEWS
from review.second_look import due
from review.shelf import Creative, Run, Shelf
from review.standing import Standing

ExportRun = Callable[[Path, DecisionLog, Path, bool], object]
"""(run, log, path of the ZIP, whether to leave out what is stale): writes the ZIP, or raises an error that says why not."""

ALL_RUNS = "*"
_HERE = Path(__file__).parent
_STATIC = hashlib.sha256(b"".join(path.read_bytes() for path in sorted((_HERE / "static").iterdir()))).hexdigest()[:10]


@dataclass(frozen=True)
class _Held:
    """Where everything stood at a version of the log; what is decided after it is put in its place."""

    version: int
    runs: list[Run]
    creatives: list[Creative]
    standings: list[Standing]
    places: dict[tuple[str, str], int]
    choices: dict[str, list[tuple[str, str]]]


@dataclass(frozen=True)
class Desk:
    """What the pages work with; one a process. `repeats`: share of a queue that is shown to its reviewer for a second time."""

    shelf: Shelf
    log: DecisionLog
    accounts: Accounts
    gate: Gate
    thumbnails: Thumbnails
    database: Database
    start_redraw: StartRedraw | None = None
    export: ExportRun | None = None
    repeats: float = 0.0
    _held: dict[str, _Held] = field(default_factory=dict)

    def settled(self, wanted: Filter) -> Filter:
        """The filter with the newest run where it names none."""
        runs = self.shelf.runs()
        return wanted if wanted.run or not runs else replace(wanted, run=runs[0].run_id)

    def select(self, wanted: Filter) -> Selection:
        """What a settled filter shows."""
        held = self._now(wanted)
        return select_creatives(held.creatives, held.standings, wanted)

    def choices(self, wanted: Filter) -> dict[str, list[tuple[str, str]]]:
        """(value, label with count) of everything that a settled filter's runs can be filtered by."""
        return self._now(wanted).choices

    def _now(self, wanted: Filter) -> _Held:
        runs = [run for run in self.shelf.runs() if wanted.run in {ALL_RUNS, run.run_id}]
        held = self._held.get(wanted.run)
        if held is None or [*map(id, held.runs)] != [*map(id, runs)]:
            creatives = [one for run in runs for one in run.creatives]
            places = {(one.run_id, one.creative_id): place for place, one in enumerate(creatives)}
            version, _ = self.log.changed(0)
            standings = self.log.standings(one.subject for one in creatives)
            held = self._held[wanted.run] = _Held(
                version, runs, creatives, standings, places, choices(runs or self.shelf.runs())
            )
        version, changed = self.log.changed(held.version)
        if version != held.version:
            places_now = [held.places[key] for key in changed if key in held.places]
            standings = held.standings.copy()
            told = self.log.standings(held.creatives[place].subject for place in places_now)
            for place, standing in zip(places_now, told, strict=True):
                standings[place] = standing
            held = self._held[wanted.run] = replace(held, version=version, standings=standings)
        return held

    def again(self, wanted: Filter, reviewer: str) -> list[Creative]:
        """What a settled filter's queue shows a person for a second time; nothing where it is no queue."""
        if not self.repeats or wanted.status != UNDECIDED:
            return []
        passing = self.select(replace(wanted, status="")).shown
        decided = {Status.APPROVED, Status.REJECTED}
        now = {(one.run_id, one.creative_id): one for one, standing in passing if standing.status in decided}
        return due(self.log.verdicts(reviewer), now)

    def now(self, shown: Shown) -> Shown:
        """What is shown, with its picture and its standing as they are at this moment."""
        creative = self.shelf.now(shown[0])
        return shown if creative is shown[0] else (creative, self.log.standings([creative.subject])[0])

    def one(self, run_id: str, creative_id: str) -> Shown:
        """A creative as it is at this moment, and where it stands."""
        creative = self.shelf.creative(run_id, creative_id)
        return creative, self.log.standings([creative.subject])[0]

    def views(self, owner: str) -> list[tuple[str, str]]:
        """(name, query) of the owner's saved views."""
        with self.database.reading() as connection:
            rows = connection.execute(
                select(VIEWS.c.name, VIEWS.c.query).where(VIEWS.c.owner == owner).order_by(VIEWS.c.name)
            )
            return [(row.name, row.query) for row in rows]

    def keep_view(self, owner: str, name: str, query: str | None) -> None:
        """Saves a view under a name; without a query, forgets it."""
        if not 0 < len(name) <= 60:
            raise DataError("a view needs a name of 1 to 60 characters", where="saved view", fix="Give it one.")
        with self.database.writing() as connection:
            connection.execute(delete(VIEWS).where(VIEWS.c.owner == owner, VIEWS.c.name == name))
            if query is not None:
                connection.execute(insert(VIEWS).values(owner=owner, name=name, query=query[:2000]))


async def desk_of(request: Request) -> Desk:
    """The process's desk."""
    desk: Desk = request.app.state.desk
    return desk


DeskNow = Annotated[Desk, Depends(desk_of)]


def caller_of(request: Request, desk: DeskNow) -> Caller:
    """Who asks."""
    return desk.gate.caller(request)


Viewer = Annotated[Caller, Depends(caller_of)]


async def form_of(request: Request) -> FormData:
    """The fields of a post."""
    return await request.form(max_files=0, max_fields=2000)


Form = Annotated[FormData, Depends(form_of)]


async def reviewer_of(caller: Viewer, form: Form) -> Caller:
    """Who posts; the CSRF token fits, and they may decide."""
    same_token(text(form, "csrf"), caller.csrf)
    need(caller, Role.REVIEWER)
    return caller


Reviewer = Annotated[Caller, Depends(reviewer_of)]


def need(caller: Caller, role: Role) -> None:
    """Raises ForbiddenError when somebody's role is below the one needed."""
    if not caller.may(role):
        raise ForbiddenError(
            f"this needs the role {role}, yours is {caller.role}",
            where=caller.name,
            fix="Nothing was recorded. Ask whoever keeps the accounts.",
        )


def text(form: FormData, name: str) -> str:
    """A field of a form; empty where there is none."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


_PAGES = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.globals.update(
    static=f"?v={_STATIC}", Reason=Reason, Role=Role, Status=Status, SORTS=SORTS, STATUSES=STATUSES, ALL_RUNS=ALL_RUNS
)
_PAGES.filters["moment"] = lambda at: f"{at:%Y-%m-%d %H:%M}"
_PAGES.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.1f} %"
_PAGES.filters["words"] = lambda name: name.replace("_", " ")


def page(name: str, caller: Caller | None, values: Mapping[str, Any], status: int = 200) -> HTMLResponse:
    """A page from its template."""
    return HTMLResponse(_PAGES.get_template(name).render(caller=caller, **values), status)


def answer(request: Request, said: dict[str, Any], onward: str) -> Response:
    """To a script: JSON; to a form: the next page, inside these pages only."""
    if wants_json(request):
        return JSONResponse(said)
    safe = onward.startswith("/") and not onward.startswith(("//", "/\\"))
    return RedirectResponse(onward if safe else "/", 303)


def wants_json(request: Request) -> bool:
    """Whether a script asks."""
    return "application/json" in request.headers.get("accept", "")
