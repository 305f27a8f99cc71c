"""A batch on a cluster ends in the bytes of one machine; what is wrong with a cluster is one line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from contracts.errors import DataError, RunError, SettingsError
from contracts.settings import Settings, parse_settings
from contracts.store import tree_hashes
from flows import spread_work
from flows.command_line import execute
from flows.job import Job
from flows.score_day import chunks
from flows.spread_work import check_cluster, look_for_cluster, workers_of
from tests.flows.small_run import copied, perform, small_settings
from tests.flows.tiny_shop import SETTINGS, write_tiny_shop

pytestmark = pytest.mark.skipif(find_spec("distributed") is None, reason="adloom[cluster] is not installed")


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two workers of this process."""
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        yield local.scheduler_address


def tiny_settings(**changes: dict[str, object]) -> Settings:
    import tomllib

    known = tomllib.loads(SETTINGS)
    return parse_settings(
        {name: {**known.get(name, {}), **changes.get(name, {})} for name in {*known, *changes}}, where="test"
    )


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    """A tiny shop whose batch is done up to the generator."""
    home = tmp_path_factory.mktemp("cluster")
    write_tiny_shop(home / "shop")
    job = Job(home / "shop", tiny_settings(), home / "runs", home / "models")
    with pytest.MonkeyPatch.context() as key:
        key.setenv("ADLOOM_KEY", "k" * 32)
        perform(job, stages=4)
        yield job


def drawn(job: Job) -> dict[str, str]:
    """Hashes of what the drawing stage wrote."""
    perform(job, stages=5)
    found = tree_hashes(job.run / "generators")
    del found["manifest.json"]
    return found


def test_pictures_are_those_of_one_machine(shop: Job, tmp_path: Path, cluster: str) -> None:
    alone, spread = (copied(shop, tmp_path / name) for name in ("alone", "spread"))
    wanted = drawn(alone)
    assert drawn(replace(spread, cluster=cluster)) == wanted
    assert any(name.startswith("images/") for name in wanted)


def test_a_picture_that_repeats_one_of_another_worker_is_drawn_again_as_on_one_machine(
    shop: Job, tmp_path: Path, cluster: str, caplog: pytest.LogCaptureFixture
) -> None:
    strict = tiny_settings(checks={"run_repeat": 60.0, "cohort_repeat": 60.0}, generators={"redraws": 2})
    alone, spread = (copied(shop, tmp_path / name, strict) for name in ("alone", "spread"))
    wanted = drawn(alone)
    with caplog.at_level("INFO", "adloom"):
        assert drawn(replace(spread, cluster=cluster)) == wanted
    assert "batches were drawn again" in caplog.text, "the test would prove nothing"


def test_a_drawing_stopped_between_two_batches_goes_on_with_or_without_a_cluster(
    shop: Job, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import flows.draw_side_by_side as drawing

    wanted = drawn(copied(shop, tmp_path / "alone"))
    for after, name in ((cluster, "on"), ("", "alone again")):
        job = copied(shop, tmp_path / name)
        taken: list[Path] = []
        take = drawing._take

        def stop_at_two(part: Path, folder: Path, taken: list[Path] = taken, take: Any = take) -> None:
            taken.append(part)
            take(part, folder)
            if len(taken) == 2:
                raise KeyboardInterrupt

        monkeypatch.setattr(drawing, "_take", stop_at_two)
        with pytest.raises(KeyboardInterrupt):
            drawn(replace(job, cluster=cluster))
        monkeypatch.setattr(drawing, "_take", take)
        assert len(list((job.run / "generators.part" / "done").iterdir())) == 1
        assert drawn(replace(job, cluster=after)) == wanted


def test_features_and_scores_of_a_large_day_are_those_of_one_machine(
    shared_run: Job, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.list_candidates.LARGE_DAY", 100)
    monkeypatch.setattr("flows.list_candidates.PART_PAIRS", 500)
    monkeypatch.setattr("flows.build_features.PART_EVENTS", 1_000)
    monkeypatch.setattr("ranking.cascade.MIN_USERS", 20)
    found: list[dict[str, str]] = []
    spread_works: set[str] = set()
    spread = spread_work.Workers.spread

    def watched(workers: spread_work.Workers, work: Any, *others: Any, **options: Any) -> Iterator[Path]:
        spread_works.add(work.__name__)
        return spread(workers, work, *others, **options)

    monkeypatch.setattr(spread_work.Workers, "spread", watched)
    for name, where in (("alone", ""), ("spread", cluster)):
        settings = small_settings(ranking={"cascade_loss": 0.5, "candidates": 30})
        job = replace(copied(shared_run, tmp_path / name, settings), cluster=where)
        shutil.rmtree(job.run / "features")
        perform(job, stages=3)
        stages = ("features", "ranking")
        found.append({f"{stage}/{path}": one for stage in stages for path, one in tree_hashes(job.run / stage).items()})
        for stage in stages:
            del found[-1][f"{stage}/manifest.json"]
    assert found[0] == found[1]
    assert spread_works == {"place_part", "fill_part", "list_part", "score_part"}
    assert not any("finding" in path or "filling" in path for path in found[1])
    assert sum(path.startswith("features/interests.parquet/") for path in found[0]) > 1, "users came in parts"
    daily = pl.read_parquet(job.run / "features" / "daily.parquet")
    assert len(list(chunks(daily, 500))) > 5
    assert len(daily) > len(pl.read_parquet(job.run / "ranking" / "scores.parquet")), "a first model was there too"


def count(number: int, folder: Path) -> None:
    if number < 0:
        raise DataError("is below 0", where="number", fix="Give another.")
    (folder / "number").write_text(str(number))


@pytest.mark.parametrize("spread", [False, True])
def test_parts_become_folders_in_their_order_and_finished_ones_are_kept(
    tmp_path: Path, cluster: str, spread: bool
) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "number").write_text("kept")
    with workers_of(cluster if spread else "") as workers:
        found = list(workers.spread(count, {"c": (3,), "b": (2,), "a": (1,)}, tmp_path))
        assert [path.name for path in found] == ["c", "b", "a"]
        assert [(path / "number").read_text() for path in found] == ["3", "kept", "1"]
        with pytest.raises(DataError, match=r"number: is below 0\. Give another\."):
            list(workers.spread(count, {"d": (-1,)}, tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]


def name_worker(folder: Path) -> None:
    import distributed

    (folder / "name").write_text(str(distributed.get_worker().name))


def test_pictures_go_to_workers_that_say_they_have_a_gpu(tmp_path: Path) -> None:
    import distributed

    told = {"plain": {}, "quick": {"GPU": 1}}
    workers = {
        name: {"cls": distributed.Worker, "options": {"nthreads": 1, "resources": has, "dashboard": False}}
        for name, has in told.items()
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"protocol": "inproc://", "dashboard": False}}
    with (
        distributed.SpecCluster(workers=workers, scheduler=scheduler) as cluster,
        workers_of(cluster.scheduler_address) as two,
    ):
        parts = {str(number): () for number in range(6)}
        found = list(two.spread(name_worker, parts, tmp_path, gpu=True))
    assert {(path / "name").read_text() for path in found} == {"quick"}


def test_a_worker_with_another_library_is_refused(
    tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = [{"numpy": "1.0"}, {"numpy": "2.0"}]
    monkeypatch.setattr(spread_work, "library_versions", lambda names: told.pop(0))
    with workers_of(cluster) as workers, pytest.raises(RunError, match=r"has numpy 2\.0, not 1\.0.*docs/cluster\.md"):
        list(workers.spread(count, {"a": (1,)}, tmp_path))


def test_what_names_no_cluster_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for wrong in ("locale", "local:0", "10.0.0.1:8786"):
        with pytest.raises(SettingsError, match=r"is no cluster\. Give local"):
            check_cluster(wrong)
    for words in (["run"], ["schedule", "--cron", "0 3 * * *"]):
        assert execute([*words, "--out", str(tmp_path / "runs"), "--cluster", "locale"]) == 2
        assert "--cluster locale: is no cluster" in capsys.readouterr().err
    assert [check_cluster(one) > 0 for one in ("", "local", "local:3", "tcp://host:8786")] == [False, True, True, False]


def test_nobody_at_the_address_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spread_work, "_ANSWER_SECONDS", 1)
    with pytest.raises(RunError, match=r"--cluster tcp://127\.0\.0\.1:9: no scheduler with workers answers"):
        look_for_cluster("tcp://127.0.0.1:9")


def test_without_the_extra_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, shop: Job, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    config = tmp_path / "settings.toml"
    config.write_text(SETTINGS)
    words = ["run", str(shop.data), "--config", str(config), "--out", str(tmp_path / "runs"), "--cluster", "local"]
    assert execute(words) == 2
    told = capsys.readouterr().err
    assert "needs adloom[cluster], which is not installed" in told
    assert "pip install 'adloom[cluster]'" in told
    assert not list((tmp_path / "runs").glob("*/sources")), "nothing was computed"


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_of_drawing_costs_time_only(shop: Job, tmp_path: Path) -> None:
    settings = tiny_settings(generators={"batch": 1, "renders": 6})
    alone, spread = (copied(shop, tmp_path / name, settings) for name in ("alone", "spread"))
    wanted = drawn(alone)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    with contextlib.ExitStack() as stack:

        def start(*words: str) -> subprocess.Popen[bytes]:
            environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
            process = subprocess.Popen([sys.executable, "-m", "dask", *words], env=environment, cwd=tmp_path)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        start("scheduler", "--host", "127.0.0.1", "--port", address.rpartition(":")[2], "--no-dashboard")
        first, second = (start("worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard") for _ in range(2))
        _until(lambda: len(_workers(address)) == 2)
        drawing = threading.Thread(target=drawn, args=(replace(spread, cluster=address),))
        drawing.start()
        parts = spread.run / "generators.part" / "drawn"
        _until(lambda: parts.is_dir() and any(not path.name.startswith(".") for path in parts.iterdir()))
        busy = [path for path in parts.iterdir() if path.name.startswith(".")]
        first.kill()
        drawing.join()
        assert first.wait() == -signal.SIGKILL
        assert second.poll() is None
        assert busy, "it was killed while pictures were being drawn"
    assert drawn(spread) == wanted


def _workers(address: str) -> dict[str, Any]:
    import distributed

    with contextlib.suppress(OSError), distributed.Client(address, timeout=5, set_as_default=False) as client:
        return dict(client.scheduler_info(n_workers=-1)["workers"])
    return {}


def _until(true: Callable[[], bool], seconds: float = 240) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)
