"""Whether a statement of the paper is seen in an ablation: intervals over its images and seeds.

A difference counts where the 95 % interval over images (bootstrap of the composite) and the one
over seeds (Student's t of the differences seed by seed) leave zero out on the same side.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from omgsr.evaluation import composite_resampling
from omgsr.evaluation.composite import AVERAGE
from omgsr.evaluation.statistics import LEVEL
from omgsr.reporting.compared import Run
from omgsr.reporting.settings import Claim

Verdict = Literal["seen", "not seen", "cannot be told"]


@dataclass(frozen=True, kw_only=True)
class Gap:
    """The average composite of one setting minus that of another."""

    mean: float
    images: tuple[float, float]
    """Interval over images."""
    seeds: tuple[float, float]
    """Interval over seeds; infinite for one seed."""

    @property
    def side(self) -> int:
        """1 above zero, -1 below it, 0 where an interval holds it."""
        low, high = min(self.images[0], self.seeds[0]), max(self.images[1], self.seeds[1])
        return int(low > 0) - int(high < 0)

    def __str__(self) -> str:
        seeds = (
            "one seed"
            if np.isinf(self.seeds[0])
            else "{:.3f} to {:.3f} over seeds".format(*self.seeds)
        )
        return (
            f"{self.mean:+.3f} ({self.images[0]:.3f} to {self.images[1]:.3f} over images, {seeds})"
        )


class Evidence:
    """Average composites of an ablation's runs, by setting and seed, and their replicates."""

    def __init__(
        self, scores: pd.DataFrame, composites: pd.DataFrame, runs: Sequence[Run],
        lower_better: Mapping[str, bool],
    ) -> None:  # fmt: skip
        """`scores` per image and `composites` (run, benchmark, value) of all `runs`."""
        used = scores[scores["metric"].isin(list(lower_better))]
        self.resampled = composite_resampling.replicates(used, lower_better)
        average = composites[composites["benchmark"] == AVERAGE].set_index("run")["value"]
        self.frame = pd.DataFrame(
            [(r.name, r.setting, r.variant, r.t, r.seed, float(average[r.name])) for r in runs],
            columns=["run", "setting", "variant", "t", "seed", "value"],
        )
        self.means = self.frame.groupby("setting", sort=False)["value"].mean()
        self.spread = float(self.frame.groupby("setting")["value"].var().mean() ** 0.5)

    def gap(self, first: str, second: str) -> Gap:
        """`first` minus `second`, two settings with the same seeds."""
        own = [
            self.frame[self.frame["setting"] == name].set_index("seed") for name in (first, second)
        ]
        by_seed = (own[0]["value"] - own[1]["value"]).dropna().to_numpy()
        moved = [self.resampled[list(one["run"])].mean(axis=1).to_numpy() for one in own]
        edges = np.quantile(moved[0] - moved[1], ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
        half = np.inf
        if len(by_seed) > 1:
            quantile = stats.t.ppf((1 + LEVEL) / 2, len(by_seed) - 1)
            half = float(quantile * by_seed.std(ddof=1) / len(by_seed) ** 0.5)
        mean = float(by_seed.mean())
        return Gap(
            mean=mean, images=(float(edges[0]), float(edges[1])), seeds=(mean - half, mean + half)
        )

    def setting(self, pick: str | int, star: int) -> str:
        """The setting of a variant, or of the timestep nearest to a number or to t* (`auto`)."""
        if isinstance(pick, str) and pick != "auto":
            found = self.frame[self.frame["variant"] == pick]
        else:
            distance = (self.frame["t"] - (star if pick == "auto" else int(pick))).abs()
            found = self.frame[distance == distance.min()]
        return str(found["setting"].iloc[0])


def judge(claim: Claim, evidence: Evidence, star: int) -> tuple[Verdict, str]:
    """The verdict on one statement and the numbers behind it."""
    if claim.kind == "worst":
        return _worst(evidence, evidence.setting(claim.first, star))
    if claim.kind == "plateau":
        return _plateau(evidence, evidence.setting(claim.first, star))
    first, second = (evidence.setting(pick, star) for pick in (claim.first, claim.second))
    gap = evidence.gap(first, second)
    return _by_side(gap), f"{first} minus {second}: {gap}"


def _by_side(gap: Gap) -> Verdict:
    verdicts: dict[int, Verdict] = {1: "seen", -1: "not seen", 0: "cannot be told"}
    return verdicts[gap.side]


def _worst(evidence: Evidence, worst: str) -> tuple[Verdict, str]:
    """Lowest of all, and clearly so against the next one and the best."""
    others = evidence.means.drop(worst)
    gap, whole = (
        evidence.gap(str(others.idxmin()), worst),
        evidence.gap(str(others.idxmax()), worst),
    )
    said = f"the lowest of the others, {others.idxmin()}, minus {worst}: {gap}; "
    said += f"the best, {others.idxmax()}, minus {worst}: {whole}"
    if evidence.spread > 0:
        said += (
            f", {whole.mean / evidence.spread:.1f} times the seeds' spread of {evidence.spread:.3f}"
        )
    return _by_side(gap), said


def _plateau(evidence: Evidence, near: str) -> tuple[Verdict, str]:
    """Within one spread of the best, or the best itself."""
    best = str(evidence.means.idxmax())
    if best == near:
        return ("seen" if evidence.spread > 0 else "cannot be told"), f"{near} is the best"
    gap = evidence.gap(near, best)
    said = f"{near} minus the best, {best}: {gap}"
    if np.isnan(evidence.spread):
        return "cannot be told", said
    said += f"; the seeds' spread is {evidence.spread:.3f}"
    if -gap.mean <= evidence.spread:
        return "seen", said
    return ("not seen" if gap.side < 0 else "cannot be told"), said
