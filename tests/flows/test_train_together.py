"""Claims about learning in portions: nearly the trees of one machine, the same to the byte wherever, and a death costs time only."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import ndcg_score

from contracts.errors import RunError
from contracts.settings import RankingSettings
from flows import train_together as together
from flows.job import Job
from flows.spread_work import Workers, workers_of
from flows.train_portions import rows_of
from flows.train_together import train_here
from ranking.boosting import boost
from ranking.frames import floats
from ranking.lesson import START, Fitted, Lesson, fit
from ranking.ranker import Ranker
from ranking.split import split
from tests.flows.small_run import copied, small_settings
from tests.ranking.conftest import FEATURES, planted_log

needs_dask = pytest.mark.skipif(find_spec("distributed") is None, reason="adloom[cluster] is not installed")

SETTINGS = RankingSettings(threads=1, rounds=60, learning_rate=0.1, leaves=8)


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    """Of 8,000 slates of 997 users, whose log pushes what they dislike a little."""
    return lesson_of(planted_log(8000, push=1.0).table)


@pytest.fixture(scope="module")
def home(lesson: Lesson, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lesson in two portions."""
    return written(lesson, tmp_path_factory.mktemp("portions"), 2)


@pytest.fixture(scope="module")
def learned(home: Path) -> Fitted:
    """By two processes of this machine."""
    return train_here(home, 2)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """Two workers of this process."""
    import distributed

    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None) as local:
        yield local.scheduler_address


def lesson_of(log: pl.DataFrame, settings: RankingSettings = SETTINGS) -> Lesson:
    slates = log.height // 4
    log = log.with_columns(user_id=pl.Series(np.repeat([f"u{number % 997}" for number in range(slates)], 4)))
    kept: list[Lesson] = []

    def learn(lesson: Lesson) -> Fitted:
        kept.append(lesson)
        return Fitted("", 0, {})

    boost(split(log, settings), FEATURES, settings, 7, learn=learn)
    return kept[0]


def written(lesson: Lesson, home: Path, count: int) -> Path:
    lesson.save(home)
    for rank, portion in enumerate(lesson.portions(count)):
        portion.save_rows(rows_of(home, rank))
    return home


def judged(text: str) -> tuple[float, np.ndarray]:
    """NDCG@10 of the true click chance over fresh slates of ten, and which concept is first in each."""
    fresh = pl.DataFrame(np.random.default_rng(0).normal(size=(20_000, 3)), schema=list(FEATURES))
    truth = 1 / (1 + np.exp(1 + 0.4 * fresh["pushed"].to_numpy() - 1.2 * fresh["affinity"].to_numpy()))
    score = Ranker(text, FEATURES, None).score(fresh).reshape(-1, 10)  # type: ignore[arg-type]
    return float(ndcg_score(truth.reshape(-1, 10), score, k=10)), score.argmax(axis=1)


def test_portions_hold_whole_users_and_all_rows_in_their_order(lesson: Lesson) -> None:
    portions = lesson.portions(3)
    users = [set(portion.rows["user_id"]) for portion in portions]
    assert sum(map(len, users)) == len(set.union(*users)) == lesson.rows["user_id"].n_unique()
    rows = pl.concat([portion.rows for portion in portions])
    keys = ["at", "user_id", "concept_id"]
    assert rows.sort(keys).equals(lesson.rows.sort(keys))
    assert all(portion.rows["at"].is_sorted() for portion in portions)
    assert all(portion.held_out.equals(lesson.held_out) for portion in portions)
    assert min(map(len, users)) > 250, "dealt about evenly"


def test_two_portions_learn_nearly_what_one_machine_learns(lesson: Lesson, learned: Fitted) -> None:
    alone, apart = fit(lesson), fit(lesson.portions(2)[0])
    (best, first), (ours, ours_first), (_, half_first) = (judged(one.text) for one in (alone, learned, apart))
    assert learned.portions == 2
    assert alone.text != learned.text, "the test would prove nothing"
    assert abs(ours - best) < 0.01
    assert np.mean(ours_first == first) > 0.8
    assert np.mean(ours_first == first) > np.mean(half_first == first), "nearer than a portion that learns by itself"


def test_all_portions_stop_by_the_same_held_out_slates(lesson: Lesson, learned: Fitted) -> None:
    assert SETTINGS.early_stopping_rounds <= learned.rounds <= SETTINGS.rounds
    assert learned.validation.keys() == {"ndcg@4"}


@pytest.mark.slow
def test_a_binary_lesson_is_learned_in_portions_too(tmp_path: Path) -> None:
    lesson = lesson_of(planted_log(2000).table, SETTINGS.model_copy(update={"objective": "binary", "rounds": 10}))
    assert len(np.unique(floats(lesson.rows, START))) == 4, "one start for each slot, of all rows"
    fitted = train_here(written(lesson, tmp_path, 2), 2)
    assert judged(fitted.text)[0] == pytest.approx(judged(fit(lesson).text)[0], abs=0.01)


@needs_dask
def test_workers_two_or_one_learn_the_bytes_of_this_machine(home: Path, learned: Fitted, cluster: str) -> None:
    with workers_of(cluster) as workers:
        addresses = sorted(workers.addresses())
        assert len(addresses) == 2
        for some in (addresses, addresses[:1]):
            assert together._on_workers(workers, some, home, 2) == learned
    assert not any(path.is_dir() for path in home.iterdir()), "nothing is left of an attempt"


def test_an_error_of_one_portion_ends_the_others_and_is_told(lesson: Lesson, tmp_path: Path) -> None:
    written(lesson, tmp_path, 2)
    rows_of(tmp_path, 1).write_bytes(b"spoilt")
    began = time.monotonic()
    with pytest.raises(RunError, match="portion 1 of the training: ended with "):
        train_here(tmp_path, 2)
    assert time.monotonic() - began < 100, "the other one waits two minutes"


def test_a_cluster_that_fails_leaves_the_training_to_this_machine(
    home: Path, learned: Fitted, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> Fitted:
        raise OSError("connection lost")

    monkeypatch.setattr(together, "_on_workers", fail)
    monkeypatch.setattr(Workers, "addresses", lambda self: {"tcp://10.0.0.1:1", "tcp://10.0.0.2:1"})
    monkeypatch.setattr(together, "train_here", lambda *_: learned)
    with caplog.at_level("WARNING", "adloom"):
        assert together._tried(Workers(), home, 2) == learned
    assert caplog.text.count("training in 2 portions stopped (connection lost): it is begun again") == together.TRIES
    assert "the workers did not finish it, it is made on this machine" in caplog.text


def test_too_little_for_two_workers_is_learned_here_to_the_byte(
    lesson: Lesson, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = Job(tmp_path, small_settings(), cluster="tcp://127.0.0.1:9")  # where nobody is asked
    with caplog.at_level("INFO", "adloom"):
        assert together.train_together(small, tmp_path, lesson).text == fit(lesson).text
    assert "the ranker is trained on this machine" in caplog.text
    assert "a worker takes 1,000,000 at least" in caplog.text


@needs_dask
@pytest.mark.slow
def test_a_run_says_in_how_many_portions_its_ranker_was_learned(shared_run: Job, tmp_path: Path, cluster: str) -> None:
    import json

    from flows import rank_concepts
    from tests.flows.small_run import perform

    found = []
    for name in ("one", "two"):
        job = copied(shared_run, tmp_path / name, small_settings(ranking={"portion_rows": 50}))
        perform(dataclasses.replace(job, cluster=cluster), stages=3)
        found.append((job.run / "ranking" / "slates.parquet").read_bytes())
        facts = json.loads((job.run / "ranking" / "facts.json").read_text())
        assert facts["portions"] == 2
        assert " trees learned in 2 portions" in rank_concepts.say(job.run / "ranking")
        assert not (job.run / "ranking" / "portions").exists()
    assert found[0] == found[1]


@needs_dask
@pytest.mark.slow
def test_a_worker_killed_while_it_learns_costs_time_only(
    lesson: Lesson, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import distributed

    long = dataclasses.replace(lesson, rounds=1500, patience=1500)
    home = written(long, tmp_path, 2)
    wanted = train_here(home, 2)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as local,
        workers_of(local.scheduler_address) as workers,
        caplog.at_level("INFO", "adloom"),
    ):
        pid = next(iter(workers.client.run(os.getpid).values()))

        def kill() -> None:
            _until(lambda: len(list(home.glob("*/said-*"))) == 2)
            _until(lambda: all("Connected to rank" in path.read_text() for path in home.glob("*/said-*")))
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        found = together._tried(workers, home, 2)
        killer.join()
    assert found == wanted
    assert "it is begun again on the workers that are there" in caplog.text
    assert "the ranker was trained in 2 portions by" in caplog.text


def _until(true: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.02)
