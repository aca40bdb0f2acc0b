"""When a rate of alarms is news: one-sided binomial tests against the normal rate.

A metric trained for 5% alarms raises one for every twentieth healthy request, so that a single
alarm says nothing.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom, binomtest

CHANCE = 0.001  # how rarely a healthy block may be called news
BLOCK = 100  # requests
# Where `requests_to_notice` looks, and how surely the test notices then.
STEPS = (10, 20, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000)
POWER = 0.9


def p_of_alarms(alarms: int, requests: int, normal: float) -> float:
    """Return how probable so many alarms or more are at the normal rate."""
    return float(binomtest(alarms, requests, normal, alternative="greater").pvalue)


def is_news(alarms: int, requests: int, normal: float) -> bool:
    return p_of_alarms(alarms, requests, normal) < CHANCE


def most_usual(requests: int | np.ndarray, normal: float) -> float | np.ndarray:
    """Return the most alarms among so many requests that are no news."""
    return binom.isf(CHANCE, requests, normal)


def requests_to_notice(rate: float, normal: float) -> int | None:
    """Return the first of `STEPS` after which a rate is noticed with probability `POWER`."""
    for requests in STEPS:
        if binom.sf(most_usual(requests, normal), requests, rate) >= POWER:
            return requests
    return None
