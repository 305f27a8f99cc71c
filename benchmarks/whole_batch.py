"""Turns a planted world of a million users into what `adloom run` costs on it: seconds and memory by stage, and exponents.

    python -m benchmarks.whole_batch [--scale 0.5 1 2] [--cluster local] [--limit-minutes 90] [--until ranking] [--small]

Scale 1 is a million users, 20 million events, 4 million impressions, 2,016 concepts and 1,000 personal renders; each number
grows with the scale. Every concept of the planted world becomes one concept for each of its pictures, and the truth is taken
away: users are treated as people. With --cluster each batch is run a second time on that cluster. What a run had finished
when the limit was reached is kept. All simulated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

USERS, PICTURES, RENDERS, DAYS, SLATES = 1_000_000, 42, 1_000, 15, 1
SMALL = 0.001
RESULTS = Path(__file__).parent / "results" / "whole_batch.json"
STAGES = ("sources", "features", "ranking", "training", "generators", "evaluation")
EVERY_SECONDS = 3.0


def write_data(folder: Path, scale: float) -> dict[str, int]:
    """The data folder of a scale; returns the numbers of what is in it."""
    import polars as pl

    from sources.world import write_world

    pictures = max(1, round(PICTURES * scale))
    world = write_world(folder, round(USERS * scale), DAYS, 3, pictures_per_concept=pictures, slates=SLATES)
    shutil.rmtree(folder / "truth")
    drawn = pl.read_parquet(folder / "pictures.parquet")
    own = drawn.select("creative_id", "concept_id")
    concepts = pl.read_parquet(folder / "concepts.parquet").join(own, on="concept_id", maintain_order="left")
    columns = [name for name in concepts.columns if name != "creative_id"]
    concepts.with_columns(concept_id="creative_id").select(columns).write_parquet(folder / "concepts.parquet")
    drawn.with_columns(concept_id="creative_id").write_parquet(folder / "pictures.parquet")
    log = pl.scan_parquet(folder / "impressions.parquet")
    one_of = log.with_columns(concept_id="creative_id", propensity=pl.col("propensity") / pictures)
    one_of.sink_parquet(folder / "impressions.new")
    (folder / "impressions.new").rename(folder / "impressions.parquet")
    return {"users": world.users, "events": world.events, "impressions": world.impressions, "concepts": len(concepts)}


def tree_bytes(session: int) -> int:
    """Memory of all processes of a session, bytes; pages that several share count once."""
    total = 0
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if int((process / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            lines = (process / "smaps_rollup").read_text().splitlines()
        except (OSError, IndexError, ValueError):
            continue
        total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def run_batch(
    data: Path, out: Path, renders: int, limit: float, *, cluster: str, settings: str, until: str = ""
) -> dict[str, Any]:
    """`adloom run` as a process of its own: what its manifests tell, and the memory of it and all that it started; it is
    ended when it has finished the stage `until`."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "settings.toml").write_text(settings)
    command = [sys.executable, "-m", "flows", "run", str(data), "--config", str(out / "settings.toml")]
    command += ["--out", str(out / "runs"), "--models", str(out / "models"), "--renders", str(renders)]
    command += ["--cluster", cluster] if cluster else []
    began, peak = time.monotonic(), 0
    with (out / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        while process.poll() is None:
            peak = max(peak, tree_bytes(process.pid))
            enough = bool(until) and any((out / "runs").glob(f"*/{until}/manifest.json"))
            if enough or (limit and time.monotonic() - began > limit):
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(EVERY_SECONDS)
    told: dict[str, Any] = {
        "finished": process.returncode == 0,
        "seconds": round(time.monotonic() - began, 1),
        "tree_peak_bytes": peak,
        "stages": {},
    }
    for name in STAGES:
        for manifest in (out / "runs").glob(f"*/{name}/manifest.json"):
            said = json.loads(manifest.read_text())
            told["stages"][name] = {key: said[key] for key in ("seconds", "peak_bytes", "rows")}
    if not told["finished"]:
        told["ended"] = (out / "log").read_text().strip().splitlines()[-1:]
    return told


def exponents(found: dict[str, Any]) -> dict[str, float]:
    """Of each stage: the slope of log seconds over log scale, where two scales or more finished it."""
    import numpy as np

    slopes = {}
    for name in STAGES:
        known = {float(scale): one["alone"]["stages"].get(name) for scale, one in found.items()}
        points = [(scale, stage["seconds"]) for scale, stage in known.items() if stage and stage["seconds"] > 0]
        if len(points) > 1:
            scales, seconds = np.log(np.array(points)).T
            slopes[name] = round(float(np.polyfit(scales, seconds, 1)[0]), 2)
    return slopes


def show(found: dict[str, Any], slopes: dict[str, float]) -> None:
    """Prints the table: a line for every stage of every run."""
    print(f"{'scale':>6} {'run':<10} {'stage':<12} {'seconds':>9} {'peak GiB':>9} {'exponent':>9}")
    for scale, sizes in found.items():
        for kind in ("alone", "cluster"):
            run = sizes.get(kind)
            if run is None:
                continue
            for name, stage in run["stages"].items():
                slope = slopes.get(name, "") if kind == "alone" else ""
                line = f"{stage['seconds']:>9.1f} {stage['peak_bytes'] / 2**30:>9.2f} {slope:>9}"
                print(f"{scale:>6} {kind:<10} {name:<12} {line}")
            end = "all" if run["finished"] else "cut off"
            print(f"{scale:>6} {kind:<10} {end:<12} {run['seconds']:>9.1f} {run['tree_peak_bytes'] / 2**30:>9.2f}")


def main() -> None:
    """Prints and writes the figures, after each run anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, nargs="+", default=[1.0])
    parser.add_argument("--small", action="store_true", help=f"a try at scale {SMALL}, with plainer settings")
    parser.add_argument("--cluster", default="", help="run each batch a second time so: local, or tcp://...")
    parser.add_argument("--candidates", type=int, default=0, help="concepts scored per user; else as in the settings")
    parser.add_argument("--limit-minutes", type=float, default=0, help="a batch is ended after so long; 0: never")
    parser.add_argument("--until", choices=STAGES, default="", help="a batch is ended after this stage")
    parser.add_argument("--home", type=Path, help="where worlds and runs go, and stay; else a folder that is removed")
    asked = parser.parse_args()
    settings = f"[ranking]\ncandidates = {asked.candidates}\n" if asked.candidates else ""
    if asked.small:
        settings += "[generators]\nside = 320\ncandidates = 2\nredraws = 0\nfirst_training_steps = 2\n"
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as given:
        for scale in [SMALL] if asked.small else asked.scale:
            home = (asked.home or Path(given)) / f"scale-{scale}"
            began = time.monotonic()
            if not (home / "sizes.json").exists():
                sizes = write_data(home / "shop", scale)
                (home / "sizes.json").write_text(json.dumps({**sizes, "seconds": round(time.monotonic() - began, 1)}))
            sizes = json.loads((home / "sizes.json").read_text())
            print(f"scale {scale}: {sizes}", flush=True)
            renders = max(1, round(RENDERS * scale))
            found[str(scale)] = one = {"world": sizes, "renders": renders}
            for kind in ("alone", "cluster") if asked.cluster else ("alone",):
                shutil.rmtree(home / kind, ignore_errors=True)
                cluster = asked.cluster if kind == "cluster" else ""
                limit = 60 * asked.limit_minutes
                how = {"cluster": cluster, "settings": settings, "until": asked.until}
                one[kind] = run_batch(home / "shop", home / kind, renders, limit, **how)
                slopes = exponents(found)
                machine = {"python": platform.python_version(), "cores": len(os.sched_getaffinity(0))}
                told = {"machine": machine, "cluster": asked.cluster, "scales": found, "exponents": slopes}
                RESULTS.parent.mkdir(exist_ok=True)
                RESULTS.write_text(json.dumps(told, indent=2) + "\n")
                show(found, slopes)
            if asked.home is None:
                shutil.rmtree(home)


if __name__ == "__main__":
    main()
