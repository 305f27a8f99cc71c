"""Turns a name and a password into a session cookie, and a session into nothing again; shows the audit log."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse, Response

from contracts.decisions import Role
from review.access import COOKIE, same_token
from review.accounts import SESSION_HOURS
from review.desk import DeskNow, Form, Viewer, need, page, text

router = APIRouter()


@router.get("/sign-in")
def sign_in_form(request: Request, desk: DeskNow) -> Response:
    """The form."""
    return page("sign_in.html", None, {"csrf": desk.gate.form_token(request), "failed": False, "name": ""})


@router.post("/sign-in")
def sign_in(request: Request, desk: DeskNow, form: Form) -> Response:
    """A session, or the form again."""
    csrf = desk.gate.form_token(request)
    same_token(text(form, "csrf"), csrf)
    name = text(form, "name").strip()
    address = request.client.host if request.client else ""
    token = desk.accounts.sign_in(name, text(form, "password"), address)
    if token is None:
        return page("sign_in.html", None, {"csrf": csrf, "failed": True, "name": name[:64]}, 401)
    answer = RedirectResponse("/", 303)
    cookie: dict[str, Any] = {"httponly": True, "samesite": "strict", "secure": not desk.gate.on_loopback}
    answer.set_cookie(COOKIE, token, max_age=SESSION_HOURS * 3600, path="/", **cookie)
    return answer


@router.post("/sign-out")
def sign_out(request: Request, desk: DeskNow, caller: Viewer, form: Form) -> Response:
    """No session any more."""
    same_token(text(form, "csrf"), caller.csrf)
    desk.accounts.sign_out(request.cookies.get(COOKIE, ""))
    answer = RedirectResponse("/sign-in", 303)
    answer.delete_cookie(COOKIE)
    return answer


@router.get("/audit")
def audit(desk: DeskNow, caller: Viewer) -> Response:
    """The audit log, for approvers."""
    need(caller, Role.APPROVER)
    return page("audit.html", caller, {"rows": desk.accounts.audit()})
