"""A second look: what was decided a while ago comes up again unmarked, and only what was given twice counts as repeated."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from contracts.decisions import Kind, Reason, Role
from review.decisions import Said
from review.desk import Desk
from review.filters import UNDECIDED, Filter
from review.second_look import LEAST_BETWEEN, due, mixed
from review.site import make_site, open_desk
from review.trust import trust_of


@pytest.fixture
def hundred(tmp_path: Path, store_of: Callable[..., Path]) -> Iterator[Desk]:
    opened = open_desk(store_of(tmp_path, 100, side=8), f"sqlite:///{tmp_path / 'review.db'}", repeats=0.1)
    yield opened
    opened.database.close()


def visitor(desk: Desk) -> TestClient:
    return TestClient(make_site(desk), base_url="http://127.0.0.1", client=("127.0.0.1", 9))


def decide(desk: Desk, number: int, kind: Kind = Kind.APPROVE, who: str = "local") -> None:
    one = desk.shelf.creative("shop-1", f"c{number:05d}")
    reason = Reason.OTHER if kind is Kind.REJECT else None
    desk.log.record(Said(who, Role.APPROVER, one.run_id, one.creative_id, one.file_hash, kind, reason=reason))


def cards(client: TestClient, address: str = "/?status=undecided") -> list[tuple[str, str]]:
    page = client.get(address).text
    return re.findall(r'<li class="card (\w+)" data-of="shop-1" data-id="(\w+)"', page)


def test_what_was_decided_long_enough_ago_comes_up_again_as_if_nobody_had(hundred: Desk) -> None:
    client = visitor(hundred)
    for number in range(30):
        decide(hundred, number)
    found = cards(client)
    fresh = {f"c{number:05d}" for number in range(30, 100)}
    again = [name for _, name in found if name not in fresh]
    assert len(again) == 6, "one in ten of a page of sixty"
    assert {kind for kind, name in found if name in again} == {"pending"}
    assert set(again) <= {f"c{number:05d}" for number in range(30 - LEAST_BETWEEN)}
    assert cards(client) == found, "the same ones each time"
    page = client.get(f"/creative?of=shop-1&id={again[0]}&status=undecided").text
    assert "Nobody has said anything" in page, "nothing of the first word is told"
    assert "approved" in client.get(f"/creative?of=shop-1&id={again[0]}&status=").text
    decide(hundred, int(again[0][1:]), Kind.REJECT)
    assert again[0] not in [name for _, name in cards(client)], "twice is enough"
    (mine,) = trust_of(hundred.log.table()).repeats
    assert (mine.repeats, mine.same) == (1, 0)


def test_other_people_and_other_pages_see_no_second_looks(hundred: Desk) -> None:
    client = visitor(hundred)
    for number in range(30):
        decide(hundred, number, who="ann")
    assert {name for _, name in cards(client)} == {f"c{number:05d}" for number in range(30, 90)}
    for number in range(30):
        decide(hundred, number)
    assert len(cards(client, "/?status=undecided&page=2")) == 10
    assert {kind for kind, _ in cards(client, "/?status=approved")} == {"approved"}


def test_a_batch_on_the_whole_queue_leaves_second_looks_alone(hundred: Desk) -> None:
    client = visitor(hundred)
    for number in range(30):
        decide(hundred, number)
    token = re.search(r'name="csrf" content="(\w+)"', client.get("/").text)[1]  # type: ignore[index]
    asked = client.post("/batch", data={"csrf": token, "kind": "approve", "query": "status=undecided"})
    assert "Approve 70 creatives?" in asked.text


def test_changed_files_undone_words_and_recent_ones_are_not_due(hundred: Desk) -> None:
    for number in range(LEAST_BETWEEN + 2):
        decide(hundred, number)
    run = hundred.shelf.run("shop-1")
    now = {(one.run_id, one.creative_id): one for one in run.creatives}
    said = hundred.log.verdicts("local")
    assert {one.creative_id for one in due(said, now)} == {"c00000", "c00001"}
    changed = {**now, ("shop-1", "c00000"): replace(run.by_id["c00000"], file_hash="0" * 64)}
    assert {one.creative_id for one in due(said, changed)} == {"c00001"}
    hundred.log.undo("local", Role.APPROVER)
    assert len(hundred.log.verdicts("local")) == LEAST_BETWEEN + 1
    assert {one.creative_id for one in due(hundred.log.verdicts("local"), now)} == {"c00000"}


def test_a_correction_is_no_second_look(hundred: Desk) -> None:
    decide(hundred, 1)
    decide(hundred, 1, Kind.REJECT)
    assert trust_of(hundred.log.table()).repeats[0].repeats == 0
    for number in range(2, LEAST_BETWEEN + 2):
        decide(hundred, number)
    decide(hundred, 1, Kind.REJECT)
    (mine,) = trust_of(hundred.log.table()).repeats
    assert (mine.repeats, mine.same) == (1, 1), "it repeats the corrected word"


def test_without_planting_a_queue_is_only_what_is_to_decide(hundred: Desk) -> None:
    queue = hundred.select(hundred.settled(Filter(status=UNDECIDED))).shown[:30]
    again = [one for one, _ in queue[:5]]
    assert mixed(queue, again, 0.0) == queue
    assert [one for one, _ in mixed(queue, again, 0.5)][:4] == [queue[0][0], again[0], queue[1][0], again[1]]


def test_the_page_on_trust_says_what_the_command_says_and_what_might_pass_unseen(hundred: Desk) -> None:
    client = visitor(hundred)
    assert "Nobody has approved or rejected anything yet" in client.get("/trust").text
    for number in range(40):
        for who in ("ann", "bob"):
            decide(
                hundred, number, Kind.REJECT if number % 8 == 0 or (who, number) == ("bob", 3) else Kind.APPROVE, who
            )
    found = trust_of(hundred.log.table())
    page = " ".join(client.get("/trust").text.split())
    kappa = found.pairs[0].agreement
    assert "ann and bob" in page
    assert f"{kappa.kappa:.2f}" in page
    assert f"{found.all.kappa:.2f}" in page
    assert "1 are disputed" in page
    assert re.search(r"<td>running</td><td>diffusion</td><td>passed</td><td class=\"number\">\d+</td>", page)
    assert "10 % of a queue" in page
    hundred.accounts.add("eve", "long enough 1", Role.REVIEWER)
    token = re.search(r'name="csrf" value="(\w+)"', client.get("/sign-in").text)[1]  # type: ignore[index]
    client.post("/sign-in", data={"csrf": token, "name": "eve", "password": "long enough 1"})
    assert client.get("/trust").status_code == 403
