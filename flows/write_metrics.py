"""Turns a run's summary into an OpenMetrics file that a monitoring system can read.

Text format of OpenMetrics 1.0 (https://github.com/prometheus/OpenMetrics): TYPE, UNIT and HELP for every family, a unit is
the end of its name, labels escaped, `# EOF` last. All are gauges or info: a file tells of one run, nothing is counted on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Sample = tuple[Mapping[str, str], float]


@dataclass
class _Family:
    name: str
    told: str
    unit: str = ""
    kind: str = "gauge"
    samples: list[Sample] = field(default_factory=list)

    def lines(self) -> list[str]:
        head = [f"# TYPE {self.name} {self.kind}"]
        head += [f"# UNIT {self.name} {self.unit}"] if self.unit else []
        head += [f"# HELP {self.name} {_escaped(self.told)}"]
        suffix = "_info" if self.kind == "info" else ""
        return head + [f"{self.name}{suffix}{_labels(labels)} {value!r}" for labels, value in self.samples]


def metrics_of(summary: Mapping[str, Any]) -> str:
    """The file's text, of a summary as `flows.sum_up_run` writes it."""
    stages = [one for one in summary["stages"] if one["result"] != "not reached"]
    done = [one for one in stages if one["result"] != "failed"]

    def by_stage(value: str) -> list[Sample]:
        return [({"stage": one["stage"]}, one[value]) for one in done]

    families = [
        _Family("adloom_run", "Which run this is.", kind="info", samples=[({"run": summary["run"]}, 1)]),
        _Family("adloom_run_success", "1: the run was finished; 0: it failed.", samples=[({}, int(summary["result"] == "finished"))]),
        _Family("adloom_run_look", "Number of reasons why somebody should look at this run.", samples=[({}, len(summary["look"]))]),
        _Family("adloom_run_end_timestamp_seconds", "When it ended, by the host's clock.", "seconds", samples=[({}, summary["ended"])]),
        _Family("adloom_stage_duration_seconds", "Work of the stage in its last attempt.", "seconds", samples=by_stage("seconds")),
        _Family("adloom_stage_peak_memory_bytes", "Most memory of the process during the stage.", "bytes", samples=by_stage("peak_bytes")),
        _Family("adloom_stage_rows", "Rows in the tables of the stage.", samples=by_stage("rows")),
        _Family("adloom_stage_up_to_date", "1: nothing was to be done.", samples=[({"stage": one["stage"]}, int(one["result"] == "up to date")) for one in done]),
        _Family("adloom_stage_failed", "1: the run ended here.", samples=[({"stage": one["stage"]}, int(one["result"] == "failed")) for one in stages]),
        _Family("adloom_table_rows_read", "Rows of the input.", samples=[({"table": name}, one["read"]) for name, one in summary["intake"].items()]),
        _Family("adloom_table_rows_rejected", "Rows of the input that were set aside.", samples=[({"table": name}, one["rejected"]) for name, one in summary["intake"].items()]),
        _Family("adloom_creatives", "Pictures drawn, by whether they passed every check.", samples=[({"passed": name}, count) for name, count in summary["creatives"].items()]),
        _Family("adloom_drift_psi", "Population stability index against the run before.", samples=[({"number": name}, psi) for name, psi in summary["psi"].items()]),
    ]  # fmt: skip
    return "".join(f"{line}\n" for family in families if family.samples for line in family.lines()) + "# EOF\n"


def _labels(labels: Mapping[str, str]) -> str:
    inside = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inside}}}" if inside else ""


def _escaped(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n")
    return text.replace('"', '\\"')
