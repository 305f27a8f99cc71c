"""Turns planted worlds into events per second and peak memory of the features, beside pandas and DuckDB on the same work.

    python -m benchmarks.features [--millions 20] [--growth 2 8 20 50] [--keep FOLDER]

Each contender runs in a process of its own, one after another, on two threads, from Parquet files to a table in memory; imports are not timed, loading Adloom's compiled code is. The files are in the page cache: each process is started after they were read.
Two tasks: the four features of the design's trial (an affinity and three windows), and the whole table. A world has 80
events a user and one impression per ten events, slates of four. Results are checked equal, to a relative 1e-5.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DAYS, SLATES = 60, 2
USERS_PER_MILLION = 12_500
FOUR = ["affinity_7d", "events_1d", "events_7d", "events_30d"]
TOLERANCE = 1e-5


def write_world_of(folder: Path, millions: int) -> None:
    """A planted world of so many million events, a space fitted to some of them, and its vectors as tables."""
    import polars as pl

    from contracts.settings import load_settings
    from features.space import fit_space
    from sources.world import write_world

    write_world(folder, millions * USERS_PER_MILLION, DAYS, 1, pictures_per_concept=1, side=64, slates=SLATES)
    settings = load_settings(None).features
    some = pl.read_parquet(folder / "events.parquet", n_rows=500_000)
    space = fit_space(
        some, dimensions=settings.dimensions, window=settings.covisit_window, action_weights=settings.action_weights
    )
    space.save(folder / "space")
    names = [f"v{axis}" for axis in range(space.dimensions)]
    items = pl.DataFrame(space.vectors, schema=names, orient="row").with_columns(item_id=pl.Series(space.item_ids))
    items.write_parquet(folder / "item_vectors.parquet")
    concepts = pl.read_parquet(folder / "concepts.parquet")
    vectors = pl.DataFrame(space.place_concepts(concepts), schema=names, orient="row")
    vectors.with_columns(concept_id=concepts["concept_id"]).write_parquet(folder / "concept_vectors.parquet")


def adloom(data: Path, *, four: bool, leave_out: str = "") -> Any:
    """The features as Adloom makes them."""
    import polars as pl

    from contracts.settings import load_settings
    from features.space import Space
    from features.table import ranking_table

    settings = load_settings(None).features
    if four:
        settings = settings.model_copy(update={"groups": ("affinity", "counts"), "affinity_half_lives_days": (7.0,)})
    if leave_out:
        settings = settings.model_copy(update={"groups": tuple(g for g in settings.groups if g != leave_out)})
    impressions = pl.read_parquet(
        data / "impressions.parquet", columns=["user_id", "at", "concept_id", "clicked", "slot"]
    )
    return ranking_table(
        impressions,
        events=pl.scan_parquet(data / "events.parquet"),
        impressions=impressions,
        concepts=pl.read_parquet(data / "concepts.parquet"),
        space=Space.load(data / "space"),
        settings=settings,
    )


def database() -> Any:
    import duckdb as db

    base = db.connect()
    base.execute("SET threads = 2; SET TimeZone = 'UTC'; CREATE MACRO exp2(x) AS exp(x * ln(2))")
    return base


def weights_in_sql() -> str:
    from contracts.settings import load_settings

    weights = load_settings(None).features.action_weights
    return "CASE action " + " ".join(f"WHEN '{name}' THEN {weight}" for name, weight in weights.items()) + " END"


TABLES = """
CREATE TABLE e AS SELECT row_number() OVER () AS eid, user_id::VARCHAR AS u, epoch_us("at") AS ts, action, item_id, topics,
    {weight} AS w, dwell_seconds AS dwell, device FROM read_parquet('{data}/events.parquet');
CREATE TABLE p AS SELECT row_number() OVER () - 1 AS pid, user_id AS u, epoch_us("at") AS ts, concept_id, clicked::INT AS clicked,
    slot FROM read_parquet('{data}/impressions.parquet');
CREATE TABLE c AS SELECT concept_id, advertiser, list_distinct(topics) AS topics FROM read_parquet('{data}/concepts.parquet');
"""


def duckdb_asof(data: Path) -> Any:
    """The four features by running sums and as-of joins."""
    base = database()
    base.execute(TABLES.format(data=data, weight=weights_in_sql()))
    base.execute(f"""
    CREATE TABLE running AS SELECT u, topic, ts, sum(w * exp2((ts - {ORIGIN}) / {7 * DAY})) OVER (PARTITION BY u, topic ORDER BY ts) AS s
        FROM (SELECT u, ts, w, unnest(topics) AS topic FROM e);
    CREATE TABLE counts AS SELECT u, ts, count(*) OVER (PARTITION BY u ORDER BY ts) AS n FROM e;
    CREATE TABLE result AS WITH
        t AS (SELECT pid, u, ts, unnest(topics) AS topic FROM p JOIN c USING (concept_id)),
        a AS (SELECT t.pid, avg(coalesce(r.s, 0) * exp2(({ORIGIN} - t.ts) / {7 * DAY})) AS affinity_7d
              FROM t ASOF LEFT JOIN running r ON t.u = r.u AND t.topic = r.topic AND t.ts > r.ts GROUP BY t.pid),
        q AS (SELECT pid, u, ts, ts - {DAY} AS d1, ts - {7 * DAY} AS d7, ts - {30 * DAY} AS d30 FROM p)
        SELECT q.pid, CASE WHEN n0.n > 0 THEN affinity_7d END AS affinity_7d, coalesce(n0.n, 0) - coalesce(n1.n, 0) AS events_1d,
            coalesce(n0.n, 0) - coalesce(n7.n, 0) AS events_7d, coalesce(n0.n, 0) - coalesce(n30.n, 0) AS events_30d
        FROM q ASOF LEFT JOIN counts n0 ON q.u = n0.u AND q.ts > n0.ts ASOF LEFT JOIN counts n1 ON q.u = n1.u AND q.d1 > n1.ts
            ASOF LEFT JOIN counts n7 ON q.u = n7.u AND q.d7 > n7.ts ASOF LEFT JOIN counts n30 ON q.u = n30.u AND q.d30 > n30.ts
            JOIN a USING (pid)""")
    return base


def duckdb_joined(data: Path) -> Any:
    """The four features by joining each moment with all earlier events of its user: cheap where moments are few."""
    base = database()
    base.execute(TABLES.format(data=data, weight=weights_in_sql()))
    base.execute(f"""
    CREATE TABLE m AS SELECT DISTINCT u, ts AS t FROM p;
    CREATE TABLE counts AS SELECT u, t, count(*) FILTER (ts >= t - {DAY}) AS events_1d,
        count(*) FILTER (ts >= t - {7 * DAY}) AS events_7d, count(*) FILTER (ts >= t - {30 * DAY}) AS events_30d
        FROM m JOIN e USING (u) WHERE ts < t GROUP BY u, t;
    CREATE TABLE sums AS SELECT u, t, topic, sum(w * exp2((ts - t) / {7 * DAY})) AS s
        FROM m JOIN (SELECT u, ts, w, unnest(topics) AS topic FROM e) USING (u) WHERE ts < t GROUP BY u, t, topic;
    CREATE TABLE result AS SELECT pid, CASE WHEN any_value(n.events_1d) IS NOT NULL THEN avg(coalesce(s, 0)) END AS affinity_7d,
        coalesce(any_value(n.events_1d), 0) AS events_1d, coalesce(any_value(n.events_7d), 0) AS events_7d,
        coalesce(any_value(n.events_30d), 0) AS events_30d
        FROM (SELECT pid, u, ts AS t, unnest(topics) AS topic FROM p JOIN c USING (concept_id))
            LEFT JOIN sums USING (u, t, topic) LEFT JOIN counts n USING (u, t) GROUP BY pid""")
    return base


def pandas(data: Path) -> Any:
    """The four features by cumulative sums and merge_asof."""
    import numpy as np
    import pandas as pd

    from contracts.settings import load_settings

    events = pd.read_parquet(data / "events.parquet", columns=["user_id", "at", "action", "topics"])
    pairs = pd.read_parquet(data / "impressions.parquet", columns=["user_id", "at", "concept_id"])
    concepts = pd.read_parquet(data / "concepts.parquet", columns=["concept_id", "topics"])
    events["at"], pairs["at"] = events["at"].astype("int64"), pairs["at"].astype("int64")
    pairs["pid"] = np.arange(len(pairs))
    events["w"] = events["action"].map(load_settings(None).features.action_weights)
    events = events.drop(columns="action").sort_values("at", kind="stable")
    pairs = pairs.sort_values("at", kind="stable")
    counts = events[["user_id", "at"]].assign(n=events.groupby("user_id").cumcount() + 1)
    found = {}
    for name, back in (("now", 0), ("events_1d", 1), ("events_7d", 7), ("events_30d", 30)):
        asked = pairs[["user_id", "at", "pid"]].assign(at=pairs["at"] - back * DAY)
        one = pd.merge_asof(asked, counts, on="at", by="user_id", allow_exact_matches=False)
        found[name] = one.set_index("pid")["n"].fillna(0.0).sort_index()
    entries = events.explode("topics").rename(columns={"topics": "topic"})
    entries["s"] = entries["w"] * np.exp2((entries["at"] - ORIGIN) / (7 * DAY))
    entries["s"] = entries.groupby(["user_id", "topic"])["s"].cumsum()
    asked = pairs.merge(concepts.explode("topics").rename(columns={"topics": "topic"}), on="concept_id").sort_values(
        "at"
    )
    sums = pd.merge_asof(
        asked, entries[["user_id", "topic", "at", "s"]], on="at", by=["user_id", "topic"], allow_exact_matches=False
    )
    sums["s"] = sums["s"].fillna(0.0) * np.exp2((ORIGIN - sums["at"]) / (7 * DAY))
    affinity = sums.groupby("pid")["s"].mean()
    table = pd.DataFrame({"affinity_7d": affinity.where(found["now"] > 0)})
    for name in FOUR[1:]:
        table[name] = found["now"] - found[name]
    return table.reset_index()


DAY = 86_400_000_000
ORIGIN = 1_767_571_200_000_000  # the first moment of a planted world


def duckdb_whole(data: Path) -> Any:
    """The whole table in SQL: moments joined with earlier events, running sums and as-of joins for the click rates."""
    from benchmarks.features_in_sql import whole_table

    base = database()
    base.execute(TABLES.format(data=data, weight=weights_in_sql()))
    for statement in whole_table(data):
        base.execute(statement)
    return base


CONTENDERS: dict[str, Callable[[Path], Any]] = {
    "four: adloom": lambda data: adloom(data, four=True),
    "four: duckdb, as-of joins": duckdb_asof,
    "four: duckdb, joined": duckdb_joined,
    "four: pandas": pandas,
    "whole: adloom": lambda data: adloom(data, four=False),
    "whole: duckdb": duckdb_whole,
}


def run_one(name: str, data: Path, out: Path | None, leave_out: str) -> None:
    """Runs a contender in this process, prints seconds and peak memory, and keeps the result."""
    import features.table  # noqa: F401 - imports are not timed

    if "duckdb" in name:
        import duckdb  # noqa: F401
    if "pandas" in name:
        import pandas  # noqa: F401
        import pyarrow.parquet  # noqa: F401
    began = time.perf_counter()
    made = adloom(data, four=False, leave_out=leave_out) if leave_out else CONTENDERS[name](data)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    if out:
        keep(made, out)
    print(json.dumps({"seconds": round(seconds, 3), "peak_gib": round(peak, 3)}))


def keep(made: Any, out: Path) -> None:
    """Writes a contender's result in the order of the impressions."""
    import polars as pl

    if hasattr(made, "execute"):
        made.execute(f"COPY (SELECT * FROM result ORDER BY pid) TO '{out}' (FORMAT parquet)")
    elif isinstance(made, pl.DataFrame):
        made.write_parquet(out)
    else:
        pl.from_pandas(made.sort_values("pid")).write_parquet(out)


def measured(
    name: str, data: Path, out: Path | None = None, *, leave_out: str = "", **environment: str
) -> dict[str, float]:
    """One contender in a process of its own: seconds and peak resident memory."""
    command = [sys.executable, "-m", "benchmarks.features", "--only", name, "--data", str(data)]
    command += ["--out", str(out)] if out else []
    command += ["--leave-out", leave_out] if leave_out else []
    for file in data.glob("*.parquet"):
        file.read_bytes()
    settings = {**os.environ, "POLARS_MAX_THREADS": "2", "OMP_NUM_THREADS": "2", **environment}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=settings)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def differences(ours: Path, theirs: Path) -> dict[str, float]:
    """Largest difference of each shared feature, relative to its size or to 1e-3; infinite where only one is null."""
    import numpy as np
    import polars as pl

    left, right = pl.read_parquet(ours), pl.read_parquet(theirs)
    found = {}
    for name in right.columns:
        if name == "pid":
            continue
        a, b = (frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for frame in (left, right))
        gap = np.abs(a - b) / np.maximum(np.abs(b), 1e-3)
        gap = np.where(np.isnan(a) & np.isnan(b), 0.0, np.where(np.isnan(a) != np.isnan(b), np.inf, gap))
        found[name] = float(gap.max())
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=int, default=20)
    parser.add_argument("--growth", type=int, nargs="*", default=[2, 8, 20, 50], help="millions to measure growth at")
    parser.add_argument("--keep", type=Path, help="folder of the worlds; those that are there are not written again")
    parser.add_argument("--prepare", action="store_true", help="write the worlds, measure nothing")
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--leave-out", default="")
    given = parser.parse_args()
    if given.only:
        run_one(given.only, given.data, given.out, given.leave_out)
        return
    with tempfile.TemporaryDirectory() as home:
        worlds = given.keep or Path(home)
        for millions in sorted({given.millions, *given.growth}):
            if not (worlds / f"{millions}m").exists():
                write_world_of(worlds / f"{millions}m", millions)
        if not given.prepare:
            report(worlds, given.millions, given.growth, Path(home))


def report(worlds: Path, millions: int, growth: list[int], home: Path) -> None:
    """Measures, checks, prints, and writes benchmarks/results/features.json."""
    import polars as pl

    from features.glossary import COSTS

    small = worlds / f"{min([millions, *growth])}m"
    first = measured("whole: adloom", small, NUMBA_CACHE_DIR=str(home / "cache"))
    warm = min((measured("whole: adloom", small) for _ in range(2)), key=lambda found: found["seconds"])
    compile_seconds = round(first["seconds"] - warm["seconds"], 1)
    results: dict[str, dict[str, float]] = {}
    events = pl.scan_parquet(worlds / f"{millions}m" / "events.parquet").select(pl.len()).collect().item()
    for number, name in enumerate(CONTENDERS):
        found = measured(name, worlds / f"{millions}m", home / f"{number}.parquet")
        results[name] = found
        print(f"{name:28} {found['seconds']:8.2f} s  {events / found['seconds'] / 1e6:6.2f} M events/s  "
              f"{found['peak_gib']:6.2f} GiB", flush=True)  # fmt: skip
    checked: dict[str, float] = {}
    for number, name in enumerate(CONTENDERS):
        mine = next(n for n, other in enumerate(CONTENDERS) if other == f"{name.split(':')[0]}: adloom")
        if mine != number:
            gaps = differences(home / f"{mine}.parquet", home / f"{number}.parquet")
            worst = max(gaps, key=lambda feature: gaps[feature])
            checked[name] = gaps[worst]
            verdict = "equal" if gaps[worst] <= TOLERANCE else "NOT EQUAL"
            print(f"{name:28} {verdict} on {len(gaps)} features, largest difference {gaps[worst]:.1e} ({worst})")
    ratios = {
        name: round(found["seconds"] / results[f"{name.split(':')[0]}: adloom"]["seconds"], 2)
        for name, found in results.items()
        if not name.endswith("adloom")
    }
    for name, ratio in ratios.items():
        print(f"{name:28} takes {ratio} times as long as adloom")
    sizes = {}
    for size in sorted(growth):
        sizes[size] = measured("whole: adloom", worlds / f"{size}m")
        print(f"whole: adloom, {size:3} M events {sizes[size]['seconds']:8.2f} s  {sizes[size]['peak_gib']:6.2f} GiB")
    exponent = slope([math.log(size) for size in sizes], [math.log(found["seconds"]) for found in sizes.values()])
    print(
        f"time grows with events to the power {exponent:.3f}; compiling, once after an installation: {compile_seconds} s"
    )
    shares = {}
    fair = worlds / f"{sorted({millions, *growth})[:2][-1]}m"
    whole = min(measured("whole: adloom", fair)["seconds"] for _ in range(2))
    for group in COSTS:
        without = min(measured("whole: adloom", fair, leave_out=group)["seconds"] for _ in range(2))
        shares[group] = round(1 - without / whole, 3)
        print(f"without {group:16} {shares[group]:7.1%} less time", flush=True)
    target = Path(__file__).parent / "results"
    target.mkdir(exist_ok=True)
    written = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores", "events": events, "results": results,
        "ratios": ratios, "largest_difference": checked, "growth": sizes, "exponent": round(exponent, 3),
        "compile_seconds": compile_seconds, "share_of_group": shares,
    }  # fmt: skip
    (target / "features.json").write_text(json.dumps(written, indent=2) + "\n")


def slope(x: list[float], y: list[float]) -> float:
    """Of the least-squares line; NaN for fewer than two points."""
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread = sum((one - mean_x) ** 2 for one in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread if spread else math.nan


if __name__ == "__main__":
    main()
