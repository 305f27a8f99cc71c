"""Turns made-up logs into events per second and peak memory of the intake, beside pandas and DuckDB on the same work.

    python -m benchmarks.intake [--millions 20] [--flat 5 20 50]

Each contender runs in a process of its own, one after another, on two threads. The work: read Parquet files of a million
events, one a day; set aside rows with a missing id, an unknown action, an empty topic, a negative dwell time, a time
beyond the window of the file's day, rows that are there already, and rows of users with more than 300 in a minute; write
what was accepted, and what was rejected with its reason.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

ROWS = 1_000_000
ACTIONS = ("view", "click", "cart", "purchase", "search", "like")
LIMIT, LATE_DAYS, AHEAD_HOURS = 300, 3, 14
BEGIN = date(2024, 1, 1)


def write_log(folder: Path, millions: int) -> None:
    """Events of 500,000 users and 20,000 items with one fault of each kind in every file."""
    import numpy as np
    import polars as pl

    rng = np.random.default_rng(1)
    (folder / "events").mkdir(parents=True)
    topics = np.array([[f"topic-{a}", f"topic-{b}"] for a in range(40) for b in range(5)])
    names = pl.Series([f"item-{n}" for n in range(20_000)])
    catalogue = pl.DataFrame({"item": range(20_000), "topics": [topics[n % 200].tolist() for n in range(20_000)]})
    for number in range(millions):
        day = BEGIN + timedelta(days=number)
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 10**6)
        items = rng.integers(0, 20_000, ROWS)
        frame = pl.DataFrame(
            {
                "user_id": pl.Series(rng.integers(0, 500_000, ROWS)).cast(pl.String).str.zfill(12),
                "at": pl.Series(np.sort(start + rng.integers(0, 86_400 * 10**6, ROWS))).cast(pl.Datetime("us", "UTC")),
                "action": pl.Series(rng.integers(0, 6, ROWS)).replace_strict(
                    dict(enumerate(ACTIONS)), return_dtype=pl.String
                ),
                "item_id": names[items],
                "topics": catalogue["topics"][items],
                "dwell_seconds": rng.exponential(20, ROWS),
                "device": pl.Series(["phone", "desktop", None])[rng.integers(0, 3, ROWS)],
            }
        )
        bad = frame.head(400).with_columns(item_id=pl.format("bad-{}", pl.int_range(400)))
        place = pl.int_range(400)
        bad = bad.with_columns(
            user_id=pl.when(place < 50).then(pl.lit("")).when(place >= 50).then("user_id"),
            action=pl.when(place.is_between(50, 99)).then(pl.lit("stare")).otherwise("action"),
            topics=pl.when(place.is_between(100, 149)).then(pl.lit([""])).otherwise("topics"),
            dwell_seconds=pl.when(place.is_between(150, 199)).then(-1.0).otherwise("dwell_seconds"),
            at=pl.when(place.is_between(200, 299)).then(pl.col("at") - timedelta(days=9)).otherwise("at"),
        )
        bot = frame.head(1).sample(400, with_replacement=True)
        bot = bot.with_columns(user_id=pl.lit(f"bot-{number}"), item_id=pl.format("bot-item-{}", pl.int_range(400)))
        made = pl.concat([frame, bad, frame.slice(5_000, 200), bot])
        made.write_parquet(folder / "events" / f"{day}.parquet", row_group_size=250_000, compression="snappy")
    pl.DataFrame({"concept_id": ["c"], "advertiser": ["a"], "topics": [["t"]], "headline": [["h"]], "body": [""],
                  "call_to_action": ["b"], "landing_url": ["u"], "sensitive": [False]}).write_parquet(folder / "concepts.parquet")  # fmt: skip
    first = pl.read_parquet(folder / "events" / f"{BEGIN}.parquet", n_rows=1)
    first.select(pl.lit("i").alias("impression_id"), "user_id", "at", pl.lit(0).alias("slot"), pl.lit("c").alias("concept_id"),
                 pl.lit(False).alias("clicked")).write_parquet(folder / "impressions.parquet")  # fmt: skip


def adloom(data: Path, out: Path, *, key: bytes | None = None) -> tuple[int, int]:
    """Accepted and rejected events by the intake."""
    from contracts.settings import SourceSettings
    from sources.intake import take_in
    from sources.pseudonyms import Pseudonyms

    settings = SourceSettings(max_user_rows_per_minute=LIMIT)
    found = take_in(data, out / "out", out / "parts", settings, pseudonyms=Pseudonyms(key) if key else None)
    count = next(one for one in found.counts if one.table == "events")
    found.rejected.write_parquet(out / "rejected.parquet")
    return count.accepted, count.rejected


def adloom_with_pseudonyms(data: Path, out: Path) -> tuple[int, int]:
    """The same, user ids hashed under a key, as on real logs; the peers do not do this."""
    return adloom(data, out, key=b"a key of the benchmark alone")


def duckdb(data: Path, out: Path) -> tuple[int, int]:
    """The same in SQL; repeated rows are looked for by hash first, as the intake does."""
    import duckdb as db

    base = db.connect(str(out / "work.db"))
    base.execute("SET threads = 2; SET TimeZone = 'UTC'; SET preserve_insertion_order = false")
    key = 'hash(user_id, "at", action, item_id)'
    own = f"""CASE
        WHEN user_id IS NULL OR user_id = '' THEN 'user_id is missing'
        WHEN item_id IS NULL OR item_id = '' THEN 'item_id is missing'
        WHEN "at" IS NULL THEN 'at is missing'
        WHEN action IS NULL OR action NOT IN {ACTIONS} THEN 'unknown action'
        WHEN topics IS NULL OR list_contains(topics, '') OR len(list_filter(topics, lambda t: t IS NULL)) > 0 THEN 'empty topic'
        WHEN dwell_seconds < 0 OR NOT isfinite(dwell_seconds) THEN 'bad dwell_seconds'
        WHEN "at" < strptime(file[-18:-9], '%Y-%m-%d')::TIMESTAMPTZ - INTERVAL {LATE_DAYS} DAY THEN 'too late'
        WHEN "at" >= strptime(file[-18:-9], '%Y-%m-%d')::TIMESTAMPTZ + INTERVAL {24 + AHEAD_HOURS} HOUR THEN 'clock skew'
        END"""
    base.execute(f"""CREATE VIEW judged AS SELECT *, {own} AS reason FROM
        (SELECT *, filename AS file FROM read_parquet('{data}/events/*.parquet', filename = true, file_row_number = true))""")
    base.execute(
        f"""CREATE TABLE twice AS SELECT {key} AS k FROM judged WHERE reason IS NULL GROUP BY 1 HAVING count(*) > 1"""
    )
    base.execute(f"""CREATE TABLE later AS SELECT file, file_row_number FROM (
        SELECT file, file_row_number, row_number() OVER (PARTITION BY user_id, "at", action, item_id ORDER BY file, file_row_number)
        AS n FROM judged WHERE reason IS NULL AND {key} IN (SELECT k FROM twice)) WHERE n > 1""")
    base.execute(f"""CREATE TABLE bots AS SELECT DISTINCT user_id FROM (SELECT user_id FROM judged WHERE reason IS NULL
        GROUP BY user_id, epoch_us("at") // 60000000 HAVING count(*) > {LIMIT})""")
    base.execute(f"""COPY (SELECT j.*, coalesce(j.reason, CASE WHEN l.file IS NOT NULL THEN 'repeated' END,
            CASE WHEN b.user_id IS NOT NULL THEN 'bot' END) AS why, why IS NULL AS good
        FROM judged j LEFT JOIN later l USING (file, file_row_number) LEFT JOIN bots b ON j.user_id = b.user_id)
        TO '{out}/rows' (FORMAT parquet, COMPRESSION lz4, PARTITION_BY (good))""")
    counts = dict(
        base.execute(
            f"SELECT good, count(*) FROM read_parquet('{out}/rows/*/*.parquet', hive_partitioning = true) GROUP BY 1"
        ).fetchall()
    )
    by_name = {str(name).lower(): number for name, number in counts.items()}
    return by_name["true"], by_name["false"]


def pandas(data: Path, out: Path) -> tuple[int, int]:
    """The same a file at a time; what shows only across files on the key columns of all."""
    import numpy as np
    import pandas as pd

    files = sorted((data / "events").glob("*.parquet"))
    reasons, keys = [], []
    for path in files:
        frame = pd.read_parquet(path)
        day = pd.Timestamp(path.stem, tz="UTC")
        entries = frame["topics"].explode()
        empty = (entries.isna() | (entries == "")).groupby(level=0).any()
        reason = np.select(
            [
                frame["user_id"].isna() | (frame["user_id"] == ""),
                frame["item_id"].isna() | (frame["item_id"] == ""),
                ~frame["action"].isin(ACTIONS),
                empty,
                (frame["dwell_seconds"] < 0) | ~np.isfinite(frame["dwell_seconds"]),
                frame["at"] < day - pd.Timedelta(days=LATE_DAYS),
                frame["at"] >= day + pd.Timedelta(hours=24 + AHEAD_HOURS),
            ],
            ["user_id", "item_id", "action", "topic", "dwell", "late", "ahead"],
            default="",
        )
        reasons.append(reason)
        keys.append(frame[["user_id", "at", "action", "item_id"]])
    reason = np.concatenate(reasons).astype(object)
    key = pd.concat(keys, ignore_index=True)
    sound = reason == ""
    again = key[sound].duplicated()
    minute = key["at"].astype("int64") // 60_000_000
    many = key[sound].groupby([key["user_id"][sound], minute[sound]], sort=False).size()
    bots = many[many > LIMIT].index.get_level_values(0).unique()
    reason[again.index[again]] = "repeated"
    reason[(key["user_id"].isin(bots) & (reason == "")).to_numpy()] = "bot"
    place, accepted = 0, 0
    for path, own in zip(files, reasons, strict=True):
        frame, why = pd.read_parquet(path), reason[place : place + len(own)]
        place += len(own)
        frame[why == ""].to_parquet(out / path.name)
        frame[why != ""].assign(reason=why[why != ""]).to_parquet(out / f"rejected-{path.name}")
        accepted += int((why == "").sum())
    return accepted, len(reason) - accepted


CONTENDERS = {
    "adloom": adloom, "adloom with pseudonyms": adloom_with_pseudonyms, "duckdb": duckdb, "pandas": pandas,
}  # fmt: skip


LIBRARIES = {"adloom": ("sources.intake",), "duckdb": ("duckdb",), "pandas": ("numpy", "pandas", "pyarrow.parquet")}
"""Imported before the clock starts."""


def measured(name: str, data: Path) -> dict[str, float]:
    """One contender in a process of its own: seconds and peak resident memory."""
    with tempfile.TemporaryDirectory(dir=data.parent) as out:
        environment = {**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2"}
        command = [sys.executable, "-m", "benchmarks.intake", "--only", name, "--data", str(data), "--out", out]
        text = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    found: dict[str, float] = json.loads(text.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=20)
    parser.add_argument("--flat", type=int, nargs="*", default=[5, 20, 50], help="millions to measure memory at")
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.only:
        for library in LIBRARIES[given.only.partition(" ")[0]]:
            importlib.import_module(library)
        began = time.perf_counter()
        accepted, rejected = CONTENDERS[given.only](given.data, given.out)
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            json.dumps(
                {"accepted": accepted, "rejected": rejected, "seconds": round(seconds, 2), "peak_gib": round(peak, 2)}
            )
        )
        return
    results: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as home:
        for millions in sorted({given.millions, *given.flat}):
            data = Path(home) / f"{millions}m"
            write_log(data, millions)
            names = CONTENDERS if millions == given.millions else ["adloom"]
            results[f"{millions} M"] = {name: measured(name, data) for name in names}
            for name, found in results[f"{millions} M"].items():
                speed = (found["accepted"] + found["rejected"]) / found["seconds"] / 1e6
                print(f"{millions:3} M  {name:22} {found['seconds']:8.1f} s  {speed:6.2f} M events/s  "
                      f"{found['peak_gib']:6.2f} GiB  {found['rejected']:.0f} rejected", flush=True)  # fmt: skip
    main_run = results[f"{given.millions} M"]
    ratios = {
        name: round(main_run[name]["seconds"] / main_run["adloom"]["seconds"], 2) for name in ("pandas", "duckdb")
    }
    print(f"adloom is {ratios['pandas']} times as fast as pandas, {ratios['duckdb']} times as fast as DuckDB")
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    written = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "results": results, "ratios": ratios}
    (target / "intake.json").write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
