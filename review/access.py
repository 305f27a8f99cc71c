"""Turns a request into who asks and what they may do: one local person, an account, or a name that a proxy vouches for."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field

from fastapi import Request

from contracts.decisions import Role
from contracts.errors import AdloomError, SettingsError
from review.accounts import Accounts

COOKIE = "adloom_session"
LOCAL = "local"


class ForbiddenError(AdloomError):
    """Somebody may not do this."""


class NotSignedInError(AdloomError):
    """Nobody is signed in."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks. `csrf` must come back with every post."""

    name: str
    role: Role
    csrf: str
    address: str

    def may(self, role: Role) -> bool:
        """Whether the role is theirs, or below theirs."""
        return self.role.rank >= role.rank


@dataclass(frozen=True)
class Gate:
    """How people are told apart.

    Attributes:
        host: address the server binds.
        header: name of the header in which a proxy says who asks; None: no proxy.
        proxy: address of that proxy; the header counts from nowhere else.
        secret: of this process, for CSRF tokens.
    """

    accounts: Accounts
    host: str
    header: str | None = None
    proxy: str = "127.0.0.1"
    secret: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    def check(self) -> None:
        """Raises SettingsError when others could reach the pages without saying who they are."""
        if not self.on_loopback and self.header is None and not self._has_accounts():
            raise SettingsError(
                "others could reach the pages without a password",
                where=f"--host {self.host}",
                fix="Add an account (adloom review account add NAME), or give --proxy-header, or stay on 127.0.0.1.",
            )

    def _has_accounts(self) -> bool:
        return any(not one.closed for one in self.accounts.all())

    def caller(self, request: Request) -> Caller:
        """Who asks.

        Raises:
            NotSignedInError: an account is needed.
            ForbiddenError: the request came past the proxy, or under a foreign host name.
        """
        address = request.client.host if request.client else ""
        if self.header is not None:
            name = request.headers.get(self.header, "").strip()[:100]
            if address != self.proxy or not name:
                fix = f"Open the pages through the proxy at {self.proxy}."
                raise ForbiddenError("the proxy does not say who you are", where="sign-in", fix=fix)
            return Caller(name, self.accounts.role_of(name), self._csrf(name), address)
        token = request.cookies.get(COOKIE, "")
        if token:
            account = self.accounts.session(token)
            if account is not None:
                return Caller(account.name, account.role, self._csrf(token), address)
        if not self.on_loopback or self._has_accounts():
            raise NotSignedInError("nobody is signed in", where="sign-in", fix="Sign in first.")
        name = request.url.hostname or ""
        if name != "localhost" and not is_loopback(name):  # a foreign page whose name was pointed at this machine
            raise ForbiddenError("these pages have no such name", where=name[:80], fix="Open them as 127.0.0.1.")
        return Caller(LOCAL, Role.APPROVER, self._csrf(LOCAL), address)

    def form_token(self, request: Request) -> str:
        """CSRF token of the sign-in form: bound to nothing but this process and the address it was shown to."""
        return self._csrf(f"form {request.client.host if request.client else ''}")

    def _csrf(self, of: str) -> str:
        return hmac.new(self.secret, of.encode(), hashlib.sha256).hexdigest()


def same_token(given: str, wanted: str) -> None:
    """Raises ForbiddenError unless the tokens are equal."""
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        fix = "The page was open for too long, or another site sent this. Load the page again and repeat."
        raise ForbiddenError("the form's token does not fit", where="request", fix=fix)


def is_loopback(host: str) -> bool:
    """Whether a host name or address is this machine's own."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
