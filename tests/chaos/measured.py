"""The figures that say how well it went, out of the evidence."""

from __future__ import annotations

from collections import Counter
from math import isfinite

from tests.chaos.evidence import Evidence


def figures(evidence: Evidence) -> dict[str, float]:
    """Counts, and the slowest of each thing that has a limit, in seconds, where it was seen."""
    refused = [sent.seconds for sent in evidence.sent if sent.status == 503 and not sent.excused]
    returns: dict[str, list[float]] = {"kill": [], "silence": []}
    for back in evidence.returns:
        if back.seconds is not None and isfinite(back.limit):
            returns[back.kind].append(back.seconds)
    stops = [stop.gone_at - stop.asked_at for stop in evidence.stops]
    away = [probe for probe in evidence.probes if probe.redis_away and probe.warm]
    attempts = Counter(
        max(int(record.get(f"{stage}_attempts", "0")) for stage in ("fetch", "build"))
        for record in evidence.records.values()
    )
    seconds = {
        "slowest_503_seconds": refused,
        "slowest_return_seconds": returns["kill"],
        "slowest_return_from_silence_seconds": returns["silence"],
        "slowest_stop_seconds": stops,
    }
    return {
        "refused_503": len(refused),
        "returns_of_redis": sum(map(len, returns.values())),
        "stops": len(stops),
        "probes": len(evidence.probes),
        "probes_without_redis": len(away),
        "served_without_redis": sum(probe.status == 200 for probe in away),
        "more_than_one_attempt": sum(count for most, count in attempts.items() if most > 1),
        "pages_checked": len(evidence.pages),
        "releases_checked": len(evidence.manifests),
        "logs_checked": len(evidence.log_spans),
        **{name: round(max(each), 2) for name, each in seconds.items() if each},
    }
