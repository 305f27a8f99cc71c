"""Damaged input of every format: one line of error or every row accounted for, never a traceback, never a changed source.

Each damaged file is drawn from a number, so a failure names the number that brings it back. The default tests take a few
of them; `pytest -m slow tests/sources/test_fuzz.py` takes more than two thousand.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.errors import AdloomError
from contracts.tables import LARGE_INPUTS
from flows.command_line import execute
from sources.hillstrom import write_hillstrom
from sources.mind import write_mind
from sources.movielens import write_movielens
from sources.msweb import write_msweb
from sources.open_bandit import write_open_bandit
from sources.s3rec import write_s3rec
from tests.sources.packing import packed
from tests.sources.taken import accounted, taken

SAMPLE = Path(__file__).resolve().parents[2] / "data" / "sample"
PUBLISHED = Path(__file__).resolve().parents[3] / "shared" / "datasets"
TEXTS = ("csv", "tsv", "ndjson", "csv.gz", "tsv.zst", "ndjson.gz", "csv.zst")
FORMATS = ("parquet", *TEXTS)
FEW, MANY = 120, 2_100
SPICE = list(b'",\n\r\0|[]{}:"0ZT-\\\xef\xbb\xff\x80')
MAPPING = """[events]
columns = { user_id = "user_id" }
time_unit = "ms"
time_zone = "Europe/Berlin"
actions = { look = "view" }
topics = { shoes = "running" }

[impressions]
columns = { impression_id = "impression_id" }
"""


# damage


def wound(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four changes: bits flipped, bytes put in, a piece cut out, repeated, moved, zeroed, or the end cut off."""
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(0, len(content) + 1))
        span = int(rng.choice([1, 3, 17, 200]))
        value = int(rng.choice(SPICE)) if rng.random() < 0.6 else int(rng.integers(256))
        piece = content[place : place + span]
        match int(rng.integers(7)):
            case 0:
                content = content[:place] + bytes([value]) + content[place + 1 :]
            case 1:
                content = content[:place] + bytes([value]) * int(rng.integers(1, 4)) + content[place:]
            case 2:
                content = content[:place] + content[place + span :]
            case 3:
                content = content[:place] + piece + content[place:]
            case 4:
                content = content[:place] + bytes(len(piece)) + content[place + span :]
            case 5:
                content = content.replace(piece, b"", 1) + piece
            case _:
                content = content[:place] if rng.random() < 0.4 else content + bytes([value]) * span
    return content


# folders


def as_text(frame: pl.DataFrame, kind: str) -> bytes:
    """A table in a text format, packed as its name says."""
    times = [pl.col(name).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ") for name, dtype in frame.schema.items()
             if isinstance(dtype, pl.Datetime)]  # fmt: skip
    frame, (plain, _, _) = frame.with_columns(times), kind.partition(".")
    if plain == "ndjson":
        content = frame.write_ndjson().encode()
    else:
        lists = [pl.col(name).list.join("|") for name, dtype in frame.schema.items() if dtype == pl.List(pl.String)]
        content = frame.with_columns(lists).write_csv(separator="\t" if plain == "tsv" else ",").encode()
    return packed(content, kind)


@pytest.fixture(scope="module")
def tables() -> dict[str, pl.DataFrame]:
    """Some rows of the shipped sample that belong together, and clicks in a table of their own."""
    shown = pl.read_parquet(SAMPLE / "impressions.parquet").head(60)
    users = pl.read_parquet(SAMPLE / "users.parquet").join(shown.select("user_id").unique(), on="user_id", how="semi")
    events = pl.read_parquet(SAMPLE / "events.parquet").join(users, on="user_id", how="semi").head(80)
    return {
        "events": events, "impressions": shown, "users": users,
        "concepts": pl.read_parquet(SAMPLE / "concepts.parquet"),
        "pictures": pl.read_parquet(SAMPLE / "pictures.parquet").head(30),
        "clicks": shown.filter("clicked").select("impression_id", "at"),
    }  # fmt: skip


@pytest.fixture(scope="module")
def pristine(tables: dict[str, pl.DataFrame], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound data folder."""
    home = tmp_path_factory.mktemp("pristine") / "data"
    home.mkdir()
    for name in {*tables["concepts"]["product_image"], *tables["pictures"]["file"]}:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(SAMPLE / name, home / name)
    for name, frame in tables.items():
        if name != "clicks":
            frame.write_parquet(home / f"{name}.parquet")
    return home


def spoil(pristine: Path, home: Path, number: int, tables: dict[str, pl.DataFrame]) -> tuple[str, Path]:
    """A copy of the folder with one damaged file, drawn from a number: its table and path."""
    rng = np.random.default_rng([7, number])
    shutil.copytree(pristine, home, copy_function=os.link)
    names = ("events", "impressions", "users", "concepts", "pictures", "clicks", "mapping")
    table = str(rng.choice(names, p=[0.27, 0.24, 0.13, 0.13, 0.1, 0.08, 0.05]))
    if table == "mapping":
        path = home / "mapping.toml"
        path.write_bytes(wound(MAPPING.encode(), rng))
        return table, path
    kind = str(rng.choice(FORMATS, p=[0.3, *[0.1] * 7]))
    if table == "clicks":
        unclicked(home)
    (home / f"{table}.parquet").unlink(missing_ok=True)  # a link: the other folders keep theirs
    path = home / f"{table}.{kind}"
    if kind == "parquet":
        tables[table].write_parquet(path, compression=str(rng.choice(["uncompressed", "zstd", "snappy"])))  # type: ignore[arg-type]
        path.write_bytes(wound(path.read_bytes(), rng))
        return table, path
    content = as_text(tables[table], kind)
    if kind.endswith((".gz", ".zst")) and rng.random() < 0.5:  # damage within, sound packing
        plain = wound(as_text(tables[table], kind.partition(".")[0]), rng)
        content = packed(plain, kind)
    else:
        content = wound(content, rng)
    path.write_bytes(content)
    return table, path


def unclicked(home: Path) -> None:
    """Takes the clicks out of the impressions; the file is a link, so a new one takes its place."""
    path = home / "impressions.parquet"
    frame = pl.read_parquet(path, memory_map=False).drop("clicked")
    path.unlink()
    frame.write_parquet(path)


# what must hold


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of every file but the shared pictures."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir() if path.is_file()}


def rows_in(path: Path) -> tuple[int, bool] | None:
    """Rows by a count of our own: how many, and whether exactly so many; None where this count cannot tell."""
    kind = "".join(path.suffixes)
    content = path.read_bytes()
    if kind == ".parquet":
        try:
            return pq.ParquetFile(io.BytesIO(content)).metadata.num_rows, True
        except (OSError, pa.ArrowException):
            return None
    if kind.endswith(".gz"):
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, ValueError):
            return None
    if kind.endswith(".zst"):
        try:
            content = pa.CompressedInputStream(io.BytesIO(content), "zstd").read()
        except (OSError, pa.ArrowException):
            return None
    lines = [line for line in content.removeprefix(b"\xef\xbb\xbf").split(b"\n") if line.strip()]
    if ".ndjson" in kind:
        return len(lines), True
    return len(lines) - 1, b'"' not in content


def attempted(work: Callable[[], Any]) -> tuple[Any, AdloomError | None]:
    """What came of it, or the one kind of error that a user may see; any other goes on."""
    try:
        return work(), None
    except AdloomError as error:
        return None, error


def survives(pristine: Path, home: Path, number: int, tables: dict[str, pl.DataFrame]) -> bool:
    """Takes one spoilt folder in; whether it could be read."""
    table, path = spoil(pristine, home, number, tables)
    before = hashes(home)
    found, fault = attempted(lambda: taken(home))
    assert fault is None or (fault.fix and "\n" not in str(fault)), number
    assert hashes(home) == before, number
    if found is not None:
        accounted(found)
        if table != "mapping":
            expected = rows_in(path)
            if expected is not None:
                most, exactly = expected
                read = found.count(table).read
                assert read <= most, number
                assert read == most or not exactly, (number, read, most)
        else:
            tomllib.loads(path.read_text())
    shutil.rmtree(home)
    return found is not None


def test_a_few_damaged_files(pristine: Path, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    read = [survives(pristine, tmp_path / "spoilt", number, tables) for number in range(FEW)]
    assert FEW / 10 < sum(read) < FEW  # some are beyond reading, and some are not


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_more_than_two_thousand_damaged_files(pristine: Path, tables: dict[str, pl.DataFrame], tmp_path: Path) -> None:
    read = [survives(pristine, tmp_path / "spoilt", number, tables) for number in range(MANY)]
    assert MANY / 10 < sum(read) < MANY


def test_the_command_says_one_line_or_a_table_and_never_a_traceback(
    pristine: Path, tables: dict[str, pl.DataFrame], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = set()
    for number in range(40):
        home = tmp_path / "spoilt"
        spoil(pristine, home, number, tables)
        code = execute(["check", str(home), "--json", "--out", str(tmp_path / "check.html")])
        said = capsys.readouterr()
        assert "Traceback" not in said.out + said.err
        codes.add(code)
        if code == 2:
            assert len(said.err.strip().splitlines()) == 1, said.err
        else:
            assert code == int(any(table["rejected"] for table in json.loads(said.out)["tables"]))
        shutil.rmtree(home)
    assert codes == {0, 1, 2}


# values of any kind in a sound file

text = st.one_of(
    st.none(), st.text(max_size=6), st.sampled_from(["", "*", "u0", "2024-05-01T12:00:00Z", "a|b", '["a"]'])
)
value = st.one_of(
    text, st.integers(-5, 5), st.integers(), st.floats(), st.booleans(), st.lists(text, max_size=3), st.dictionaries(
        st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(data=st.data(), table=st.sampled_from(sorted(LARGE_INPUTS)))
def test_json_of_any_value_in_any_cell(
    pristine: Path,
    tables: dict[str, pl.DataFrame],
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    table: str,
) -> None:
    home = tmp_path_factory.mktemp("json") / "data"
    shutil.copytree(pristine, home, copy_function=os.link)
    names = [name for name in tables[table].columns if table != "clicks" or name in ("impression_id", "at")]
    lines = [
        data.draw(st.one_of(st.fixed_dictionaries({}, optional=dict.fromkeys(names, value)), value), label="line")
        for _ in range(data.draw(st.integers(1, 6)))
    ]
    if table == "clicks":
        unclicked(home)
    (home / f"{table}.parquet").unlink(missing_ok=True)
    sound = [json.loads(line) for line in as_text(tables[table].head(2), "ndjson").splitlines()]
    (home / f"{table}.ndjson").write_text("\n".join(json.dumps(line) for line in [*sound, *lines]) + "\n")
    found = taken(home)
    accounted(found)
    assert found.count(table).read == len(sound) + len(lines)


# published logs

ADAPTERS: dict[str, tuple[dict[str, str], Callable[[Path, Path], Any]]] = {
    "open_bandit": ({"random/all/all.csv": "open_bandit/random/all/all.csv",
                     "random/all/item_context.csv": "open_bandit/random/all/item_context.csv"},
                    lambda out, source: write_open_bandit(out, data=source)),
    "hillstrom": ({"hillstrom.csv": "hillstrom/hillstrom.csv"},
                  lambda out, source: write_hillstrom(out, data=source / "hillstrom.csv")),
    "msweb": ({"anonymous-msweb.data": "msweb/anonymous-msweb.data",
               "anonymous-msweb.test": "msweb/anonymous-msweb.test"}, lambda out, source: write_msweb(out, data=source)),
    "s3rec": ({"LastFM.txt": "s3rec_lastfm/LastFM.txt",
               "LastFM_item2attributes.json": "s3rec_lastfm/LastFM_item2attributes.json"}, lambda out, source: write_s3rec(out, data=source)),
    "movielens": ({"u.data": "ml100k_posters/u.data", "u.item": "ml100k_posters/u.item",
                   "u.user": "ml100k_posters/u.user"},
                  lambda out, source: write_movielens(out, ratings=source, posters=None)),
}  # fmt: skip
MIND = {
    "behaviors.tsv": b"1\tU1\t11/11/2019 9:05:58 AM\tN1 N2\tN1-0 N2-1 N3-0\n2\tU2\t11/12/2019 10:11:12 PM\tN3\tN2-0 N1-1\n",
    "news.tsv": b"".join(
        f"N{n}\tsports\tsoccer\tTitle {n}\tText.\thttps://x.org/{n}\t[]\t[]\n".encode() for n in (1, 2, 3)
    ),
}


def adapter_survives(name: str, home: Path, number: int) -> bool:
    """Damages one file of a published log, but for number 0: whether the adapter could read it.

    It writes a sound data folder or says in one line why not.
    """
    rng = np.random.default_rng([11, number])
    if name == "mind":
        contents, write = dict(MIND), lambda out, source: write_mind(out, data=source)
    else:
        places, write = ADAPTERS[name]
        if not all((PUBLISHED / place).exists() for place in places.values()):
            pytest.skip(f"the data set is not in ../shared/datasets ({name})")
        contents = {}
        for ours, place in places.items():
            content = (PUBLISHED / place).read_bytes()
            is_log = ours not in ("u.item", "u.user", "random/all/item_context.csv") and not ours.endswith(".json")
            contents[ours] = b"".join(content.splitlines(keepends=True)[:340]) if is_log else content
    target = str(rng.choice(sorted(contents)))
    if number:
        contents[target] = wound(contents[target], rng)
    source, out = home / "source", home / "out"
    for ours, content in contents.items():
        (source / ours).parent.mkdir(parents=True, exist_ok=True)
        (source / ours).write_bytes(content)
    _, fault = attempted(lambda: write(out, source))
    assert out.exists() == (fault is None), number
    assert "\n" not in str(fault), number
    if fault is None:
        found = taken(out)
        accounted(found)
        assert found.rejected.is_empty(), (number, found.intake.reasons())
    for ours, content in contents.items():
        assert (source / ours).read_bytes() == content, number
    shutil.rmtree(home)
    return fault is None


@pytest.mark.parametrize("name", [*ADAPTERS, "mind"])
def test_a_few_damaged_published_logs(name: str, tmp_path: Path) -> None:
    read = [adapter_survives(name, tmp_path / "adapter", number) for number in range(9)]
    assert read[0], "not damaged"


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [*ADAPTERS, "mind"])
def test_many_damaged_published_logs(name: str, tmp_path: Path) -> None:
    read = [adapter_survives(name, tmp_path / "adapter", number) for number in range(60)]
    assert 6 < sum(read) < 60, "some are beyond reading, and some are not"
