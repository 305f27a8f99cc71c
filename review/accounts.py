"""Turns names and passwords into accounts, sign-ins into sessions, and what happened into an audit log."""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, func, insert, select, update

from contracts.decisions import Role
from contracts.errors import DataError
from review.database import Database
from review.schema import ACCOUNTS, AUDIT, LOGIN_ATTEMPTS, SESSIONS

SESSION_HOURS = 12
"""A session that nobody used for so long is over."""

WINDOW = timedelta(minutes=15)
FAILURES_PER_NAME, FAILURES_PER_ADDRESS = 5, 20
"""Failed sign-ins within WINDOW after which no more are tried."""

LEAST_PASSWORD = 10

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")
_RESERVED = frozenset({"local", "auto"})
_HASHER = PasswordHasher()
_NOBODY = _HASHER.hash("nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who may sign in."""

    name: str
    role: Role
    closed: bool = False


class Accounts:
    """Accounts, sessions, sign-in attempts and the audit log of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, name: str, password: str, role: Role) -> Account:
        """A new account, or a closed one opened again. Raises DataError: the name or the password will not do."""
        if not _NAME.fullmatch(name) or name in _RESERVED:
            fix = "Use letters, digits and . _ @ -, at most 64, and not local or auto."
            raise DataError("is no name for an account", where=repr(name[:80]), fix=fix)
        _check_password(password)
        with self._database.writing() as connection:
            held = connection.execute(select(ACCOUNTS).where(ACCOUNTS.c.name == name)).one_or_none()
            if held is not None and held.closed_at is None:
                raise DataError("there is such an account", where=name, fix="Change it: adloom review account set.")
            values = {"password_hash": _HASHER.hash(password), "role": role, "closed_at": None}
            if held is None:
                connection.execute(insert(ACCOUNTS).values(name=name, created_at=datetime.now(UTC), **values))
            else:
                connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.name == name).values(**values))
            _note(connection, "command line", "", "account added", f"{name} as {role}")
        return Account(name, role)

    def change(self, name: str, *, role: Role | None = None, password: str | None = None, close: bool = False) -> None:
        """Another role or password, or no account any more; whoever was signed in is signed out.

        Raises:
            DataError: there is no such account, or the password will not do.
        """
        values: dict[str, Any] = {}
        if role is not None:
            values["role"] = role
        if password is not None:
            _check_password(password)
            values["password_hash"] = _HASHER.hash(password)
        if close:
            values["closed_at"] = datetime.now(UTC)
        if not values:
            raise DataError("nothing is to be changed", where=name, fix="Give --role, --password or --close.")
        with self._database.writing() as connection:
            if not connection.execute(update(ACCOUNTS).where(ACCOUNTS.c.name == name).values(**values)).rowcount:
                raise DataError("there is no such account", where=name, fix="See: adloom review account list.")
            connection.execute(delete(SESSIONS).where(SESSIONS.c.name == name))
            _note(connection, "command line", "", "account changed", f"{name}: {', '.join(sorted(values))}")

    def all(self) -> list[Account]:
        """Every account, by name."""
        with self._database.reading() as connection:
            rows = connection.execute(select(ACCOUNTS).order_by(ACCOUNTS.c.name)).all()
        return [Account(row.name, Role(row.role), row.closed_at is not None) for row in rows]

    def sign_in(self, name: str, password: str, address: str) -> str | None:
        """The token of a new session; None: the name or the password is wrong.

        Raises:
            DataError: too many sign-ins failed for this name or from this address.
        """
        now = datetime.now(UTC)
        failed = select(func.count()).where(LOGIN_ATTEMPTS.c.passed == 0, LOGIN_ATTEMPTS.c.at > now - WINDOW)
        with self._database.writing() as connection:
            by_name = connection.execute(failed.where(LOGIN_ATTEMPTS.c.name == name[:100])).scalar_one()
            by_address = connection.execute(failed.where(LOGIN_ATTEMPTS.c.address == address)).scalar_one()
            blocked = by_name >= FAILURES_PER_NAME or by_address >= FAILURES_PER_ADDRESS
            if blocked:
                _note(connection, name[:100], address, "sign-in refused", "too many attempts")
            else:  # counted as failed before the password is looked at: attempts at the same moment all count
                attempt = connection.execute(
                    insert(LOGIN_ATTEMPTS).values(at=now, name=name[:100], address=address, passed=0)
                ).inserted_primary_key
            held = connection.execute(
                select(ACCOUNTS).where(ACCOUNTS.c.name == name[:100], ACCOUNTS.c.closed_at.is_(None))
            ).one_or_none()
        if blocked:
            minutes = int(WINDOW.total_seconds() // 60)
            fix = f"Wait {minutes} minutes, or ask whoever keeps the accounts."
            raise DataError("too many sign-ins failed", where="sign-in", fix=fix)
        passed = _verified(held.password_hash if held is not None else _NOBODY, password) and held is not None
        token = secrets.token_urlsafe(32)
        with self._database.writing() as connection:
            if passed:
                connection.execute(
                    update(LOGIN_ATTEMPTS).where(LOGIN_ATTEMPTS.c.id == attempt[0]).values(passed=1)  # type: ignore[index]
                )
                connection.execute(
                    insert(SESSIONS).values(token_hash=_hash(token), name=name, created_at=now, seen_at=now)
                )
            _note(connection, name[:100], address, "signed in" if passed else "sign-in failed", "")
        return token if passed else None

    def session(self, token: str) -> Account | None:
        """Whose session it is; None: nobody's any more."""
        query = (
            select(ACCOUNTS.c.name, ACCOUNTS.c.role, SESSIONS.c.seen_at)
            .join(SESSIONS, SESSIONS.c.name == ACCOUNTS.c.name)
            .where(SESSIONS.c.token_hash == _hash(token), ACCOUNTS.c.closed_at.is_(None))
        )
        now = datetime.now(UTC)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None or now - row.seen_at > timedelta(hours=SESSION_HOURS):
            return None
        if now - row.seen_at > timedelta(minutes=5):
            with self._database.writing() as connection:
                connection.execute(update(SESSIONS).where(SESSIONS.c.token_hash == _hash(token)).values(seen_at=now))
        return Account(row.name, Role(row.role))

    def sign_out(self, token: str) -> None:
        """Ends a session."""
        with self._database.writing() as connection:
            connection.execute(delete(SESSIONS).where(SESSIONS.c.token_hash == _hash(token)))

    def role_of(self, name: str) -> Role:
        """Role of somebody whom a proxy vouches for: the account's, else a viewer's."""
        with self._database.reading() as connection:
            query = select(ACCOUNTS.c.role).where(ACCOUNTS.c.name == name, ACCOUNTS.c.closed_at.is_(None))
            held = connection.execute(query).scalar_one_or_none()
        return Role.VIEWER if held is None else Role(held)

    def note(self, who: str, address: str, what: str, detail: str = "") -> None:
        """Adds a line to the audit log."""
        with self._database.writing() as connection:
            _note(connection, who, address, what, detail)

    def audit(self, newest: int = 200) -> list[dict[str, Any]]:
        """The newest lines of the audit log, the newest first."""
        with self._database.reading() as connection:
            rows = connection.execute(select(AUDIT).order_by(AUDIT.c.id.desc()).limit(newest))
            return [dict(row._mapping) for row in rows]


def _note(connection: Any, who: str, address: str, what: str, detail: str) -> None:
    connection.execute(
        insert(AUDIT).values(at=datetime.now(UTC), who=who[:100], address=address[:64], what=what, detail=detail[:2000])
    )


def _check_password(password: str) -> None:
    if not LEAST_PASSWORD <= len(password) <= 1000:
        raise DataError(
            f"has {len(password)} characters",
            where="the password",
            fix=f"Give at least {LEAST_PASSWORD}, at most 1,000.",
        )


def _verified(password_hash: str, password: str) -> bool:
    try:
        return _HASHER.verify(password_hash, password[:1000])
    except (VerificationError, InvalidHashError):
        return False


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
