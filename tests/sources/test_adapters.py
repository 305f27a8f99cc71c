"""Published logs as data folders: rows as their format has them, the figures that were published, faults in one line."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.tables import INPUT_TABLES
from sources.hillstrom import write_hillstrom
from sources.mind import write_mind
from sources.msweb import write_msweb
from sources.open_bandit import write_open_bandit
from sources.s3rec import write_s3rec
from tests.sources.taken import taken

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "datasets"


def real(name: str) -> Path:
    if not (REAL / name).exists():
        pytest.skip(f"the data set is not in ../shared/datasets/{name}")
    return REAL / name


def tables(out: Path) -> dict[str, pl.DataFrame]:
    """The tables of a data folder that keeps every contract and says where it is from."""
    intake = taken(out, max_rejected_share=0)
    assert intake.intake.findings.is_empty(), intake.intake.findings
    for count in intake.counts:
        INPUT_TABLES[count.table].validate(pl.read_parquet(out / f"{count.table}.parquet"))
    text = (out / "SOURCE.md").read_text()
    assert all(word in text for word in ("Origin:", "Licence:", "| table | stands for | made from |"))
    assert "{" not in text
    return intake.tables


# Open Bandit

BANDIT = """,timestamp,item_id,position,click,propensity_score,user_feature_0,user_feature_1,user_feature_2,user_feature_3,user-item_affinity_0,user-item_affinity_1
0,2019-11-24 00:00:34.762830+00:00,1,3,0,0.5,aaaaaaaaaa,bbbbbbbbbb,c,d,0.0,1.0
1,2019-11-24 00:00:17+00:00,0,1,1,0.25,aaaaaaaaaa,bbbbbbbbbb,c,d,0.0,1.0
2,2019-11-24 00:00:18+00:00,0,2,0,0.5,x,y,z,w,0.0,0.0
"""
ITEMS = """,item_id,item_feature_0,item_feature_1,item_feature_2,item_feature_3
0,0,-0.5,1111111111,2222222222,3333333333
1,1,0.9,1111111111,4444444444,5555555555
"""


def bandit(folder: Path, log: str = BANDIT, items: str = ITEMS) -> Path:
    (folder / "random" / "all").mkdir(parents=True, exist_ok=True)
    (folder / "random" / "all" / "all.csv").write_text(log)
    (folder / "random" / "all" / "item_context.csv").write_text(items)
    return folder


def test_open_bandit_keeps_position_click_and_propensity(tmp_path: Path) -> None:
    made = write_open_bandit(tmp_path / "out", data=bandit(tmp_path / "in"))
    found = tables(tmp_path / "out")
    assert (made.users, made.concepts, made.events, made.impressions, made.clicked) == (2, 2, 1, 3, 1)
    assert found["impressions"].select("user_id", "slot", "concept_id", "clicked", "propensity", "policy").rows() == [
        ("aaaaaaaa-bbbbbbbb-c-d", 0, "0", True, 0.25, "random"),
        ("x-y-z-w", 1, "0", False, 0.5, "random"),
        ("aaaaaaaa-bbbbbbbb-c-d", 2, "1", False, 0.5, "random"),
    ]
    assert found["events"].select("user_id", "at", "action", "item_id").rows() == [
        ("aaaaaaaa-bbbbbbbb-c-d", datetime(2019, 11, 24, 0, 0, 16, tzinfo=UTC), "click", "1")
    ]
    assert found["concepts"]["topics"].to_list() == [
        ["f0-quarter-1", "f1-11111111", "f2-22222222", "f3-33333333"],
        ["f0-quarter-3", "f1-11111111", "f2-44444444", "f3-55555555"],
    ]


def test_open_bandit_is_read_out_of_the_wheel(tmp_path: Path) -> None:
    source = bandit(tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "obp.whl", "w") as wheel:
        for path in (source / "random" / "all").iterdir():
            wheel.write(path, f"obp/dataset/obd/random/all/{path.name}")
    write_open_bandit(tmp_path / "one", data=source)
    write_open_bandit(tmp_path / "two", data=tmp_path / "obp.whl")
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


@pytest.mark.parametrize("policy", ["random", "bts"])
@pytest.mark.parametrize(("campaign", "items"), [("all", 80), ("men", 34), ("women", 46)])
def test_the_published_open_bandit_sample(tmp_path: Path, policy: Any, campaign: Any, items: int) -> None:
    made = write_open_bandit(tmp_path / "out", data=real("open_bandit"), campaign=campaign, policy=policy)
    shown = tables(tmp_path / "out")["impressions"]
    assert made.impressions == 10_000
    assert made.concepts in (items, items + 1)
    assert set(shown["slot"].unique()) == {0, 1, 2}
    if policy == "random":
        assert shown["propensity"].unique().to_list() == pytest.approx([1 / items])
    assert 0.002 < shown["clicked"].mean() < 0.01  # type: ignore[operator]


# Hillstrom

EMAIL = """recency,history_segment,history,mens,womens,zip_code,newbie,channel,segment,visit,conversion,spend
10,2) $100 - $200,142.44,1,0,Surburban,0,Phone,Womens E-Mail,0,0,0
6,3) $200 - $350,329.08,1,1,Rural,1,Web,No E-Mail,1,0,0
7,2) $100 - $200,180.65,0,1,Surburban,1,Web,Mens E-Mail,1,1,20.5
"""


def test_hillstrom_keeps_the_control_arm(tmp_path: Path) -> None:
    (tmp_path / "h.csv").write_text(EMAIL)
    write_hillstrom(tmp_path / "out", data=tmp_path / "h.csv")
    found = tables(tmp_path / "out")
    assert found["impressions"].select("user_id", "concept_id", "clicked", "propensity").rows() == [
        ("customer-1", "womens-email", False, 1 / 3), ("customer-2", "no-email", True, 1 / 3),
        ("customer-3", "mens-email", True, 1 / 3),
    ]  # fmt: skip
    assert sorted(found["events"].select("user_id", "item_id", "action").rows()) == [
        ("customer-1", "mens", "purchase"), ("customer-2", "mens", "purchase"), ("customer-2", "womens", "purchase"),
        ("customer-3", "womens", "purchase"),
    ]  # fmt: skip
    assert found["events"]["at"].max() < found["impressions"]["at"].min()  # type: ignore[operator]


def test_the_published_visit_rates_of_hillstrom(tmp_path: Path) -> None:
    made = write_hillstrom(tmp_path / "out", data=real("hillstrom"))
    tables(tmp_path / "out")
    assert made.users == 64_000
    assert (round(made.mens, 4), round(made.womens, 4), round(made.none, 4)) == (0.1828, 0.1514, 0.1062)


# msweb

AREAS = 'I,4,"www.microsoft.com","created by getlog.pl"\nA,1,1,"Home, sweet","/home/a"\nA,2,1,"Help","/help"\n'


def test_msweb_holds_the_last_visit_out(tmp_path: Path) -> None:
    (tmp_path / "anonymous-msweb.data").write_text(AREAS + 'C,"7",7\nV,1,1\nV,2,1\nC,"8",8\nV,2,1\n')
    (tmp_path / "anonymous-msweb.test").write_text(AREAS + 'A,3,1,"News","/news"\nC,"7",7\nV,2,1\nV,1,1\nV,2,1\n')
    made = write_msweb(tmp_path / "out", data=tmp_path)
    found = tables(tmp_path / "out")
    assert (made.users, made.train, made.test, made.areas, made.slates) == (3, 2, 1, 3, 2)
    assert found["events"].select("user_id", "item_id", "topics").rows() == [
        ("data-7", "1", ["home"]), ("data-8", "2", ["help"]), ("test-7", "2", ["help"]),
    ]  # fmt: skip
    shown = found["impressions"]
    assert shown.filter("clicked").select("user_id", "concept_id").rows() == [("data-7", "2"), ("test-7", "1")]
    assert shown.filter(~pl.col("clicked"))["concept_id"].to_list() == ["3", "3"]
    train, test = (shown.filter(pl.col("user_id").str.starts_with(split))["at"] for split in ("data", "test"))
    assert train.max() < test.min()  # type: ignore[operator]


def test_the_published_counts_of_msweb(tmp_path: Path) -> None:
    made = write_msweb(tmp_path / "out", data=real("msweb"))
    tables(tmp_path / "out")
    assert (made.users, made.train, made.test, made.areas) == (37_711, 32_711, 5_000, 294)


# S3-Rec


def sequences(folder: Path, text: str, attributes: Any, sample: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "Toy.txt").write_text(text)
    (folder / "Toy_item2attributes.json").write_text(json.dumps(attributes))
    if sample is not None:
        (folder / "Toy_sample.txt").write_text(sample)
    return folder


def test_s3rec_holds_the_last_two_items_out(tmp_path: Path) -> None:
    data = sequences(tmp_path / "in", "1 10 11 12 13\n2 14 15 16\n3 10\n", {"10": [5, 4, 5]}, "1 14 15\n")
    made = write_s3rec(tmp_path / "out", data=data)
    found = tables(tmp_path / "out")
    assert (made.users, made.items, made.interactions, made.slates) == (3, 7, 8, 4)
    assert found["events"].select("user_id", "item_id").rows() == [("1", "10"), ("1", "11"), ("2", "14"), ("3", "10")]
    assert found["events"]["topics"][0].to_list() == ["4", "5"]
    shown = found["impressions"].sort("user_id", "at")
    assert shown.filter("clicked")["concept_id"].to_list() == ["12", "13", "15", "16"]
    last = shown.filter(pl.col("user_id") == "1").filter(pl.col("at") == pl.col("at").max())
    assert {"14", "15"} <= set(last["concept_id"])
    for (user,), slate in shown.group_by("user_id"):
        own = {"1": {"10", "11", "12", "13"}, "2": {"14", "15", "16"}}[str(user)]
        assert not own & set(slate.filter(~pl.col("clicked"))["concept_id"])


@pytest.mark.parametrize(("name", "users", "interactions"), [("beauty", 22_363, 198_502), ("lastfm", 1_090, 52_551)])
def test_the_published_counts_of_s3rec(tmp_path: Path, name: str, users: int, interactions: int) -> None:
    made = write_s3rec(tmp_path / "out", data=real(f"s3rec_{name}"))
    shown = tables(tmp_path / "out")["impressions"]
    assert (made.users, made.interactions) == (users, interactions)
    assert shown.filter("clicked").height == made.slates == 2 * users
    assert shown.group_by("slot").agg(pl.col("clicked").mean())["clicked"].std() < 0.02  # type: ignore[operator]


# MIND

NEWS = (
    'N1\tsports\tgolf\tA "quoted" title\tAbstract.\thttps://x.org/1\t[]\t[]\n'
    "N2\tnews\t\tTwo\t\thttps://x.org/2\t[]\t[]\nN3\tnews\tworld\tThree\t\t\t[]\t[]\n"
)
SEEN = (
    "1\tU1\t11/11/2019 9:05:58 AM\tN2 N3 N2\tN1-1 N3-0\n2\tU2\t11/12/2019 6:11:30 PM\t\tN3-0\n"
    "3\tU1\t11/11/2019 9:05:58 AM\tN2 N3 N2\tN3-1\n"
)


def mind(folder: Path, news: str = NEWS, seen: str = SEEN) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "news.tsv").write_text(news)
    (folder / "behaviors.tsv").write_text(seen)
    return folder


def test_mind_makes_a_slate_of_an_impression_and_events_of_the_history(tmp_path: Path) -> None:
    made = write_mind(tmp_path / "out", data=mind(tmp_path / "in"))
    found = tables(tmp_path / "out")
    assert (made.users, made.concepts, made.slates, made.clicked) == (2, 2, 3, 2)
    first = datetime(2019, 11, 11, 9, 5, 58, tzinfo=UTC)
    assert found["impressions"].select("impression_id", "user_id", "slot", "concept_id", "clicked").rows() == [
        ("1-0", "U1", 0, "N1", True), ("1-1", "U1", 1, "N3", False), ("3-0", "U1", 0, "N3", True),
        ("2-0", "U2", 0, "N3", False),
    ]  # fmt: skip
    assert found["impressions"]["at"].to_list()[:2] == [first, first]
    assert found["impressions"]["at"][2] == first.replace(microsecond=1)
    assert found["events"].select("user_id", "item_id", "topics").rows() == [
        ("U1", "N2", ["news"]),
        ("U1", "N3", ["news", "world"]),
    ]
    assert found["events"]["at"].to_list() == [first.replace(minute=3), first.replace(minute=4)]
    assert found["concepts"]["headline"][0].to_list() == ['A "quoted" title']


# faults

FAULTS: list[tuple[Callable[[Path], Any], str]] = [
    (lambda p: write_open_bandit(p / "out", data=p / "none"), "is not there or no CSV"),
    (lambda p: write_open_bandit(p / "out", data=bandit(p / "in", BANDIT.replace("0.25", "1.25"))), "row 2 has values"),
    (lambda p: write_open_bandit(p / "out", data=bandit(p / "in", BANDIT.replace("position", "place"))), "no column position"),
    (lambda p: write_open_bandit(p / "out", data=bandit(p / "in", items=ITEMS.replace("1,1,0.9", "1,7,0.9"))), "shows item 1"),
    (lambda p: write_hillstrom(p / "out", data=p / "none.csv"), "cannot be read as CSV"),
    (lambda p: ((p / "h.csv").write_text(EMAIL.replace("No E-Mail", "Fax")), write_hillstrom(p / "out", data=p / "h.csv")), "row 2"),
    (lambda p: write_msweb(p / "out", data=p), "cannot be read"),
    (lambda p: ((p / "anonymous-msweb.data").write_text(AREAS + "V,1,1\n"), write_msweb(p / "out", data=p)), "line 4 comes before any case"),
    (lambda p: ((p / "anonymous-msweb.data").write_text(AREAS + "C,7,7\nV,9,1\n"), write_msweb(p / "out", data=p)), "the area 9"),
    (lambda p: ((p / "anonymous-msweb.data").write_bytes(b"A,\xff\n"), write_msweb(p / "out", data=p)), "cannot be read"),
    (lambda p: write_s3rec(p / "out", data=p), "0 files"),
    (lambda p: write_s3rec(p / "out", data=sequences(p / "in", "1 2 x\n", {})), "line 1 is not"),
    (lambda p: write_s3rec(p / "out", data=sequences(p / "in", "1 2\n1 3\n", {})), "user 1 again"),
    (lambda p: write_s3rec(p / "out", data=sequences(p / "in", "1 2 3\n", [1])), "no attributes"),
    (lambda p: write_s3rec(p / "out", data=sequences(p / "in", "1 2 3 4\n", {}, "1 99\n")), "item 99"),
    (lambda p: write_mind(p / "out", data=p), "cannot be read"),
    (lambda p: write_mind(p / "out", data=mind(p / "in", seen=SEEN.replace("9:05", "25:05"))), "line 1"),
    (lambda p: write_mind(p / "out", data=mind(p / "in", seen=SEEN.replace("N1-1", "N1"))), "shows 'N1'"),
    (lambda p: write_mind(p / "out", data=mind(p / "in", seen=SEEN.replace("N1-1", "N9-1"))), "does not have N9"),
    (lambda p: write_mind(p / "out", data=mind(p / "in", news=NEWS.replace("sports\t", "sports "))), "7 fields instead of 8"),
]  # fmt: skip


@pytest.mark.parametrize(("write", "words"), FAULTS)
def test_what_is_not_the_published_format_is_one_line(tmp_path: Path, write: Callable[[Path], Any], words: str) -> None:
    with pytest.raises(DataError, match=words.replace("(", r"\(")):
        write(tmp_path)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("mine")
    for write in (write_open_bandit, write_hillstrom, write_msweb, write_s3rec, write_mind):
        with pytest.raises(DataError, match="is there already"):
            write(tmp_path / "out", data=tmp_path)  # type: ignore[operator]
