"""Turns an experiment's checks and effects into "ship", "hold" or "the data cannot say", with every rule and one sentence.

The rules, in order. The first seven ask whether the experiment can answer at all; all must hold:

1. users  each arm has at least FIRST_LOOK users;
2. outcome  the primary outcome varies;
3. split  users are split as planned (chi-square, p >= ALARM_LEVEL);
4. one arm each  at most MOST_CROSSOVERS of the users were in several arms;
5. nobody lost  the share of users left out, or without a known primary outcome, does not differ between arms
   (chi-square, p >= ALARM_LEVEL);
6. alike before  covariates do not differ between arms (joint test, p >= ALARM_LEVEL);
7. A/A check  splits of control in the experiment's proportions are not called different more often than the test's
   level allows.

If one fails: "the data cannot say". Otherwise:

8. gain  for some arm, the interval of the primary metric's difference lies on the good side of 0, at a confidence that
   counts how many arms there are (Bonferroni). Before the planned users are reached, or when none were planned, that is
   the always-valid interval; else the ordinary one;
9. guardrails  of the arm with the largest such gain, every guardrail is safe.

Both hold: "ship" that arm. No arm gains, but a relevant lift was named and still lies within an interval: "the data
cannot say". Else: "hold".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation.intervals import Interval
from evaluation.sample_ratio import ALARM_LEVEL
from evaluation.sequential import FIRST_LOOK
from evaluation.verdict import Outcome, Rule, Verdict

MOST_CROSSOVERS = 0.01


@dataclass(frozen=True, slots=True)
class Soundness:
    """What rules 1 to 7 look at; None where a check could not be made, which passes.

    Attributes:
        fewest_users: in any arm.
        metric_absent: why the primary outcome cannot be compared.
        split_p, lost_p, balance_p: of the three chi-square tests.
        crossover_share: users in several arms as a share of all users.
        lost_share: users left out or without a known outcome as a share of all users.
        aa_rate: false positives of the A/A check, and whether it is sound.
    """

    fewest_users: int
    metric_absent: str | None
    split_p: float
    lost_p: float | None
    balance_p: float | None
    crossover_share: float
    lost_share: float
    aa_rate: float | None
    aa_sound: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """An arm as the verdict sees it.

    Attributes:
        arm: its name.
        gain: treatment - control, its sign turned where less is better, so that above 0 is good.
        interval: of the gain, by the rule of the design.
        told: the sentence's clause: "visit is 18.3 % against 10.6 % in No E-Mail, ...".
        measured: the same in a few words.
        guardrails: (metric, state) of each.
        possible_lift: largest relative lift inside the interval; None when control's mean is 0.
        users_needed: for the relevant lift; None when there is none.
    """

    arm: str
    gain: float
    interval: Interval
    told: str
    measured: str
    guardrails: Sequence[tuple[str, str]]
    possible_lift: float | None
    users_needed: int | None


def decide(sound: Soundness, candidates: Sequence[Candidate], *, relevant_lift: float | None) -> Verdict:
    """The verdict by the rules above."""
    rules = _rules(sound)
    failed = [reason for rule, reason in rules if rule.passed is False]
    kept = [rule for rule, _ in rules]
    wanted = "an interval on the good side of 0"
    if failed or not candidates:
        kept.append(Rule("Gain over control", None, "not judged", wanted))
        return Verdict("the data cannot say", f"The data cannot say: {failed[0]}.", tuple(kept))
    best = max(candidates, key=lambda one: (one.interval.low > 0, one.gain))
    gained = best.interval.low > 0
    kept.append(Rule("Gain over control", gained, f"{best.arm} {best.measured}", wanted))
    bad = [f"{metric} is {state}" for metric, state in best.guardrails if state != "safe"]
    if best.guardrails:
        measured = ", ".join(f"{metric} {state}" for metric, state in best.guardrails)
        reached = not bad if gained else None
        kept.append(Rule("Guardrails", reached, measured if gained else "not judged", "every one shown safe"))
    outcome, sentence = _outcome(best, gained, bad, relevant_lift)
    return Verdict(outcome, sentence, tuple(kept))


def _outcome(best: Candidate, gained: bool, bad: Sequence[str], relevant_lift: float | None) -> tuple[Outcome, str]:
    if gained and not bad:
        return "ship", f"Ship {best.arm}: {best.told}."
    if gained:
        return "hold", f"Hold: {best.told}, but {' and '.join(bad)} within its margin."
    if best.interval.high < 0:
        return "hold", f"Hold: {best.arm} is worse, {best.told}."
    if relevant_lift is not None and best.possible_lift is not None and best.possible_lift >= relevant_lift:
        need = "" if best.users_needed is None else f"; to see it, about {best.users_needed:,} users are needed"
        lift = f"a lift of {100 * relevant_lift:g} %, the smallest worth having, is still possible"
        return "the data cannot say", f"The data cannot say: {best.told}, and {lift}{need}."
    return "hold", f"Hold: no gain is shown, {best.told}."


def _rules(sound: Soundness) -> list[tuple[Rule, str]]:
    varies = sound.metric_absent is None
    checked = {
        "Split of users": (sound.split_p, "users are not split between the arms as planned", "as planned"),
        "Nobody lost": (sound.lost_p, f"the arms lose users differently ({100 * sound.lost_share:.2g} % in all)", "alike in all arms"),
        "Alike before": (sound.balance_p, "the arms' covariates differed before the experiment", "alike in all arms"),
    }  # fmt: skip
    tests = {
        name: (
            Rule(
                name,
                None if p is None else p >= ALARM_LEVEL,
                "not tested" if p is None else f"p = {p:.2g}",
                f"{asked}, p at least {ALARM_LEVEL:g}",
            ),
            f"{reason} (p = {p or 0.0:.1g})",
        )
        for name, (p, reason, asked) in checked.items()
    }
    crossed = 100 * sound.crossover_share
    aa = "not tested" if sound.aa_rate is None else f"{100 * sound.aa_rate:.1f} % called different"
    return [
        (
            Rule("Users", sound.fewest_users >= FIRST_LOOK, f"{sound.fewest_users:,} in the smallest arm",
                 f"at least {FIRST_LOOK}"),
            f"an arm has only {sound.fewest_users:,} users, and {FIRST_LOOK} are needed",
        ),
        (
            Rule("Outcome varies", varies, "it does" if varies else str(sound.metric_absent), "more than one value"),
            str(sound.metric_absent),
        ),
        tests["Split of users"],
        (
            Rule("One arm each", sound.crossover_share <= MOST_CROSSOVERS, f"{crossed:.2g} % in several",
                 f"at most {100 * MOST_CROSSOVERS:g} %"),
            f"{crossed:.2g} % of the users were in several arms",
        ),
        tests["Nobody lost"],
        tests["Alike before"],
        (
            Rule("A/A check", None if sound.aa_rate is None else sound.aa_sound, aa, "5 %, as random splits allow"),
            f"the test calls {100 * (sound.aa_rate or 0.0):.1f} % of random splits of control different, so its intervals "
            "are too short for this outcome",
        ),
    ]  # fmt: skip
