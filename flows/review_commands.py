"""Turns `adloom review ...` into the analysts' pages and the accounts of those who may use them."""

from __future__ import annotations

import getpass
import json
import sys
import threading
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter
from rich.table import Table

from contracts.decisions import Role
from contracts.errors import SettingsError
from flows.console import Json, app, out
from flows.job import RUNS, database_of

review_app = App(name="review", help="Review what was drawn in the browser; keep the accounts of those who may.")
account_app = App(name="account", help="Who may sign in to the review pages.")
review_app.command(account_app)
app.command(review_app)

Runs = Annotated[Path, Parameter(help="Where runs are.")]
Database = Annotated[
    str | None, Parameter(help="sqlite:///FILE or postgresql+psycopg://USER@HOST/NAME; review.db beside the runs.")
]


@review_app.default
def review(
    *,
    runs: Runs = RUNS,
    database: Database = None,
    host: Annotated[
        str, Parameter(help="Address to listen on; others than this machine's need accounts.")
    ] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port; 0: any free one.")] = 8080,
    proxy_header: Annotated[
        str | None, Parameter(help="Header in which a proxy says who asks, such as X-Remote-User.")
    ] = None,
    proxy: Annotated[str, Parameter(help="Address of that proxy; the header counts from nowhere else.")] = "127.0.0.1",
    repeats: Annotated[
        float, Parameter(help="Share of a queue that its reviewer has decided on before, unmarked; 0: none.")
    ] = 0.05,
) -> None:
    """Serve the pages on which creatives are approved and rejected, until Ctrl-C.

    Example: adloom review --port 8080
    """
    from flows.ask_redraw import start  # noqa: PLC0415 - slow to import
    from flows.export_creatives import export_run  # noqa: PLC0415 - slow to import
    from review.site import open_desk, serve  # noqa: PLC0415 - slow to import

    if not 0 <= port < 65536:
        raise SettingsError("must be between 0 and 65535", where="--port", fix="Give a free port, such as 8080.")
    if not 0 <= repeats <= 0.5:
        raise SettingsError("must be between 0 and 0.5", where="--repeats", fix="Give a share, such as 0.05.")
    desk = open_desk(
        runs,
        database or database_of(runs),
        host=host,
        header=proxy_header,
        proxy=proxy,
        start_redraw=start,
        export=export_run,
        repeats=repeats,
    )
    threading.Thread(target=_prepare, args=(runs,), daemon=True).start()
    serve(desk, port=port, ready=lambda address: out.print(f"Review {address}  (Ctrl-C stops it)"))


def _prepare(runs: Path) -> None:
    """Works out, run after run, what the pages show beside the creatives; they do without until it is there."""
    from flows.prepare_review import data_of, prepare_review  # noqa: PLC0415 - slow to import

    for run in sorted(path for path in runs.glob("*") if path.is_dir() and not path.name.startswith(".")):
        prepare_review(run, data_of(run))


@account_app.command(name="add")
def add_account(
    name: str, *, role: Role = Role.REVIEWER, runs: Runs = RUNS, database: Database = None, password: str | None = None
) -> None:
    """Add an account; the password is asked for, or read from a pipe.

    Example: adloom review account add ann --role approver

    Parameters
    ----------
    name: What the person signs in with.
    role: viewer looks, reviewer decides, approver also overrules, approves in batches and gives second approvals.
    password: Better left out: it is asked for.
    """
    from review.accounts import Accounts  # noqa: PLC0415 - slow to import
    from review.database import open_database  # noqa: PLC0415 - slow to import

    opened = open_database(database or database_of(runs))
    added = Accounts(opened).add(name, password if password is not None else _ask(name), role)
    opened.close()
    out.print(f"{added.name} may sign in as {added.role}. From now on everybody must.")


@account_app.command(name="set")
def set_account(
    name: str,
    *,
    role: Role | None = None,
    new_password: Annotated[bool, Parameter(negative="", help="Ask for a new password.")] = False,
    close: Annotated[bool, Parameter(negative="", help="Sign-in is over; decisions stay.")] = False,
    runs: Runs = RUNS,
    database: Database = None,
) -> None:
    """Change an account, or close it.

    Example: adloom review account set ann --role viewer

    Parameters
    ----------
    name: The account.
    role: Its new role.
    """
    from review.accounts import Accounts  # noqa: PLC0415 - slow to import
    from review.database import open_database  # noqa: PLC0415 - slow to import

    opened = open_database(database or database_of(runs))
    Accounts(opened).change(name, role=role, password=_ask(name) if new_password else None, close=close)
    opened.close()
    out.print(f"{name} is changed.")


@account_app.command(name="list")
def list_accounts(*, runs: Runs = RUNS, database: Database = None, as_json: Json = False) -> None:
    """List the accounts.

    Example: adloom review account list
    """
    from review.accounts import Accounts  # noqa: PLC0415 - slow to import
    from review.database import open_database  # noqa: PLC0415 - slow to import

    opened = open_database(database or database_of(runs))
    found = Accounts(opened).all()
    opened.close()
    if as_json:
        print(json.dumps([{"name": one.name, "role": one.role, "closed": one.closed} for one in found]))
        return
    table = Table("name", "role", "")
    for one in found:
        table.add_row(one.name, one.role, "closed" if one.closed else "")
    out.print(table if found else "There are no accounts: the pages are for this machine alone.")


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    return getpass.getpass(f"Password for {name}: ")
