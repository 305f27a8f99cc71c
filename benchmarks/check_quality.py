"""Turns creatives with planted defects, and as many sound ones, into how well the gate tells them apart: precision, recall, F1.

    python -m benchmarks.check_quality [--each 40] [--concepts 12] [--scenes 4] [--seed 2]

The defects, and how strong they are, are drawn at random (benchmarks/planted_defects.py): ten kinds on one picture each, and sets of pictures
for a user and for an audience that vary too little (benchmarks/planted_sets.py). As many sound pictures stand beside them, each with a sibling of the same concept on another scene that
passed before it, and each with an innocent word that looks like a rude one. The gate has the default limits (contracts/settings.py), of which
that of repeats was chosen on seed 1; report another seed, which shares neither scenes nor draws with it.

Of a kind, precision is over the pictures with this defect and the sound ones (a blurred headline is faint as well, and no false alarm), and
recall the share of those with the defect that failed it. Overall, a picture counts as found when any check failed it. The bar
is 0.858, the F1 that a published inspector of generated ad pictures reaches on its own pictures: a bar and not a peer.

Indecent pictures are not among them: none may be published, and none is at hand.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.planted_defects import KINDS, Planter, Specimen, Stock
from benchmarks.planted_sets import Sets, apart
from contracts.settings import CheckSettings
from generators.checking.findings import failed
from generators.checking.gate import Gate
from generators.checking.legibility import Reader

BAR = 0.858
RESULTS = Path(__file__).parent / "results" / "check_quality.json"


@dataclass(frozen=True)
class Score:
    """How a check did: true and false alarms, defects, and those found."""

    alarms: int
    true_alarms: int
    defects: int
    found: int

    @property
    def precision(self) -> float:
        return self.true_alarms / self.alarms if self.alarms else 1.0

    @property
    def recall(self) -> float:
        return self.found / self.defects if self.defects else 1.0

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def judge(one: Specimen, reader: Reader | None) -> list[str]:
    """Names of the checks that fail a picture, with nothing before it but what the specimen says."""
    settings = CheckSettings(
        read_headline=reader is not None, forbidden_colours={one.copy.advertiser: (one.forbidden,)}
    )
    gate = Gate(settings, reader=reader)
    if one.before is not None:
        gate.remember("before", one.before[1], one.before[0])
    found = gate.examine(one.image, one.product, one.copy, one.report, one.layout, cohort=one.cohort)
    return failed(list(found))


def score(kinds: Sequence[str], said: Sequence[Sequence[str]], check: str) -> Score:
    """Of one check over all pictures; `kinds` is what is wrong with each, empty where nothing is."""
    alarms = [bool(kind) for kind, names in zip(kinds, said, strict=True) if check in names and kind in ("", check)]
    defects = [check in names for kind, names in zip(kinds, said, strict=True) if kind == check]
    return Score(len(alarms), sum(alarms), len(defects), sum(defects))


def overall(kinds: Sequence[str], said: Sequence[Sequence[str]]) -> Score:
    """Of the gate: is anything wrong with the picture?"""
    alarms = [bool(kind) for kind, names in zip(kinds, said, strict=True) if names]
    defects = [bool(names) for kind, names in zip(kinds, said, strict=True) if kind]
    return Score(len(alarms), sum(alarms), len(defects), sum(defects))


def variety(sets: Sets, kind: str, limit: float) -> Score:
    """Whether sets that vary too little are told from sound ones, by their mean distance."""
    sound = [apart(scenes) for scenes in sets.sound[kind]]
    alike = [apart(sets.spoilt(kind, number)) for number in range(len(sound))]
    said = [["low_diversity"] if distance < limit else [] for distance in (*sound, *alike)]
    return score([""] * len(sound) + ["low_diversity"] * len(alike), said, "low_diversity")


def run(
    planter: Planter, sets: Sets, each: int, reader: Reader | None
) -> tuple[dict[str, Score], list[dict[str, Any]]]:
    """The scores by kind and overall, and what was missed or named wrongly."""
    kinds: list[str] = []
    said: list[list[str]] = []
    faults: list[dict[str, Any]] = []
    parts: dict[str, list[bool]] = {}
    for kind in (*KINDS, *["sound"] * len(KINDS)):
        for number in range(each):
            at = len(kinds) if kind == "sound" else number
            one = planter.sound(at) if kind == "sound" else planter.spoilt(kind, number)
            names = judge(one, reader)
            kinds.append(one.kind)
            said.append(names)
            parts.setdefault(kind, []).append(one.kind in names)
            if (one.kind and one.kind not in names) or set(names) - {one.kind}:
                size = f"{one.report.size[0]}x{one.report.size[1]}"
                faults.append({"kind": kind, "strength": one.strength, "size": size, "failed": names})
        print(f"judged {len(kinds)}", end="\r", flush=True)
    checks = list(dict.fromkeys(kind.split(":")[0] for kind in KINDS))
    scores = {check: score(kinds, said, check) for check in checks}
    for kind in KINDS:
        if ":" in kind:
            found = parts[kind]
            scores[kind] = Score(sum(found), sum(found), len(found), sum(found))
    limits = {"user": CheckSettings().user_distance, "audience": CheckSettings().audience_distance}
    scores |= {f"low_diversity, {kind}": variety(sets, kind, limit) for kind, limit in limits.items()}
    return scores | {"overall": overall(kinds, said)}, faults


def main() -> None:
    """Prints and writes the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--each", type=int, default=40, help="pictures with each kind of defect")
    parser.add_argument("--concepts", type=int, default=12)
    parser.add_argument("--scenes", type=int, default=4, help="painted for each concept")
    parser.add_argument("--seed", type=int, default=2)
    chosen = parser.parse_args()
    reader = Reader.load()
    planter = Planter(Stock.paint(chosen.concepts, chosen.scenes, chosen.seed), chosen.seed)
    sets = Sets.paint(chosen.each, chosen.seed)
    scores, faults = run(planter, sets, chosen.each, reader)
    show(scores, faults, vars(chosen), reader is not None)


def show(scores: dict[str, Score], faults: list[dict[str, Any]], arguments: dict[str, Any], read: bool) -> None:
    """Prints the table, and writes it with everything that went wrong."""
    print("\n\n| defect | planted | found | false alarms | precision | recall | F1 |\n|---|---|---|---|---|---|---|")
    for name, one in scores.items():
        part = ":" in name  # of a check's defects; its alarms belong to the whole
        figures = f"{'' if part else f'{one.precision:.3f}'} | {one.recall:.3f} | {'' if part else f'{one.f1:.3f}'}"
        print(f"| {name} | {one.defects} | {one.found} | {'' if part else one.alarms - one.true_alarms} | {figures} |")
    print(f"\nbar for the overall F1: {BAR}; headlines {'were' if read else 'were NOT'} read back (adloom[ocr])")
    for fault in faults:
        print(f"  {fault}")
    told = {
        name: {**vars(one), "precision": one.precision, "recall": one.recall, "f1": one.f1}
        for name, one in scores.items()
    }
    machine = {"processor": platform.processor() or platform.machine(), "python": platform.python_version()}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"machine": machine, "simulated": True, "arguments": arguments, "read_back": read, "bar": BAR,
                    "scores": told, "faults": faults}, indent=2) + "\n"
    )  # fmt: skip


if __name__ == "__main__":
    main()
