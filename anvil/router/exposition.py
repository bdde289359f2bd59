"""Renders the router's series with prometheus_client: text format 0.0.4, or OpenMetrics when the scraper asks (17)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import accumulate

from prometheus_client import exposition
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.openmetrics import exposition as openmetrics_exposition
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from anvil.router.metrics import Counter, Gauge, Histogram, Labels, Metrics

# the library leaves this function without types
_generate_openmetrics: Callable[[Collector], bytes] = openmetrics_exposition.generate_latest


def render(metrics: Metrics, *, openmetrics: bool) -> tuple[str, bytes]:
    """(content type, body) of one scrape."""
    source = _Source(metrics)
    if openmetrics:
        return openmetrics_exposition.CONTENT_TYPE_LATEST, _generate_openmetrics(source)
    return exposition.CONTENT_TYPE_PLAIN_0_0_4, exposition.generate_latest(source)


class _Source(Collector):
    """Collects from copies of the tables, so that a scrape in a thread does not disturb the event loop."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        yield from map(_counter, metrics.counters)
        yield from map(_histogram, metrics.histograms)
        yield from map(_gauge, metrics.gauges)
        for name, help, labels in metrics.infos:
            yield InfoMetricFamily(name, help, value=dict(labels))
        yield from ProcessCollector(registry=None).collect()


def _values(labels: Labels) -> list[str]:
    return ["" if value is None else str(value) for value in labels]


def _counter(counter: Counter) -> Metric:
    family = CounterMetricFamily(counter.name, counter.help, labels=counter.labels)
    for labels, value in counter.values.copy().items():
        family.add_metric(_values(labels), value)
    return family


def _histogram(histogram: Histogram) -> Metric:
    family = HistogramMetricFamily(histogram.name, histogram.help, labels=histogram.labels)
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    for labels, series in histogram.values.copy().items():
        *counts, total = series.copy()
        family.add_metric(_values(labels), list(zip(bounds, accumulate(counts), strict=True)), total)
    return family


def _gauge(gauge: Gauge) -> Metric:
    family = GaugeMetricFamily(gauge.name, gauge.help, labels=gauge.labels)
    try:
        samples = list(gauge.read())
    except Exception:  # a gauge that cannot be read must not cost the scrape
        return family
    for labels, value in samples:
        family.add_metric(_values(labels), value)
    return family
