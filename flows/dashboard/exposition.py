"""What a store tells a monitoring system: Prometheus text, through its own library."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from flows.observed.known import Known
from flows.observed.run_facts import STATES, RunFacts
from flows.run.costs import read_site
from infra.upkeep.runs import StageRun
from tasks.evaluate.measured import of_own_guidance
from tasks.evaluate.metrics import METRICS

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def exposition(known: Known) -> bytes:
    """The text that Prometheus reads: runs, running stages, device time, money, room, models' newest numbers.

    Raises UserError for a damaged file of the site's prices.
    """
    registry = CollectorRegistry()
    registry.register(_Store(known))
    return generate_latest(registry)


class _Store(Collector):
    """One scrape of one store."""

    def __init__(self, known: Known) -> None:
        self.known = known

    def collect(self) -> Iterable[Metric]:
        """Every family once."""
        yield self._runs()
        yield from self._stages()
        yield from self._spent()
        yield from self._room()
        yield from self._models()

    def _runs(self) -> Metric:
        family = GaugeMetricFamily("instaflow_runs", "recorded runs by how they stand", labels=["state"])
        count = Counter(run.state for run in self.known.runs.values())
        for state in STATES:
            family.add_metric([state], count[state])
        return family

    def _stages(self) -> Iterator[Metric]:
        labels, now = ["run", "recipe", "stage", "host", "device"], self.known.seen.now
        running = [*self._running()]
        told: dict[str, tuple[str, list[float | None]]] = {
            "units_done": ("units of a running stage that this run did", [one.units for _, one in running]),
            "samples_per_second": ("its rate", [one.samples_per_second for _, one in running]),
            "seconds": ("wall time so far", [one.seconds for _, one in running]),
            "silent_seconds": ("since the run's last sign of life", [run.record.silent_s(now) for run, _ in running]),
        }
        for name, (meaning, numbers) in told.items():
            family = GaugeMetricFamily(f"instaflow_stage_{name}", meaning, labels=labels)
            for (run, stage), number in zip(running, numbers, strict=True):
                host = run.record.environment.get("host", "")
                values = [run.record.run_id, run.record.recipe, stage.stage, host, stage.device or ""]
                if number is not None:
                    family.add_metric(values, number)
            yield family

    def _running(self) -> Iterator[tuple[RunFacts, StageRun]]:
        for run in self.known.runs.values():
            if run.state == "running":
                yield from ((run, stage) for stage in run.record.stages if stage.state == "running")

    def _spent(self) -> Iterator[Metric]:
        """Gauges: records go after 90 days, so that the sums may fall."""
        labels, site = ["recipe", "stage"], read_site()
        seconds = GaugeMetricFamily(
            "instaflow_device_seconds", "wall time x devices in the records that are kept", labels=labels
        )
        money = GaugeMetricFamily(
            "instaflow_cost", "that time at this site's prices, where it has any", labels=[*labels, "currency"]
        )
        spent = defaultdict[tuple[str, str], list[StageRun]](list)
        for run in self.known.runs.values():
            for stage in run.record.stages:
                spent[run.record.recipe, stage.stage].append(stage)
        for of, stages in spent.items():
            seconds.add_metric(of, sum(stage.device_seconds or 0.0 for stage in stages))
            if (cost := site.spent(stages)) is not None:
                money.add_metric([*of, site.currency], cost)
        yield from (seconds, money)

    def _room(self) -> Iterator[Metric]:
        artifacts = GaugeMetricFamily("instaflow_artifacts", "finished artifacts by stage", labels=["stage"])
        room = GaugeMetricFamily("instaflow_artifact_bytes", "what their manifests name", labels=["stage"])
        count, size = Counter[str](), Counter[str]()
        for artifact in self.known.seen.artifacts.values():
            count[artifact.stage] += 1
            size[artifact.stage] += sum(file.bytes for file in artifact.manifest.files)
        for stage in count:
            artifacts.add_metric([stage], count[stage])
            room.add_metric([stage], size[stage])
        yield from (artifacts, room)
        seen = self.known.seen
        yield GaugeMetricFamily("instaflow_damaged", "manifests and records that do not parse", len(seen.damaged))
        yield GaugeMetricFamily("instaflow_to_be_redone", "artifacts with marks that stand", len(seen.marks))

    def _models(self) -> Iterator[Metric]:
        """Of each role and number of steps, what the last run of each recipe measured."""
        labels = ["recipe", "model", "steps"]
        families = {
            metric.key: GaugeMetricFamily(f"instaflow_model_{metric.key}", metric.meaning, labels=labels)
            for metric in METRICS
        }
        known = self.known
        last = {
            recipe: ref.artifact for (recipe, _), ref in known.seen.refs.items() if ref.artifact in known.evaluations
        }
        for recipe, base in last.items():
            for record in of_own_guidance(known.evaluations[base].of_models):
                values = [recipe, record.model, "" if record.steps is None else str(record.steps)]
                for key, family in families.items():
                    if (number := record.number(key)) is not None:
                        family.add_metric(values, number)
        yield from (family for family in families.values() if family.samples)
