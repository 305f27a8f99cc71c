"""What the MovieLens adapter promises: a valid data folder from either format, that never looks ahead."""

from __future__ import annotations

import zipfile
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.store import tree_hashes
from sources.movielens import SLATE_SIZE, body, headline, impressions, write_movielens
from sources.movielens_files import GENRES, RATINGS
from tests.sources.taken import taken

REAL = Path(__file__).resolve().parents[2].parent / "shared" / "datasets" / "ml100k_posters"
JPEG = b"\xff\xd8\xff\xe0 a poster"
FILMS = [
    (1, "Toy Story", 1995, ("animation", "children's", "comedy")),
    (2, "Full Monty, The", 1997, ("comedy",)),
    (3, "Gattaca", 1997, ("drama", "sci-fi", "thriller")),
]
# user 1 has rated twelve films of which these three are known to the posters; user 2 too few for impressions
RATED = [(1, film, 1 + film % 5, 880_000_000 + 60 * film) for film in range(1, 13)] + [(2, 1, 5, 880_000_000)]
FILMS += [(film, f"Film {film}", 1990, ("drama",)) for film in range(4, 13)]


def published(folder: Path) -> Path:
    folder.mkdir()
    (folder / "u.data").write_text("".join(f"{u}\t{f}\t{r}\t{s}\n" for u, f, r, s in RATED))
    lines = []
    for film, title, year, genres in FILMS:
        flags = "|".join("1" if genre in genres else "0" for genre in GENRES)
        lines.append(f"{film}|{title} ({year})|01-Jan-{year}||http://example.org|{flags}\n")
    (folder / "u.item").write_text("".join(lines))
    (folder / "u.user").write_text("1|24|M|technician|85711\n2|13|F|student|94043\n")
    (folder / "items.csv").write_text(
        "movie_id,title,overview\n"
        '1,Toy Story (1995),"Led by Woody, Andy\'s toys\nlive happily in his room. Then Buzz comes."\n'
    )
    return folder


def packed(folder: Path) -> Path:
    inner = folder / "recbole" / "dataset_example" / "ml-100k"
    inner.mkdir(parents=True)
    (inner / "ml-100k.inter").write_text(
        "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        + "".join(f"{u}\t{f}\t{r}\t{s}\n" for u, f, r, s in RATED)
    )
    (inner / "ml-100k.item").write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\n"
        + "".join(f"{film}\t{title}\t{year}\t{' '.join(genres).title()}\n" for film, title, year, genres in FILMS)
    )
    (inner / "ml-100k.user").write_text(
        "user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token\n1\t24\tM\tx\t1\n2\t13\tF\ty\t2\n"
    )
    return folder


def wheel(folder: Path) -> Path:
    packed(folder)
    path = folder / "recbole-1.2.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted((folder / "recbole").rglob("ml-100k.*")):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


def poster_table(folder: Path) -> Path:
    path = folder / "posters.parquet"
    pl.DataFrame({"item_id": [1, 3, 99], "jpeg": [JPEG] * 3}).write_parquet(path)
    return path


def tables(folder: Path) -> dict[str, pl.DataFrame]:
    """The tables as written, after the intake has found nothing wrong with them."""
    named = [count.table for count in taken(folder, max_rejected_share=0).counts]
    return {name: pl.read_parquet(folder / f"{name}.parquet") for name in named}


def test_both_formats_give_the_same_behaviour_and_topics(tmp_path: Path) -> None:
    write_movielens(tmp_path / "a", ratings=published(tmp_path / "published"), posters=None)
    write_movielens(tmp_path / "b", ratings=packed(tmp_path / "packed"), posters=None)
    write_movielens(tmp_path / "c", ratings=wheel(tmp_path / "wheel"), posters=None)
    first = tables(tmp_path / "a")
    for other in (tables(tmp_path / "b"), tables(tmp_path / "c")):
        for name in ("events", "impressions", "users"):
            assert other[name].equals(first[name])
        same = ["concept_id", "advertiser", "topics", "headline", "landing_url"]
        assert other["concepts"].select(same).equals(first["concepts"].select(same))


def test_films_become_concepts(tmp_path: Path) -> None:
    write_movielens(tmp_path / "out", ratings=published(tmp_path / "in"), posters=poster_table(tmp_path))
    concepts = tables(tmp_path / "out")["concepts"]
    toy_story, full_monty = concepts.row(0, named=True), concepts.row(1, named=True)
    assert toy_story["headline"] == ["Toy Story"]
    assert toy_story["topics"] == ["animation", "children's", "comedy"]
    assert toy_story["body"] == "Led by Woody, Andy's toys live happily in his room."
    assert toy_story["product_image"] == "images/posters/1.jpg"
    assert (full_monty["headline"], full_monty["body"]) == (["The Full Monty"], "Comedy, 1997")
    assert full_monty["product_image"] is None


def test_posters_become_pictures_of_the_films_that_have_one(tmp_path: Path) -> None:
    folder = tmp_path / "posters"
    folder.mkdir()
    for film in (1, 3, 99):
        (folder / f"{film}.jpg").write_bytes(JPEG)
    origin = published(tmp_path / "in")
    summary = write_movielens(tmp_path / "a", ratings=origin, posters=poster_table(tmp_path))
    write_movielens(tmp_path / "b", ratings=origin, posters=folder)
    assert summary.posters == 2
    assert tree_hashes(tmp_path / "a") == tree_hashes(tmp_path / "b")
    pictures = tables(tmp_path / "a")["pictures"]
    assert pictures["creative_id"].to_list() == ["poster-1", "poster-3"]
    assert pictures["box_left"].null_count() == 2
    assert (tmp_path / "a" / "images" / "posters" / "3.jpg").read_bytes() == JPEG


def test_every_rating_is_an_event_and_the_last_forty_percent_are_impressions(tmp_path: Path) -> None:
    summary = write_movielens(tmp_path / "out", ratings=published(tmp_path / "in"), posters=poster_table(tmp_path))
    found = tables(tmp_path / "out")
    events, shown = found["events"], found["impressions"]
    assert events.height == summary.events == len(RATED)
    assert events.row(3)[:4] == ("1", datetime.fromtimestamp(880_000_240, UTC), "like", "4")
    assert events.row(4)[2] == "view"
    assert shown["concept_id"].to_list() == ["9", "10", "11", "12"]  # 12 ratings: the last floor(4.8)
    assert shown["clicked"].to_list() == [True, False, False, False]
    assert shown["at"].to_list() == [datetime.fromtimestamp(880_000_540, UTC)] * 4
    assert shown["propensity"].null_count() == shown["policy"].null_count() == 4
    assert summary.slates == 1


def test_minors_and_nobody_else_are_withheld(tmp_path: Path) -> None:
    write_movielens(tmp_path / "out", ratings=published(tmp_path / "in"), posters=None)
    intake = taken(tmp_path / "out", max_rejected_share=0)
    assert "2" not in set(intake.tables["users"]["user_id"])
    assert intake.count("users").withheld == 1


def test_no_slate_sees_its_own_ratings_and_none_is_longer_than_allowed() -> None:
    # 200 ratings in bursts of 37 within one second: many slates begin in the same second
    rows = [(7, film, 4.0, 880_000_000 + film // 37) for film in range(200)]
    ratings = pl.DataFrame(rows, schema=RATINGS, orient="row")
    shown = impressions(ratings, ())
    assert shown.height == 80
    assert shown.group_by("at").len()["len"].max() == SLATE_SIZE
    seconds = {str(film): second for _, film, _, second in rows}
    for concept_id, at in shown.select("concept_id", "at").iter_rows():
        assert at <= datetime.fromtimestamp(seconds[concept_id], UTC)
    in_order = shown["concept_id"].cast(pl.Int64).to_list()
    assert in_order == sorted(in_order)
    assert shown["at"].is_sorted()


def test_the_order_of_lines_does_not_change_the_folder(tmp_path: Path) -> None:
    origin = published(tmp_path / "in")
    write_movielens(tmp_path / "a", ratings=origin, posters=None)
    for name in ("u.data", "u.item", "u.user"):
        lines = (origin / name).read_text().splitlines(keepends=True)
        (origin / name).write_text("".join(reversed(lines)))
    write_movielens(tmp_path / "b", ratings=origin, posters=None)
    assert tree_hashes(tmp_path / "a") == tree_hashes(tmp_path / "b")


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Toy Story (1995)", "Toy Story"),
        ("Horseman on the Roof, The (Hussard sur le toit, Le) (1995)", "The Horseman on the Roof"),
        ("Corrina, Corrina (1994)", "Corrina, Corrina"),
        ("Enfer, L' (1994)", "L'Enfer"),
        ("unknown", "Unknown"),
        ("(500)", "(500)"),
        ("Don't Be a Menace to South Central While Drinking Your Juice", "Don't Be a Menace to South Central While…"),
    ],
)
def test_a_title_fits_an_ad(title: str, expected: str) -> None:
    assert headline(title) == expected


@pytest.mark.parametrize(
    ("plot", "expected"),
    [
        ("Mr. Holland is a composer in Portland. He teaches.", "Mr. Holland is a composer in Portland."),
        ("Justice. A man of steel fights for it. He wins.", "Justice. A man of steel fights for it."),
        ("word " * 40, "word " * 17 + "word…"),
        ("w" * 200, "w" * 89 + "…"),
        (None, "Film-noir, sci-fi, 1982"),
        ("", "Film-noir, sci-fi, 1982"),
    ],
)  # fmt: skip
def test_the_body_is_one_sentence_of_at_most_ninety_characters(plot: str | None, expected: str) -> None:
    found = body(plot, ["film-noir", "sci-fi"], 1982)
    assert found == expected
    assert len(found) <= 90


@pytest.mark.parametrize(
    ("file", "content", "what"),
    [
        ("u.data", b"1\t2\t3\n", "line 1 is not what"),
        ("u.data", b"1\t2\tthree\t4\n", "line 1 is not what"),
        ("u.data", b"1\t2\t3\t99999999999999999999\n", "line 1 is not what"),
        ("u.data", b"1\t2\tnan\t4\n", "line 1 is not what"),
        ("u.data", b"1\t77\t3\t880000000\n", "rates film 77, which is not among the films"),
        ("u.data", b"1\t2\t3\t880000000\n1\t2\t4\t880000001\n", "user 1 rates film 2 more than once"),
        ("u.data", b"", "is empty"),
        ("u.item", b"1|Toy Story (1995)|01-Jan-1995\n", "line 1 is not what"),
        ("u.user", b"1|old\n", "line 1 is not what"),
        ("items.csv", b"id,text\n1,x\n", "without movie_id or overview"),
        ("posters.parquet", b"", "holds no posters that can be read"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path: Path, file: str, content: bytes, what: str) -> None:
    origin = published(tmp_path / "in")
    posters = poster_table(origin)
    (origin / file).write_bytes(content)
    with pytest.raises(DataError, match=what) as caught:
        write_movielens(tmp_path / "out", ratings=origin, posters=posters)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_wrong_folder_a_wrong_wheel_and_a_used_target_say_what_to_do(tmp_path: Path) -> None:
    for name in ("empty", "half", "pack", "none"):
        (tmp_path / name).mkdir()
    (tmp_path / "half" / "u.data").write_text("1\t1\t5\t880000000\n")
    (tmp_path / "pack" / "ml-100k.inter").write_text("user_id:token\n1\n")
    (tmp_path / "not.whl").write_bytes(b"no zip")
    with zipfile.ZipFile(tmp_path / "other.whl", "w") as archive:
        archive.writestr("other/__init__.py", "")
    for origin, what in [
        ("empty", "holds neither u.data nor ml-100k.inter"),
        ("nowhere", "holds neither u.data nor ml-100k.inter"),
        ("half", "lacks u.item"),
        ("pack", "lacks ml-100k.item"),
        ("not.whl", "no wheel that can be read"),
        ("other.whl", "lacks ml-100k.inter and ml-100k.item"),
    ]:
        with pytest.raises(DataError, match=what) as caught:
            write_movielens(tmp_path / "out", ratings=tmp_path / origin, posters=None)
        assert "recbole==1.2.1" in caught.value.fix
    with pytest.raises(DataError, match="is there already"):
        write_movielens(tmp_path / "half", ratings=published(tmp_path / "in"), posters=None)
    with pytest.raises(DataError, match="no poster of any of the films"):
        write_movielens(tmp_path / "out", ratings=tmp_path / "in", posters=tmp_path / "none")
    (tmp_path / "none" / "2.jpg").write_bytes(b"<html>")
    with pytest.raises(DataError, match="posters of films 2 are no JPEG"):
        write_movielens(tmp_path / "out", ratings=tmp_path / "in", posters=tmp_path / "none")


def test_the_source_note_says_that_it_is_a_proxy(tmp_path: Path) -> None:
    write_movielens(tmp_path / "out", ratings=published(tmp_path / "in"), posters=None)
    note = (tmp_path / "out" / "SOURCE.md").read_text()
    assert "a rating is not an ad click" in note
    assert "no redistribution" in note
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".part")]


@pytest.mark.skipif(
    not (REAL / "u.data").is_file(), reason="MovieLens-100K is not in ../shared/datasets/ml100k_posters"
)
def test_the_published_data_set_passes_the_intake_whole(tmp_path: Path) -> None:
    summary = write_movielens(tmp_path / "out", ratings=REAL, posters=REAL / "posters.parquet")
    intake = taken(tmp_path / "out", max_rejected_share=0)
    assert intake.rejected.is_empty()
    assert (summary.users, summary.films, summary.events, summary.posters) == (943, 1682, 100_000, 1663)
    assert intake.count("users").read == 943
    shown = pl.read_parquet(tmp_path / "out" / "impressions.parquet")
    assert shown.group_by("user_id", "at").len()["len"].max() == SLATE_SIZE
    assert shown["user_id"].n_unique() == 943
    rated = pl.read_parquet(tmp_path / "out" / "events.parquet").select("user_id", "at", concept_id="item_id")
    both = shown.join(rated, on=["user_id", "concept_id"], suffix="_rated")
    assert both.height == shown.height
    assert (both["at"] <= both["at_rated"]).all()
