"""The image and the services: every name in compose.yaml leads somewhere, and every command runs natively on loopback."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.flows.processes import BIN, ROOT, plain_environment, running, until
from tests.own_postgresql import free_port, own_postgresql

TOLD = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = TOLD["services"]
VARIABLES = {
    "POSTGRES_PASSWORD": "secret",
    "PREFECT_AUTH": "ann:secret",
    "ADLOOM_KEY": "00ff",
    "ADLOOM_SHOP": "/srv/shop",
}
BUILT = {name: one for name, one in SERVICES.items() if "build" in one}
WORKERS = {name: one for name, one in BUILT.items() if one.get("command", [])[:2] == ["prefect", "worker"]}


def texts(value: Any) -> Iterator[str]:
    """Every text in a tree."""
    if isinstance(value, dict):
        value = [*value.values()]
    if isinstance(value, list):
        for one in value:
            yield from texts(one)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("name", SERVICES)
def test_what_a_service_waits_for_is_there_and_says_when_it_is_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        assert other in SERVICES
        assert how["condition"] in {"service_healthy", "service_completed_successfully"}
        if how["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert SERVICES[other]["restart"] == "on-failure"
    assert "healthcheck" in SERVICES[name]


@pytest.mark.parametrize("name", SERVICES)
def test_volumes_hosts_and_ports_lead_somewhere(name: str) -> None:
    service = SERVICES[name]
    for volume in service.get("volumes", []):
        source = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: VARIABLES[match[1]], volume).split(":")[0]
        assert source in TOLD["volumes"] or source == VARIABLES["ADLOOM_SHOP"] or (ROOT / source).is_file(), volume
    for text in texts([service.get("command", []), service.get("environment", {})]):
        for host in re.findall(r"(?://|@)([a-z-]+):\d+", text):
            assert host in SERVICES, text
    for port in service.get("ports", []):
        assert re.fullmatch(r"127\.0\.0\.1:(\d+):\1", port), "published on this host alone"
        assert port.split(":")[-1] in service["healthcheck"]["test"][-1], (
            "the port that is asked is the one that is published"
        )


def test_no_secret_stands_in_the_file_and_every_variable_is_explained() -> None:
    text = (ROOT / "compose.yaml").read_text()
    asked = set(re.findall(r"\$\{(\w+)", text))
    assert asked == set(VARIABLES)
    assert asked == {name for name in asked if re.search(rf"\$\{{{name}:\?set it in \.env", text)}, (
        "a lack is told at once"
    )
    assert re.findall(r"^(\w+)=(.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE) == [
        (n, "") for n in VARIABLES
    ]
    assert ".env" in (ROOT / ".gitignore").read_text().splitlines()
    for value in texts(SERVICES):
        assert not re.search(r"(?i)(password|secret|auth_string)\s*[:=]\s*\w", value)


def test_the_workers_are_those_that_the_deployments_ask_for() -> None:
    told = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    pools = {one["work_pool"]["name"] for one in told["deployments"]}
    assert {one["command"][one["command"].index("--pool") + 1] for one in WORKERS.values()} == pools
    script = SERVICES["deployments"]["command"][-1]
    assert set(re.findall(r"work-pool create (\S+)", script)) == pools
    home = re.findall(r"^WORKDIR (\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(home) == {told["pull"][0]["prefect.deployments.steps.set_working_directory"]["directory"]}
    for folder in told["definitions"]["folders"].values():
        mounted = [volume.split(":")[1] for one in WORKERS.values() for volume in one["volumes"] if "?" not in volume]
        assert f"{home[0]}/{folder}" in [*mounted, f"{home[0]}/data/shop"]


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not installed")
def test_docker_compose_takes_the_file(tmp_path: Path) -> None:
    (tmp_path / "env").write_text("".join(f"{name}={value}\n" for name, value in VARIABLES.items()))
    words = ["docker-compose", "--env-file", str(tmp_path / "env"), "-f", str(ROOT / "compose.yaml"), "config"]
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=bare())
    assert set(yaml.safe_load(done.stdout)["services"]) >= {n for n, one in SERVICES.items() if "profiles" not in one}
    (tmp_path / "env").write_text("POSTGRES_PASSWORD=x\n")
    lacking = subprocess.run(words, capture_output=True, text=True, check=False, env=bare())
    assert lacking.returncode != 0
    assert "set it in .env" in lacking.stderr


def bare() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name not in VARIABLES}


def test_the_image_is_built_from_hashes_and_nobody_in_it_is_root() -> None:
    lines = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text()).splitlines()
    steps = [line.split(" ", 1) for line in lines if line and not line.startswith("#")]
    words = [word for word, _ in steps]
    assert set(words) <= {"FROM", "WORKDIR", "ARG", "ENV", "COPY", "RUN", "USER", "EXPOSE", "CMD", "HEALTHCHECK"}
    assert all(re.match(r"python:3\.11-slim-\w+( AS built)?$", rest) for word, rest in steps if word == "FROM")
    last = words[len(words) - words[::-1].index("FROM") :]
    assert {"USER", "CMD", "HEALTHCHECK"} <= set(last)
    assert set(last[last.index("USER") + 1 :]) == {"EXPOSE", "CMD", "HEALTHCHECK"}, "nothing is made as root after USER"
    assert next(rest for word, rest in steps if word == "USER") == "adloom"
    installs = [one for word, rest in steps if word == "RUN" for one in rest.split("&&") if "pip install" in one]
    assert ["--require-hashes" in one for one in installs] == [True, False, False], "torch, and ourselves"
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert all((ROOT / name).exists() for name in kept)
    assert not kept & {".git", ".env", "data", "tests"}
    packages = re.search(r"packages = \[(.*)\]", (ROOT / "pyproject.toml").read_text())
    assert packages is not None
    assert set(re.findall(r'"(\w+)"', packages[1])) <= kept


class Native:
    """The services on loopback: each command of compose.yaml as a process, its hosts and ports exchanged for free ones."""

    def __init__(self, stack: ExitStack, home: Path, postgres: str) -> None:
        self.stack, self.home = stack, home
        self.ports = {"5432": postgres.rsplit(":", 1)[1]}
        self.env = plain_environment(home / "prefect", PREFECT_LOGGING_LEVEL="INFO", **VARIABLES)

    def own(self, text: str, service: str) -> str:
        """A text of the file as it is for this process."""
        text = re.sub(r"\$\{(\w+)[^}]*\}", lambda match: VARIABLES[match[1]], text)
        text = re.sub(rf"(?<=//|.@)({'|'.join(SERVICES)})(?=:\d)", "127.0.0.1", text.replace("0.0.0.0", "127.0.0.1"))

        def port(found: re.Match[str]) -> str:
            key = found[1] if found[1] != "8080" else f"{service} 8080"
            return self.ports.setdefault(key, str(free_port()))

        return re.sub(r"(?<![\d.])(5432|4200|8080|878[678])(?!\d)", port, text)

    def words(self, service: str, *last: str, **more: str) -> tuple[list[str], dict[str, str]]:
        """Command, with what comes last, and environment."""
        command = [*(self.own(word, service) for word in SERVICES[service]["command"]), *last]
        told = {name: self.own(value, service) for name, value in SERVICES[service].get("environment", {}).items()}
        if command[0] != "sh":
            command[0] = str(BIN / command[0])
        return command, {**self.env, "PATH": f"{BIN}:{os.environ['PATH']}", **told, **more}

    def once(self, service: str, **more: str) -> None:
        """Runs a service that ends by itself."""
        command, env = self.words(service, **more)
        done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def up(self, service: str, *last: str, **more: str) -> None:
        """Starts a service and waits until its healthcheck passes."""
        command, env = self.words(service, *last, **more)
        log = self.home / f"{service}.log"
        process = self.stack.enter_context(running(command, env, log))
        test = [self.own(word, service) for word in SERVICES[service]["healthcheck"]["test"][1:]]

        def healthy() -> bool:
            assert process.poll() is None, log.read_text()
            return subprocess.run([str(BIN / test[0]), *test[1:]], capture_output=True, check=False).returncode == 0

        until(healthy)


@pytest.mark.slow  # a minute and a half: PostgreSQL, Prefect's server, a worker of each pool, the review pages
def test_every_service_of_the_file_becomes_healthy_natively(tmp_path: Path) -> None:
    import psycopg

    with own_postgresql() as address, ExitStack() as stack:
        with psycopg.connect(f"postgresql://{address}/postgres", autocommit=True) as connection:
            connection.execute("CREATE DATABASE prefect")  # type: ignore[call-overload]  # as POSTGRES_DB does
            connection.execute((ROOT / "configs" / "databases.sql").read_bytes())
        native = Native(stack, tmp_path, address)
        native.up("prefect")
        url = f"http://127.0.0.1:{native.ports['4200']}/api"
        assert httpx.post(f"{url}/work_pools/filter", json={}).status_code == 401, "it wants the word of PREFECT_AUTH"
        native.once("deployments")
        native.once("deployments")  # as at every start
        for name in WORKERS:
            native.up(name, PREFECT_WORKER_WEBSERVER_PORT=native.own("8080", name))
        with httpx.Client(base_url=url, auth=("ann", "secret")) as client:
            found = client.post("/deployments/filter", json={}).raise_for_status().json()
            assert {(one["name"], one["work_pool_name"]) for one in found} == {
                ("night", "adloom-cpu"),
                ("drawing", "adloom-gpu"),
            }
            planned = {"flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
            assert until(lambda: client.post("/flow_runs/filter", json=planned).json()), "the nights of the cron line"
            for pool in ("adloom-cpu", "adloom-gpu"):
                (worker,) = until(partial(heard, client, pool))
                assert worker["status"] == "ONLINE"
        review(native)
    for log in tmp_path.glob("*.log"):
        assert "Traceback" not in log.read_text(), log


def heard(client: httpx.Client, pool: str) -> list[dict[str, Any]]:
    """Workers that the server has heard of."""
    found: list[dict[str, Any]] = client.post(f"/work_pools/{pool}/workers/filter", json={}).raise_for_status().json()
    return found


def review(native: Native) -> None:
    """The pages on PostgreSQL: refused to the outside for want of an account, then there, for those who sign in."""
    import psycopg

    runs = native.home / "runs"
    runs.mkdir()
    command, env = native.words("review", "--runs", str(runs))
    outside = [word if word != "127.0.0.1" else "0.0.0.0" for word in command]  # as in the image
    refused = subprocess.run(outside, env=env, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "account" in refused.stderr
    database = command[command.index("--database") :][:2]
    add = [*command[:2], "account", "add", "ann", "--role", "approver", *database]
    subprocess.run(add, env=env, cwd=ROOT, input=b"a long enough password\n", capture_output=True, check=True)
    native.up("review", "--runs", str(runs))
    url = f"http://127.0.0.1:{native.ports['review 8080']}"
    assert httpx.get(url).headers["location"] == "/sign-in"
    with psycopg.connect(database[1].replace("+psycopg", "")) as connection:
        assert connection.execute("SELECT name, role FROM accounts").fetchall() == [("ann", "approver")]


@pytest.mark.slow  # ten seconds
def test_the_scheduler_and_a_worker_of_dask_become_healthy_natively(tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="install adloom[cluster]")
    with ExitStack() as stack:
        native = Native(stack, tmp_path, "x:1")
        native.up("dask-scheduler")
        native.up("dask-worker")
        with distributed.Client(f"tcp://127.0.0.1:{native.ports['8786']}") as client:
            assert client.submit(sum, [1, 2]).result(timeout=30) == 3
