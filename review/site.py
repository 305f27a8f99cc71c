"""Turns a desk into the web application, faults into messages on a page, and an address into a running server."""

from __future__ import annotations

import logging
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote

import uvicorn
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from contracts.errors import AdloomError, DataError, RunError, SettingsError
from contracts.redraw_jobs import StartRedraw
from review import acts, creative, download, entrance, gallery, trust_page
from review.access import ForbiddenError, Gate, NotSignedInError
from review.accounts import Accounts
from review.acts import ChangedError
from review.database import open_database
from review.decisions import DecisionLog
from review.desk import Desk, ExportRun, page, wants_json
from review.filters import Filter
from review.guards import Guards
from review.pictures import Thumbnails
from review.shelf import Shelf

log = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[AdloomError], int], ...] = (
    (ForbiddenError, 403),
    (ChangedError, 409),
    (DataError, 422),
    (RunError, 404),
)
_SWITCH_SECONDS = 0.0005
"""A thread that works out a page gives way so soon to those that record decisions; by default they wait ten times as long."""


def open_desk(
    runs: Path,
    database: str,
    *,
    host: str = "127.0.0.1",
    header: str | None = None,
    proxy: str = "127.0.0.1",
    start_redraw: StartRedraw | None = None,
    export: ExportRun | None = None,
    repeats: float = 0.0,
) -> Desk:
    """Everything the pages need; for the arguments see `Desk` and `Gate`.

    Raises:
        RunError: the database cannot be opened.
        SettingsError: others could reach the pages without saying who they are.
    """
    opened = open_database(database)
    accounts = Accounts(opened)
    gate = Gate(accounts, host, header, proxy)
    try:
        gate.check()
    except SettingsError:
        opened.close()
        raise
    thumbnails = Thumbnails(runs.parent / "thumbnails")
    return Desk(Shelf(runs), DecisionLog(opened), accounts, gate, thumbnails, opened, start_redraw, export, repeats)


def make_site(desk: Desk) -> FastAPI:
    """The application."""
    site = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    site.state.desk = desk
    for part in (gallery, creative, acts, download, trust_page, entrance):
        site.include_router(part.router)
    site.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"))
    site.add_exception_handler(AdloomError, _fault)
    site.add_exception_handler(HTTPException, _no_page)
    site.add_exception_handler(RequestValidationError, _no_page)
    site.add_exception_handler(Exception, _broken)
    site.add_middleware(Guards)
    return site


def _fault(request: Request, error: Exception) -> Response:
    """A message that says what, where and what to do."""
    assert isinstance(error, AdloomError)
    if isinstance(error, NotSignedInError) and not wants_json(request):
        return RedirectResponse("/sign-in", 303)
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 400)
    if isinstance(error, NotSignedInError):
        status = 401
    elif isinstance(error, RunError) and error.where == request.app.state.desk.database.name:
        status = 503
    if isinstance(error, DataError) and error.where == "sign-in":
        status = 429
    return _message(request, error.what, error.where, error.fix, status)


def _no_page(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 422
    return _message(request, "there is no such page", request.url.path[:200], "Go to the gallery.", status)


def _broken(request: Request, error: Exception) -> Response:
    log.error("a page failed: %s", request.url.path, exc_info=error)
    return _message(request, "something broke", request.url.path[:200], "The log of the server says what.", 500)


def _message(request: Request, what: str, where: str, fix: str, status: int) -> Response:
    if wants_json(request):
        return JSONResponse({"what": what, "where": where, "fix": fix}, status)
    return page("message.html", None, {"what": what, "where": where, "fix": fix}, status)


def serve(desk: Desk, *, port: int, ready: Callable[[str], None]) -> None:
    """Serves the pages until interrupted; `ready` is told their address. Raises SettingsError: the port is taken."""
    host = desk.gate.host
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as error:
            fix = "Give another with --port, or another address with --host."
            raise SettingsError(f"cannot be listened on ({error.strerror})", where=f"{host}:{port}", fix=fix) from error
        sys.setswitchinterval(_SWITCH_SECONDS)
        desk.shelf.watch()
        desk.select(desk.settled(Filter()))  # so that nobody waits for the first page
        ready(f"http://{quote(f'[{host}]' if ':' in host else host, safe='[]:.')}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            make_site(desk), log_level="warning", access_log=False, proxy_headers=False, server_header=False
        )
        uvicorn.Server(config).run(sockets=[listener])
    desk.shelf.rest()
    desk.database.close()
