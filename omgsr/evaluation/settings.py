"""Settings of the scores: section `score` of a profile."""

from dataclasses import field
from typing import Annotated

from pydantic import AfterValidator

from omgsr.core.settings import Whole, one_of, one_or_more, section
from omgsr.evaluation.metric_table import metric_table

MetricName = Annotated[str, one_of("metric", metric_table)]
Metrics = Annotated[tuple[MetricName, ...], AfterValidator(one_or_more)]


@section
class Score:
    """Metrics over the restored benchmarks."""

    metrics: Metrics
    """PyIQA names and ours (metric_table.py); full-reference ones where a benchmark is paired."""
    crop_border: Whole
    """Pixels left out at every edge; FID sees the whole image."""
    reference: dict[str, str] = field(default_factory=dict)
    """By benchmark, a folder of images that FID compares with; without one it is the HQ images."""
    composite: tuple[MetricName, ...] | None = None
    """Metrics of the composite score (Eq. 22); null takes all."""

    def __post_init__(self) -> None:
        if self.composite is not None and not set(self.composite) <= set(self.metrics):
            raise ValueError(
                f"composite: got {list(self.composite)}, allowed: those of metrics, "
                f"{', '.join(self.metrics)}, or null"
            )

    @property
    def compared(self) -> tuple[str, ...]:
        """Metrics of the composite score."""
        return self.metrics if self.composite is None else self.composite
