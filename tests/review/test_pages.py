"""The pages say what is there, do what was asked once, and say what is wrong when something is."""

from __future__ import annotations

import io
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urlencode

import polars as pl
import pytest
from PIL import Image
from starlette.testclient import TestClient

from contracts.decisions import Reason, Role
from contracts.errors import SettingsError
from contracts.provenance import COMPOSED, Provenance
from contracts.redraw_jobs import RedrawJob
from contracts.stamps import stamped
from contracts.store import file_hash, tree_hashes, write_json
from review.accounts import FAILURES_PER_NAME
from review.desk import Desk
from review.filters import Filter
from review.site import make_site, open_desk

JSON = {"accept": "application/json"}


def visitor(desk: Desk, **headers: str) -> TestClient:
    return TestClient(make_site(desk), base_url="http://127.0.0.1", client=("127.0.0.1", 9), headers=headers)


@pytest.fixture
def client(desk: Desk) -> TestClient:
    return visitor(desk)


def csrf(client: TestClient, path: str = "/") -> str:
    return re.search(r'name="csrf" (?:content|value)="(\w+)"', client.get(path).text)[1]  # type: ignore[index]


def act(client: TestClient, desk: Desk, creative: str = "c00000", **fields: str):  # type: ignore[no-untyped-def]
    seen = desk.shelf.run("shop-1").by_id[creative].file_hash
    values = {"of": "shop-1", "id": creative, "hash": seen, "csrf": csrf(client), "kind": "approve", **fields}
    return client.post("/act", data=values, headers=JSON)


def shown(client: TestClient, **query: object) -> set[str]:
    return set(re.findall(r'data-id="(\w+)"', client.get(f"/?{urlencode(query)}").text))


def test_filters_find_what_they_say(client: TestClient, desk: Desk) -> None:
    everything = {f"c{number:05d}" for number in range(12)}
    assert shown(client) == everything
    assert shown(client, cohort="general") == {"c00000", "c00004", "c00008"}
    assert shown(client, cohort="1") == {"c00002", "c00006", "c00010"}
    assert shown(client, concept="k1") == {"c00004", "c00005", "c00006", "c00007"}
    assert shown(client, topic="running") == shown(client, concept="k1")
    assert shown(client, check="failed") == shown(client, check="contrast") == {"c00009"}
    assert shown(client, least="7.5") == {"c00006"}
    assert shown(client, text="NORTHPACE c00008") == {"c00008"}
    assert shown(client, text="nothing of the kind") == set()
    act(client, desk, "c00001")
    act(client, desk, "c00002", kind="reject", reason="too_dark")
    assert shown(client, status="approved") == {"c00001"}
    assert shown(client, status="rejected", reviewer="local") == {"c00002"}
    assert shown(client, status="undecided") == everything - {"c00001", "c00002"}
    assert shown(client, reviewer="nobody") == set()
    page = client.get("/?status=").text
    assert re.search(r'data-count="approved">1<', page)
    assert re.search(r'data-count="undecided">10<', page)
    assert shown(client, page="999999999", least="abc", status="no such", sort="none", cohort="x" * 5000) == set()


def test_sorts_put_first_what_they_say(client: TestClient, desk: Desk) -> None:
    chances = {one.creative_id: one.chance for one in desk.shelf.run("shop-1").creatives}
    order = re.findall(r'data-id="(\w+)"', client.get("/?sort=chance").text)
    assert [chances[name] for name in order] == sorted(chances.values(), reverse=True)  # type: ignore[type-var]


def test_every_reason_rejects_and_shows_in_the_history(client: TestClient, desk: Desk) -> None:
    for reason in Reason:
        assert act(client, desk, kind="reject", reason=reason).json()["status"] == "rejected"
    page = client.get("/creative?of=shop-1&id=c00000").text
    assert all(f"rejected: {reason.label}" in page for reason in Reason)


def test_ratings_comments_and_undo(client: TestClient, desk: Desk) -> None:
    act(client, desk, kind="rating", rating="4")
    act(client, desk, kind="comment", comment="warm, clear")
    page = client.get("/creative?of=shop-1&id=c00000").text
    assert "rated <b>4.0</b> of 5" in page
    assert "warm, clear" in page
    undone = client.post("/undo", data={"csrf": csrf(client)}, headers=JSON).json()["undone"]
    assert [row["id"] for row in undone] == ["c00000"]
    assert "(taken back)" in client.get("/creative?of=shop-1&id=c00000").text


def test_everything_works_without_a_script(client: TestClient, desk: Desk) -> None:
    page = client.get("/creative?of=shop-1&id=c00000&status=undecided").text
    form = re.search(r'<form method="post" action="/act" data-kind="approve">(.*?)</form>', page, re.DOTALL)[1]  # type: ignore[index]
    fields = {name: unescape(value) for name, value in re.findall(r'name="(\w+)" value="([^"]*)"', form)}
    after = client.post("/act", data=fields)
    assert after.url.params["id"] == "c00001", "on to the next"
    assert desk.log.table()["creative_id"].to_list() == ["c00000"]
    assert client.get("/").text.count("<script") == 1
    assert not re.findall(r"https?://(?!127|www.w3)", client.get("/").text), "no outside request"


def test_a_batch_asks_first_says_how_many_and_is_recorded_once(client: TestClient, desk: Desk) -> None:
    fields = {"csrf": csrf(client), "kind": "approve", "query": "concept=k1"}
    question = client.post("/batch", data=fields)
    assert "Approve 4 creatives?" in question.text
    assert desk.log.last_id() == 0
    for name in ("confirmed", "request"):
        fields[name] = re.search(rf'name="{name}" value="(\w+)"', question.text)[1]  # type: ignore[index]
    for _ in range(2):
        client.post("/batch", data=fields)
    assert sorted(desk.log.table()["creative_id"]) == ["c00004", "c00005", "c00006", "c00007"]
    assert desk.accounts.audit()[0]["what"] == "batch approve"
    client.post("/undo", data={"csrf": fields["csrf"]})
    assert desk.log.table()["kind"].to_list() == ["approve"] * 4 + ["undo"] * 4


def test_a_batch_whose_pictures_changed_after_the_question_is_asked_again(
    client: TestClient, desk: Desk, runs: Path
) -> None:
    fields = {"csrf": csrf(client), "kind": "reject", "reason": "unsafe", "query": "concept=k1"}
    question = client.post("/batch", data=fields).text
    fields["confirmed"] = re.search(r'name="confirmed" value="(\w+)"', question)[1]  # type: ignore[index]
    Image.new("RGB", (48, 48), "white").save(runs / "shop-1" / "generators" / "images" / "c00005.png")
    again = client.post("/batch", data=fields)
    assert again.status_code == 409
    assert "has changed since you were asked" in again.text
    assert desk.log.last_id() == 0


def test_blind_pairs_tell_nothing_and_are_never_asked_twice(client: TestClient, desk: Desk) -> None:
    pairs = set()
    for _ in range(40):
        page = client.get("/compare").text
        if "no pair left" in page:
            break
        assert "cohort" not in page
        assert "%" not in re.sub(r'(href|src|value)="[^"]*"', "", page).split("<main")[1].split("<section")[0]
        better, worse = (re.search(rf'name="{name}" value="(\w+)"', page)[1] for name in ("better", "worse"))  # type: ignore[index]
        form = page.split('data-side="left">')[1].split("</form>")[0]
        client.post("/compare", data=dict(re.findall(r'name="([\w ]+)" value="([^"]*)"', form)))
        pairs.add(frozenset((better, worse)))
    assert len(pairs) == 3 * 6, "every pair of four pictures of three concepts"
    assert desk.log.table()["kind"].unique().to_list() == ["pairwise"]


def test_a_saved_view_is_an_address(client: TestClient) -> None:
    client.post("/views", data={"csrf": csrf(client), "name": "tea only", "query": "topic=tea&sort=chance"})
    assert '<a href="/?topic=tea&amp;sort=chance">tea only</a>' in client.get("/").text
    client.post("/views", data={"csrf": csrf(client), "name": "tea only", "query": "", "forget": "1"})
    assert "tea only" not in client.get("/").text


def test_every_size_and_every_check_is_shown_where_the_run_has_them(client: TestClient, desk: Desk, runs: Path) -> None:
    folder = runs / "shop-1" / "generators"
    Image.new("RGB", (300, 250)).save(folder / "images" / "small.png")
    size = {"creative_id": "c00000", "width": 300, "height": 250, "file": "images/small.png"}
    pl.DataFrame([size]).write_parquet(folder / "renditions.parquet")
    rows = [("contrast", False, "2.1 to 1"), ("safe_area", True, ""), ("nudity", None, "its model is not installed")]
    pl.DataFrame(
        [{"creative_id": "c00000", "check": name, "passed": passed, "reason": why} for name, passed, why in rows]
    ).write_parquet(folder / "creative_checks.parquet")
    again = runs / "shop-1" / "redrawn" / "one"
    again.mkdir(parents=True)
    late = {"creative_id": "c00000", "check": "off_brand", "passed": False, "reason": "a button in blue"}
    pl.DataFrame([late]).write_parquet(again / "creative_checks.parquet")
    (folder / "manifest.json").write_text('{"outputs": {}}')
    page = client.get("/creative?of=shop-1&id=c00000").text
    assert "300 × 250" in page
    assert Image.open(io.BytesIO(client.get("/picture?of=shop-1&id=c00000&kind=300x250").content)).size == (300, 250)
    for words in (
        "contrast: 2.1 to 1",
        "safe area",
        "not checked",
        "nudity: its model is not installed",
        "off brand: a button in blue",
    ):
        assert words in page


def write_redraw(run: Path, job_id: str, replaces: str, made: list[str]) -> None:
    """A finished redraw, as `flows.redraw_creatives` leaves it, with a word in each file on how it was made."""
    folder = run / "redrawn" / job_id
    (folder / "images").mkdir(parents=True)
    old = pl.read_parquet(run / "generators" / "creatives.parquet").filter(pl.col("creative_id") == replaces)
    rows = pl.concat([old] * len(made)).with_columns(
        creative_id=pl.Series(made), file=pl.Series([f"images/{name}.png" for name in made])
    )
    rows.write_parquet(folder / "creatives.parquet")
    for number, name in enumerate(made):
        out = io.BytesIO()
        Image.new("RGB", (48, 48), (250, number, 9)).save(out, "PNG")
        facts = Provenance(COMPOSED, name, "k0", "diffusion", 7, "w" * 64, "p" * 16)
        (folder / "images" / f"{name}.png").write_bytes(stamped(out.getvalue(), facts))
    write_json(folder / "redraw.json", {"replaces": replaces, "reasons": ["too_dark"], "headlines": {}})
    write_json(folder / "manifest.json", {"outputs": tree_hashes(folder)})
    job = RedrawJob(
        job_id, replaces, ("too_dark",), "ann", "2026-01-01T00:00:00", "done", len(made), len(made), made=tuple(made)
    )
    job.write(run)


def test_a_redrawn_creative_stands_beside_the_version_before_and_says_how_it_was_made(
    client: TestClient, desk: Desk, runs: Path
) -> None:
    client.get("/")
    write_redraw(runs / "shop-1", "job1", "c00001", ["c00001~1a", "c00001~1b"])
    old = client.get("/creative?of=shop-1&id=c00001").text
    assert old.count("<figcaption>drawn again</figcaption>") == 2
    new = client.get("/creative?of=shop-1&id=c00001~1a").text
    (before,) = re.findall(r'<a href="/creative\?([^"]*)"><img[^>]*></a>\s*<figcaption>version before', new)
    assert "id=c00001&" in before
    one = desk.shelf.creative("shop-1", "c00001~1a")
    told = dict(re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd>", new))
    assert told["sha256"] == one.file_hash == file_hash(runs / "shop-1" / one.file)
    assert told["weights"] == "w" * 64
    assert (told["seed"], told["run"], told["size"]) == ("1", "shop-1", "48 x 48 pixels")
    assert told["digital source type"] == COMPOSED
    assert (told["in the file: policy"], told["in the file: seed"]) == ("p" * 16, "7")
    assert told["pixels"] == "as stamped"
    assert "nothing of how it was made" in old


def test_a_watched_shelf_makes_nobody_wait_and_a_page_shows_the_files_as_they_are(
    tmp_path: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.shelf.CHECK_SECONDS", 0.05)
    desk = open_desk(runs, f"sqlite:///{tmp_path / 'review.db'}")
    desk.shelf.watch()
    client = visitor(desk)
    act(client, desk, "c00001")
    with monkeypatch.context() as patch:
        patch.setattr("review.shelf.Shelf._look", lambda self: None)  # nobody looks any more
        Image.new("RGB", (48, 48), "white").save(runs / "shop-1" / "generators" / "images" / "c00001.png")
        page = client.get("/?status=").text
        assert re.search(
            rf'data-id="c00001" data-hash="{file_hash(runs / "shop-1/generators/images/c00001.png")}" data-status="stale"',
            page,
        )
    end = time.monotonic() + 20
    while shown(client, status="stale") != {"c00001"}:
        assert time.monotonic() < end, "the thread did not notice the changed file"
        time.sleep(0.02)
    desk.shelf.rest()
    desk.database.close()


def test_the_pages_work_the_same_on_either_database(runs: Path, url: str) -> None:
    desk = open_desk(runs, url)
    desk.accounts.add("ann", "long enough 1", Role.APPROVER)
    client = visitor(desk)
    assert sign_in(client, "ann", "wrong password").status_code == 401
    assert sign_in(client, "ann").status_code == 303
    assert act(client, desk, comment="täglich ☕", kind="comment").status_code == 200
    assert act(client, desk).json()["status"] == "approved"
    client.post("/views", data={"csrf": csrf(client), "name": "mine", "query": "status=approved"})
    assert "status=approved" in client.get("/").text
    assert shown(client, status="approved") == {"c00000"}
    client.post("/undo", data={"csrf": csrf(client)})
    assert shown(client, status="approved") == set()
    assert desk.log.table()["comment"][0] == "täglich ☕"
    assert "signed in" in client.get("/audit").text
    desk.database.close()


# ---- bad input


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"kind": "reject", "reason": "ugly"}, 422, "'ugly' is no reason"),
        ({"kind": "reject"}, 422, "is no reason"),
        ({"kind": "bless"}, 422, "is no kind of decision"),
        ({"kind": "rating", "rating": "7"}, 422, "not between 1 and 5"),
        ({"kind": "rating", "rating": "many"}, 422, "needs a rating"),
        ({"kind": "comment", "comment": "x" * 2001}, 422, "2,001 characters"),
        ({"kind": "approve", "id": "c99999"}, 404, "there is no such creative"),
        ({"kind": "approve", "of": "../../etc"}, 404, "there is no such run"),
        ({"kind": "approve", "hash": "0" * 64}, 409, "has changed since you opened it"),
        ({"kind": "approve", "csrf": "0" * 64}, 403, "token does not fit"),
        ({"kind": "approve", "csrf": ""}, 403, "token does not fit"),
    ],
)
def test_a_bad_decision_is_a_message_and_the_log_stays_as_it_was(
    client: TestClient, desk: Desk, fields: dict[str, str], status: int, said: str
) -> None:
    answer = act(client, desk, **fields)
    assert answer.status_code == status
    assert said in answer.json()["what"]
    assert desk.log.last_id() == 0


def test_a_comment_of_ten_megabytes_is_refused_before_it_is_read(client: TestClient, desk: Desk) -> None:
    answer = act(client, desk, kind="comment", comment="x" * 10_000_000)
    assert answer.status_code == 413
    assert "larger than 256 KB" in answer.text

    def drip() -> Iterator[bytes]:
        for _ in range(200):
            yield b"comment=" + b"x" * 10_000

    kind = {"content-type": "application/x-www-form-urlencoded"}
    assert client.post("/act", content=drip(), headers=kind).status_code == 413, "without a declared length"
    assert desk.log.last_id() == 0


def test_a_half_written_run_is_named_and_the_others_are_shown(client: TestClient, runs: Path) -> None:
    (runs / "half-2" / "generators.part").mkdir(parents=True)
    broken = runs / "broken-3" / "generators"
    broken.mkdir(parents=True)
    (broken / "manifest.json").write_text("{}")
    (broken / "creatives.parquet").write_bytes(b"PAR1 and no more")
    page = client.get("/").text
    assert "<b>half-2</b> its creatives are not finished" in page
    assert "<b>broken-3</b> cannot be read" in page
    assert len(shown(client)) == 12


def test_no_runs_at_all_is_a_page_that_says_what_to_do(tmp_path: Path) -> None:
    desk = open_desk(tmp_path / "none", f"sqlite:///{tmp_path / 'review.db'}")
    page = visitor(desk).get("/")
    assert page.status_code == 200
    assert "adloom run DATA" in page.text
    desk.database.close()


def test_a_missing_and_a_replaced_picture(client: TestClient, desk: Desk, runs: Path) -> None:
    images = runs / "shop-1" / "generators" / "images"
    act(client, desk, "c00001")
    assert shown(client, status="approved") == {"c00001"}
    Image.new("RGB", (48, 48), "white").save(images / "c00001.png")
    assert shown(client, status="stale") == {"c00001"}, "a changed file voids its approval"
    (images / "c00002.png").unlink()
    assert "the picture is missing" in client.get("/").text
    assert client.get("/picture?of=shop-1&id=c00002").status_code == 404
    assert "is missing" in act(client, desk, "c00002", hash="").json()["what"]
    (images / "c00003.png").write_bytes(b"no picture")
    assert client.get("/picture?of=shop-1&id=c00003&kind=thumb").status_code == 404
    assert client.get("/creative?of=shop-1&id=c00003").status_code == 200


def test_a_locked_database_is_a_message_and_the_same_click_works_later(
    client: TestClient, desk: Desk, runs: Path
) -> None:
    token = csrf(client)
    holder = sqlite3.connect(runs.parent / "review.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    desk.database.engine.dispose()
    from sqlalchemy import event

    @event.listens_for(desk.database.engine, "connect")
    def hurry(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA busy_timeout = 100")

    answer = act(client, desk, csrf=token, request="click")
    assert answer.status_code == 503
    assert answer.json()["fix"] == "Nothing was recorded. Try again in a moment."
    holder.execute("ROLLBACK")
    assert act(client, desk, csrf=token, request="click").status_code == 200
    assert desk.log.last_id() == 1


def test_two_approvals_at_the_same_moment_are_both_kept(runs: Path, url: str) -> None:
    """By two servers on one database, of either kind."""
    desks = [open_desk(runs, url) for _ in range(2)]
    clients = [visitor(desk) for desk in desks]
    barrier = threading.Barrier(2)
    tokens = {client: csrf(client) for client in clients}

    def approve(client: TestClient) -> None:
        barrier.wait()
        act(client, desks[clients.index(client)], csrf=tokens[client])

    threads = [threading.Thread(target=approve, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for desk in desks:
        assert desk.log.table()["kind"].to_list() == ["approve", "approve"]
        desk.database.close()


# ---- access


def test_a_script_in_a_headline_and_in_a_comment_is_shown_as_text(
    tmp_path: Path, store_of: Callable[..., Path]
) -> None:
    evil = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    desk = open_desk(store_of(tmp_path, headline=evil), f"sqlite:///{tmp_path / 'review.db'}")
    client = visitor(desk)
    act(client, desk, kind="comment", comment=evil)
    for path in ("/", "/creative?of=shop-1&id=c00000", "/compare", f"/?{urlencode({'text': evil, 'status': ''})}"):
        page = client.get(path).text
        assert "<script>alert" not in page, path
        assert "<img src=x" not in page, path
    assert "&lt;script&gt;alert(1)" in client.get("/").text
    desk.database.close()


def test_answers_forbid_inline_script_framing_and_guessing(client: TestClient) -> None:
    for path in ("/", "/sign-in", "/picture?of=shop-1&id=c00000", "/no/such/page", "/static/review.js"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<[^>]+ (style|on\w+)=", client.get("/").text)


@pytest.mark.parametrize(
    "path",
    ["/picture?of=..&id=c00000", "/picture?of=shop-1&id=../../../../etc/passwd", "/picture?of=shop-1&id=c00000&kind=../x",
     "/static/../../site.py", "/static/%2e%2e/site.py", "/static/..%2f..%2fpyproject.toml"],
)  # fmt: skip
def test_no_address_leads_out_of_the_run_store(client: TestClient, path: str) -> None:
    answer = client.get(path)
    assert answer.status_code in {200, 404}
    assert answer.status_code == 404 or answer.headers["content-type"] == "image/png"
    assert "root:" not in answer.text


@pytest.mark.parametrize("file", ["../../../secret.png", "/etc/passwd", "images/link.png", "manifest.json"])
def test_a_table_that_names_a_file_outside_its_run_is_not_served(client: TestClient, runs: Path, file: str) -> None:
    folder = runs / "shop-1" / "generators"
    Image.new("RGB", (8, 8)).save(runs.parent / "secret.png")
    (folder / "images" / "link.png").symlink_to(runs.parent / "secret.png")
    table = pl.read_parquet(folder / "creatives.parquet", memory_map=False)
    table.with_columns(file=pl.lit(file)).write_parquet(folder / "creatives.parquet")
    (folder / "manifest.json").write_text('{"outputs": {}}')
    for kind in ("full", "thumb"):
        assert client.get(f"/picture?of=shop-1&id=c00000&kind={kind}").status_code == 404


def test_a_foreign_host_name_is_refused(desk: Desk) -> None:
    assert visitor(desk, host="evil.example").get("/").status_code == 403
    assert visitor(desk, host="localhost:8080").get("/").status_code == 200


def test_other_addresses_need_accounts_or_a_proxy(runs: Path) -> None:
    database = f"sqlite:///{runs.parent / 'review.db'}"
    with pytest.raises(SettingsError, match="without a password"):
        open_desk(runs, database, host="0.0.0.0")
    open_desk(runs, database, host="0.0.0.0", header="X-Remote-User").database.close()
    desk = open_desk(runs, database)
    desk.accounts.add("ann", "long enough 1", Role.REVIEWER)
    desk.database.close()
    open_desk(runs, database, host="0.0.0.0").database.close()


def sign_in(client: TestClient, name: str, password: str = "long enough 1"):  # type: ignore[no-untyped-def]
    token = csrf(client, "/sign-in")
    return client.post("/sign-in", data={"csrf": token, "name": name, "password": password}, follow_redirects=False)


def test_once_there_is_an_account_everybody_signs_in(client: TestClient, desk: Desk) -> None:
    desk.accounts.add("ann", "long enough 1", Role.REVIEWER)
    assert client.get("/", follow_redirects=False).headers["location"] == "/sign-in"
    assert client.get("/picture?of=shop-1&id=c00000", headers=JSON).status_code == 401
    assert sign_in(client, "ann", "wrong password").status_code == 401
    cookie = sign_in(client, "ann").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert act(client, desk).status_code == 200
    assert desk.log.table()["reviewer"].to_list() == ["ann"]
    client.post("/sign-out", data={"csrf": csrf(client)})
    assert client.get("/", follow_redirects=False).status_code == 303
    assert [row["what"] for row in desk.accounts.audit()] == ["signed in", "sign-in failed", "account added"]


def test_away_from_this_machine_the_cookie_is_secure(runs: Path) -> None:
    desk = open_desk(runs, f"sqlite:///{runs.parent / 'review.db'}", header=None)
    desk.accounts.add("ann", "long enough 1", Role.REVIEWER)
    desk.database.close()
    desk = open_desk(runs, f"sqlite:///{runs.parent / 'review.db'}", host="0.0.0.0")
    assert "Secure" in sign_in(visitor(desk), "ann").headers["set-cookie"]
    desk.database.close()


def test_signing_in_is_limited_even_with_the_right_password(client: TestClient, desk: Desk) -> None:
    desk.accounts.add("ann", "long enough 1", Role.REVIEWER)
    desk.accounts.add("bob", "long enough 1", Role.REVIEWER)
    for _ in range(FAILURES_PER_NAME):
        assert sign_in(client, "ann", "guess").status_code == 401
    assert sign_in(client, "ann").status_code == 429
    assert sign_in(client, "bob").status_code == 303, "others may still sign in"
    from sqlalchemy import text

    with desk.database.reading() as connection:
        held = connection.execute(text("SELECT password_hash FROM accounts")).scalars().all()
        sessions = connection.execute(text("SELECT token_hash FROM sessions")).scalars().all()
    assert all(one.startswith("$argon2id$") for one in held)
    assert client.cookies["adloom_session"] not in sessions, "only its hash is kept"


def test_roles(client: TestClient, desk: Desk) -> None:
    desk.accounts.add("eve", "long enough 1", Role.VIEWER)
    desk.accounts.add("ann", "long enough 1", Role.REVIEWER)
    sign_in(client, "eve")
    assert act(client, desk).status_code == 403
    assert 'action="/act"' not in client.get("/creative?of=shop-1&id=c00000").text
    sign_in(client, "ann")
    assert act(client, desk).status_code == 200
    fields = {"csrf": csrf(client), "kind": "approve", "query": ""}
    assert client.post("/batch", data=fields).status_code == 403, "approving in batches is for approvers"
    assert client.post("/batch", data={**fields, "kind": "reject", "reason": "unsafe"}).status_code == 200
    assert client.get("/audit").status_code == 403
    desk.accounts.change("ann", close=True)
    assert client.get("/", follow_redirects=False).status_code == 303, "a closed account is signed out"


def test_a_proxy_vouches_for_names_and_nobody_else_does(runs: Path) -> None:
    desk = open_desk(runs, f"sqlite:///{runs.parent / 'review.db'}", host="0.0.0.0", header="X-Remote-User")
    desk.accounts.add("ann", "long enough 1", Role.APPROVER)
    ann = visitor(desk, **{"X-Remote-User": "ann"})
    assert act(ann, desk).status_code == 200
    assert desk.log.table()["reviewer"].to_list() == ["ann"]
    assert act(visitor(desk, **{"X-Remote-User": "stranger"}), desk).status_code == 403, "a viewer"
    assert visitor(desk).get("/").status_code == 403
    stranger = TestClient(
        make_site(desk), base_url="http://127.0.0.1", client=("10.0.0.9", 9), headers={"X-Remote-User": "ann"}
    )
    assert stranger.get("/").status_code == 403, "past the proxy"
    desk.database.close()


def test_onward_addresses_stay_on_these_pages(client: TestClient, desk: Desk) -> None:
    one = desk.shelf.run("shop-1").by_id["c00000"]
    fields = {"of": "shop-1", "id": "c00000", "hash": one.file_hash, "csrf": csrf(client), "kind": "approve"}
    for bad in ("https://evil.example/", "//evil.example/", "/\\evil.example"):
        answer = client.post("/act", data={**fields, "next": bad}, follow_redirects=False)
        assert answer.headers["location"] == "/"


def test_ten_thousand_creatives_stay_usable(
    tmp_path: Path, store_of: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("review.shelf.CHECK_SECONDS", 3600)
    desk = open_desk(store_of(tmp_path, 10_000, side=4), f"sqlite:///{tmp_path / 'review.db'}")
    desk.shelf.watch()
    desk.select(desk.settled(Filter()))  # as `serve` does before it says that it is ready
    client = visitor(desk)
    took = []
    for number in range(8):
        began = time.process_time()  # of this process alone: the machine may be busy with other things
        answer = client.get(f"/?status=undecided&sort=chance&page={number + 1}")
        took.append(time.process_time() - began)
        assert answer.status_code == 200
    assert len(shown(client)) == 60
    assert "10,000" in answer.text
    typical = sorted(took)[len(took) // 2]
    assert took[0] < 0.3, f"the first page of 10,000 takes {took[0]:.3f} s"
    assert typical < 0.3, f"a page of 10,000 takes {typical:.3f} s"
    desk.shelf.rest()
    desk.database.close()
