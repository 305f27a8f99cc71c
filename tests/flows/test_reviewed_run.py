"""A real run in a real browser: a rejected picture is drawn again, a new one is approved, and only that is exported."""

from __future__ import annotations

import io
import json
import threading
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import polars as pl
import pytest
from playwright.sync_api import Page, expect

from contracts.decisions import Reason
from contracts.run_creatives import run_creatives
from flows.ask_redraw import request
from flows.export_creatives import export_run
from flows.job import Job, database_of, job_of
from flows.redraw_creatives import draw_again
from review.site import open_desk
from tests.review.serving import launch_args, serving

expect.set_options(timeout=30_000)  # a busy machine is no fault of the pages


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    return launch_args()


def start_here(run: Path, creative_id: str, reasons: Sequence[Reason], requested_by: str) -> str:
    """`flows.ask_redraw.start` with the drawing in a thread of this process instead of a flow run of its own."""
    wanted = request(run, creative_id, reasons, requested_by)
    threading.Thread(target=draw_again, args=(job_of(run), wanted)).start()
    return wanted.job_id


@pytest.fixture
def address(job: Job) -> Iterator[str]:
    desk = open_desk(job.runs, database_of(job.runs), start_redraw=start_here, export=export_run)
    with serving(desk) as found:
        yield found
    desk.database.close()


def test_a_rejected_picture_is_drawn_again_approved_and_exported(page: Page, address: str, job: Job) -> None:
    rows = run_creatives(job.run).filter(pl.col("checks").list.len() == 0)
    ordinary = pl.read_parquet(job.run / "sources" / "concepts.parquet").filter(~pl.col("sensitive"))
    old = rows.join(ordinary, on="concept_id", how="semi")["creative_id"][0]
    page.goto(f"{address}/export")
    page.get_by_role("button", name="Download").click()
    expect(page.locator("body")).to_contain_text("no creative is approved")
    page.goto(f"{address}/creative?of={job.run_id}&id={old}")
    page.get_by_label("too dark").check()
    page.get_by_label("wrong message").check()
    page.get_by_role("button", name="Draw again").click()
    expect(page.locator(".redraw")).to_contain_text("too dark, wrong message")
    expect(page.locator('.redraw[data-state="done"]')).to_contain_text("3 of 3")
    expect(page.locator(".beside figcaption", has_text="drawn again")).to_have_count(3)
    page.locator(".beside li", has_text="drawn again").first.locator("a").click()
    expect(page.locator(".beside figcaption", has_text="version before")).to_have_count(1)
    new = page.locator(".one").get_attribute("data-id")
    assert new is not None
    assert new.startswith(f"{old}~1")
    page.wait_for_selector("html[data-ready]", state="attached")
    page.keyboard.press("a")
    page.wait_for_url(lambda url: new not in url)  # the next one opens once the decision is kept
    page.goto(f"{address}/export")
    expect(page.locator("main")).to_contain_text("1 creative is approved")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Download").click()
    with zipfile.ZipFile(io.BytesIO(Path(caught.value.path()).read_bytes())) as archive:
        manifest = json.loads(archive.read("manifest.json"))
        held = [archive.read(name) for name in archive.namelist() if name.endswith((".png", ".jpg"))]
    assert {one["creative_id"] for one in manifest["files"].values()} == {new}
    files = dict(run_creatives(job.run).select("creative_id", "file").iter_rows())
    assert len(held) == len(manifest["files"])
    assert held.count((job.run / files[new]).read_bytes()) == 1, "beside its other sizes"
