"""Tables in cloud storage: listed, read and checked like near ones, against a local server that speaks S3."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from contracts.errors import DataError
from contracts.settings import SourceSettings
from contracts.tables import Events, Impressions
from sources.folder_copy import copy_folder
from sources.intake import take_in
from sources.outcome import read_table
from sources.places import find_parts

pytest.importorskip("moto")
boto3 = pytest.importorskip("boto3")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    for _ in range(200):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                break
        time.sleep(0.1)
    else:
        running.kill()
        pytest.skip("no S3 server starts here")
    yield f"http://127.0.0.1:{port}"
    running.kill()
    running.wait()


@pytest.fixture
def bucket(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in {"AWS_ENDPOINT_URL": server, "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test",
                        "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    client.create_bucket(Bucket="logs")
    sample = Path(__file__).resolve().parents[2] / "data" / "sample"
    events = pl.read_parquet(sample / "events.parquet").sort("at")
    for day, frame in events.group_by(pl.col("at").dt.date(), maintain_order=True):
        path = tmp_path / "part.parquet"
        frame.write_parquet(path)
        client.upload_file(str(path), "logs", f"shop/events/day={day[0]}/part.parquet")
    client.put_object(Bucket="logs", Key="shop/events/_SUCCESS", Body=b"")
    text = (
        pl.read_parquet(sample / "impressions.parquet")
        .head(500)
        .with_columns(pl.col("at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"))
    )
    client.put_object(Bucket="logs", Key="shop/impressions.csv", Body=text.write_csv().encode())
    return "s3://logs/shop"


def test_tables_in_a_bucket_are_taken_in_like_near_ones(bucket: str, tmp_path: Path) -> None:
    sample = Path(__file__).resolve().parents[2] / "data" / "sample"
    data = tmp_path / "data"
    data.mkdir()
    concepts = pl.read_parquet(sample / "concepts.parquet").with_columns(product_image=pl.lit(None, dtype=pl.String))
    concepts.write_parquet(data / "concepts.parquet")
    (data / "mapping.toml").write_text(
        f'[events]\npath = "{bucket}/events/"\n[impressions]\npath = "{bucket}/impressions.csv"\n'
    )
    found = take_in(data, tmp_path / "out", tmp_path / "parts", SourceSettings())
    assert found.rejected.is_empty(), found.rejected
    wanted = pl.read_parquet(sample / "events.parquet").sort("at", "user_id", "item_id")
    held = read_table(found.out, "events")
    assert held.sort("at", "user_id", "item_id").equals(wanted.select(list(Events.columns())))
    assert read_table(found.out, "impressions").columns == list(Impressions.columns())
    parts = find_parts(data, "events", f"{bucket}/events/")
    assert all(part.day is not None and part.name.startswith("s3://logs/shop/events/day=") for part in parts)
    again = take_in(data, tmp_path / "again", tmp_path / "parts", SourceSettings())
    assert again.counts == found.counts


def test_a_bucket_that_is_not_there_is_one_line(bucket: str, tmp_path: Path) -> None:
    for url in ("s3://nowhere/events/", f"{bucket}/none/"):
        with pytest.raises(DataError) as error:
            find_parts(tmp_path, "events", url)
        assert "\n" not in str(error.value)


def test_a_folder_in_a_bucket_is_copied_and_what_has_not_changed_stays(
    bucket: str, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    copy = copy_folder(bucket, tmp_path, tell=lambda what, *_: told.append(what))
    client = boto3.client("s3", endpoint_url=server, region_name="us-east-1")
    keys = [one["Key"] for one in client.list_objects_v2(Bucket="logs", Prefix="shop/")["Contents"]]
    assert [path.relative_to(copy.parent).as_posix() for path in sorted(copy.rglob("*")) if path.is_file()] == keys
    for key in keys:
        assert (copy.parent / key).read_bytes() == client.get_object(Bucket="logs", Key=key)["Body"].read()
    client.put_object(Bucket="logs", Key="shop/impressions.csv", Body=b"other")
    assert len(told) == len(keys)
    copy_folder(bucket, tmp_path, tell=lambda what, *_: told.append(what))
    assert told[len(keys) :] == ["copying, impressions.csv"]
    for url in ("s3://nowhere/shop", "s3://logs/none"):
        with pytest.raises(DataError, match=rf"{url}: ") as error:
            copy_folder(url, tmp_path)
        assert "\n" not in str(error.value)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(DataError, match="s3://logs/shop: cannot be listed") as error:
        copy_folder(bucket, tmp_path)
    assert "\n" not in str(error.value)


def test_gs_and_az_addresses_reach_their_own_file_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    with pytest.raises(DataError, match="cannot be reached"):
        find_parts(tmp_path, "events", "az://logs/events/")
    assert os.environ.get("AZURE_STORAGE_ACCOUNT_NAME") is None
