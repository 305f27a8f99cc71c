"""Turns independent parts of a stage's work into folders of the run: one after another here, or side by side on a Dask cluster."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from contracts.errors import RunError, SettingsError
from contracts.store import code_version, library_versions

Work = Callable[..., None]
"""Fills a folder, its last argument, from small records and the files of the run: with the same bytes wherever it is called."""

GPU = "GPU"
"""Resource of Dask workers that have one: `dask worker ... --resources GPU=1`."""

_LOCAL = re.compile(r"local(?::([1-9]\d*))?")
_REMOTE = re.compile(r"(tcp|tls|ws|wss|ucx|inproc)://.+")
_ANSWER_SECONDS = 15
_CODE = ("contracts", "sources", "features", "ranking", "generators", "flows")
_LIBRARIES = ("numpy", "polars", "scipy", "numba", "lightgbm", "torch", "diffusers", "pillow")


@dataclass(frozen=True)
class Terms:
    """What a worker must be like for its bytes to be those of this process."""

    code: str
    libraries: dict[str, str]
    threads: dict[str, int]

    @classmethod
    def here(cls) -> Terms:
        """Those of this process."""
        return cls(code_version(_CODE), library_versions(_LIBRARIES), thread_counts())

    def agree(self, home: Path) -> None:
        """Raises RunError where this worker would write other bytes, or to another place than `home`."""
        faults = [] if self.code == code_version(_CODE) else ["runs other code of Adloom"]
        own = library_versions(_LIBRARIES)
        faults += [
            f"has {name} {own[name]}, not {wanted}" for name, wanted in self.libraries.items() if own[name] != wanted
        ]
        faults += [] if home.is_dir() else [f"does not see {home}"]
        if faults:
            fix = (
                "Every worker needs the same installation, and the run folder under the same path; see docs/cluster.md."
            )
            raise RunError("; ".join(faults), where=f"worker on {os.uname().nodename}", fix=fix)


@dataclass(frozen=True)
class Workers:
    """Who does the parts: this process where there is no client of a cluster."""

    client: Any = None
    _gpus: bool = field(default=False)

    def addresses(self) -> set[str]:
        """Of the workers that are there now; none where there is no cluster."""
        return set() if self.client is None else set(self.client.scheduler_info(n_workers=-1)["workers"])

    def spread(
        self, work: Work, parts: Mapping[str, tuple[Any, ...]], home: Path, *, gpu: bool = False
    ) -> Iterator[Path]:
        """Folders `home/name`, in the order of the parts, each filled by `work(*arguments, folder)`; finished ones are kept.

        A folder appears in one rename, so it is whole or not there, whatever becomes of the worker; the part of a
        worker that died is done by another one.

        Args:
            work: a function of a module, so that workers find it.
            parts: name of the folder, and arguments.
            home: a folder of the run, which all workers see by the same path.
            gpu: whether workers with a GPU are to do it, where there are any.

        Raises:
            RunError: a worker runs other code, sees no such folder, or one part ended several workers.
            Whatever `work` raises.
        """
        home.mkdir(parents=True, exist_ok=True)
        if self.client is None:
            for name, arguments in parts.items():
                _perform(work, arguments, home / name, None)
                yield home / name
            return
        terms = Terms.here()
        wanted = {GPU: 1} if gpu and self._gpus else None
        home = home.resolve()
        asked = {
            name: self.client.submit(_perform, work, arguments, home / name, terms, resources=wanted, pure=False)
            for name, arguments in parts.items()
            if not (home / name).is_dir()
        }
        for name in parts:
            if name in asked:
                _answer(asked.pop(name), name)
            yield home / name


@contextlib.contextmanager
def workers_of(cluster: str) -> Iterator[Workers]:
    """The workers that `--cluster` names, for as long as the context lasts; "": this process.

    Args:
        cluster: "local" (one worker for each core), "local:N", or the address of a Dask scheduler.

    Raises:
        SettingsError: it names no cluster, or the extra is not installed. RunError: nobody answers there.
    """
    if not cluster:
        yield Workers()
        return
    local = check_cluster(cluster)
    distributed = _distributed()
    with contextlib.ExitStack() as stack:
        address: Any = cluster
        if local:
            address = stack.enter_context(
                distributed.LocalCluster(
                    n_workers=local, threads_per_worker=1, memory_limit=0, dashboard_address=None,
                    silence_logs=logging.ERROR,
                )
            )  # fmt: skip
        try:
            client = stack.enter_context(distributed.Client(address, timeout=_ANSWER_SECONDS, set_as_default=False))
            client.wait_for_workers(1, timeout=_ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            fix = f"Start `dask scheduler` there and workers (`dask worker {cluster}`), see docs/cluster.md."
            raise RunError("no scheduler with workers answers", where=f"--cluster {cluster}", fix=fix) from error
        known = client.scheduler_info(n_workers=-1)["workers"].values()
        yield Workers(client, any(worker.get("resources", {}).get(GPU) for worker in known))


def check_cluster(cluster: str) -> int:
    """Workers of a local cluster that `--cluster` asks for; 0: it names an address, or nothing.

    Raises:
        SettingsError: it names no cluster, or the extra is not installed.
    """
    if not cluster:
        return 0
    found = _LOCAL.fullmatch(cluster)
    if not found and not _REMOTE.fullmatch(cluster):
        fix = "Give local, local:4 or the address of a scheduler, tcp://host:8786."
        raise SettingsError("is no cluster", where=f"--cluster {cluster}", fix=fix)
    _distributed()
    return int(found[1] or len(os.sched_getaffinity(0))) if found else 0


def look_for_cluster(cluster: str) -> None:
    """Asks whether `--cluster` can be had, before anything is computed. Raises as `workers_of` does."""
    if cluster and not check_cluster(cluster):
        with workers_of(cluster):
            pass


def thread_counts() -> dict[str, int]:
    """Threads of BLAS and OpenMP in this process, by library interface: sums of floats depend on them."""
    from threadpoolctl import threadpool_info  # noqa: PLC0415 - of the extra

    counts: dict[str, int] = {}
    for library in threadpool_info():
        counts[library["user_api"]] = max(counts.get(library["user_api"], 1), library["num_threads"])
    return counts


def _distributed() -> Any:
    try:
        import dask  # noqa: PLC0415 - of the extra, and slow to import

        dask.config.set({"logging.distributed": "error"})
        import distributed  # noqa: PLC0415
        import threadpoolctl  # noqa: F401, PLC0415
    except ImportError as error:
        fix = "Install it: pip install 'adloom[cluster]', on every machine of the cluster."
        raise SettingsError("needs adloom[cluster], which is not installed", where="--cluster", fix=fix) from error
    return distributed


def _answer(part: Any, name: str) -> None:
    from distributed import KilledWorker  # noqa: PLC0415 - of the extra

    try:
        part.result()
    except KilledWorker as error:
        fix = "Look at the workers' logs, give them more memory, then repeat the command: finished parts are kept."
        raise RunError("ended every worker that tried it", where=f"part {name}", fix=fix) from error


def _perform(work: Work, arguments: tuple[Any, ...], target: Path, terms: Terms | None) -> None:
    """Does one part, here or on a worker: `target` appears whole, or is there already."""
    if target.is_dir():
        return
    part = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    with contextlib.ExitStack() as stack:
        if terms is not None:
            terms.agree(target.parent)
            from threadpoolctl import threadpool_limits  # noqa: PLC0415 - of the extra

            stack.enter_context(threadpool_limits(limits=terms.threads))
        part.mkdir()
        stack.callback(shutil.rmtree, part, ignore_errors=True)
        work(*arguments, part)
        with contextlib.suppress(*((OSError,) if target.is_dir() else ())):  # a second worker was faster
            part.rename(target)
