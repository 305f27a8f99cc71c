"""Turns the words of the page on an A/B test into what they mean, each with its source."""

from __future__ import annotations

AB_GLOSSARY = (
    (
        "Interval at one look",
        "Holds with the named confidence if the moment to look was fixed beforehand. Welch's t (1947); the delta method for "
        "ratios and lifts (Deng, Knoblich and Lu 2018). Users are independent, their rows are not.",
    ),
    (
        "Always-valid interval, p",
        "Hold at every look at once, so the experiment may be stopped at any. The mixture sequential test of Johari et al. "
        "2017, which is the asymptotic confidence sequence of Waudby-Smith et al. 2021.",
    ),
    (
        "Variance cut, CUPED",
        "What users did before assignment explains part of what they do after; taking that part away shortens intervals "
        "(Deng et al. 2013), here by a regression in each arm (Lin 2013).",
    ),
    ("Sample-ratio mismatch", "The arms hold other shares of users than planned: users were lost, and not at random."),
    (
        "q",
        "p adjusted for how many comparisons were made: of those with q below 5 %, at most 5 % are expected to be false "
        "(Benjamini and Hochberg 1995; Benjamini and Yekutieli 2001).",
    ),
    ("Guardrail", "An outcome that must not get worse by more than a margin; a test of non-inferiority."),
    (
        "AUTOC, Qini",
        "How much larger the effect is among users predicted to have a large one, integrated over the share treated "
        "(Yadlowsky et al. 2021). 0 when the prediction is worth nothing.",
    ),
    (
        "Honest tree",
        "One part of the users chooses the splits, another fills in the effects (Athey and Imbens 2016).",
    ),
    (
        "Shrunk click rate",
        "Between a creative's own click rate and the average of all, the nearer to its own the more impressions it has: "
        "empirical Bayes, beta-binomial.",
    ),
    (
        "Reliability",
        "Share of the variance of observed click rates that is the creatives' own; the rest is chance.",
    ),
)
