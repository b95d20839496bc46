"""What must hold of aliases, releases and sites: whole, newest, and of the accepted claim."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from bot.core.deployment import branch_label
from bot.core.release import Manifest
from tests.chaos.evidence import AliasSeen, Evidence, Hash, LogSpan, Violation
from tests.chaos.world import Sort

_MOVE_SECONDS = 1.0
"""A move that a person made may be seen so long after it was answered."""
_MOVES = ("promote", "rollback", "unpin")
_STOPPED = ("cancelled", "superseded")


def _holes(evidence: Evidence, record: Hash) -> str:
    """What a ready record's release lacks; empty when it is whole."""
    name = record.get("release", "")
    manifest = evidence.manifests.get(name)
    if manifest is None:
        return f"no manifest {name!r} that can be read"
    for index, pack in enumerate(manifest.packs):
        size = evidence.packs.get(pack)
        if size is None:
            return f"no pack {pack}"
        if size < _end(manifest, index):
            return f"{pack} has {size} bytes, of which {_end(manifest, index)} are named"
    missing = [
        path for path, file in manifest.files.items() if file.sha256 not in manifest.contents
    ]
    return f"no contents of {missing}" if missing or not manifest.files else ""


def _end(manifest: Manifest, pack: int) -> int:
    ranges = [
        found
        for content in manifest.contents.values()
        for found in (content.identity, content.zstd, content.gzip)
        if found is not None and found.pack == pack
    ]
    return max((found.offset + found.length for found in ranges), default=0)


def aliases_name_whole_releases_of_accepted_claims(evidence: Evidence) -> Iterator[Violation]:
    """I4: an alias names a release whose manifest and packs exist, by the accepted claim."""
    for label, alias in evidence.aliases.items():
        if not alias.get("release"):
            continue
        id_ = alias["deployment"]
        record = evidence.records.get(id_)
        if record is None or record["status"] != "ready":
            what = f"{label} names a deployment that is not ready"
            yield Violation("I4", what, (id_,), f"{alias} {record}")
            continue
        if record["release"] != alias["release"]:
            yield Violation("I4", f"{label} names a release of another", (id_,), f"{alias}")
        if holes := _holes(evidence, record):
            yield Violation("I4", f"{label} names what is not whole", (id_,), holes)


def every_release_is_whole(evidence: Evidence) -> Iterator[Violation]:
    """I12: S3's errors are retried, and leave no half site."""
    for id_, record in evidence.records.items():
        kept = record.get("condemned_at", "0") == "0"
        if record["status"] == "ready" and kept and (holes := _holes(evidence, record)):
            yield Violation("I12", "half a site ended as ready", (id_,), holes)


def nothing_of_a_fenced_claim_is_seen(evidence: Evidence) -> Iterator[Violation]:
    """I6: no release, no page and no log line of a claim that had lost its right."""
    for id_, record in evidence.records.items():
        if record["status"] != "ready":
            continue
        manifest = evidence.manifests.get(record["release"])
        if manifest and (manifest.deployment, manifest.claim) != (id_, record["ended_claim"]):
            what = "the release was written by another claim than the one that ended it"
            yield Violation("I6", what, (id_,), f"{manifest.claim} {record['ended_claim']}")
    for label, page in evidence.pages.items():
        alias = evidence.aliases.get(label, {})
        record = evidence.records.get(alias.get("deployment", ""), {})
        words = evidence.markers.get(record.get("commit", ""))
        if alias.get("release") and words and (page.status != 200 or words not in page.text):
            what = f"{label} shows something else than its release"
            yield Violation("I6", what, (alias["deployment"],), f"{page.status} {page.text[:100]}")
    spans: dict[str, dict[str, LogSpan]] = defaultdict(dict)
    for span in evidence.log_spans:
        spans[span.deployment][span.claim] = span
    for id_, by_claim in spans.items():
        claims = evidence.records.get(id_, {}).get("claims", "").split(",")
        written = [by_claim[claim] for claim in claims if claim in by_claim]
        for older, newer in pairwise(written):
            if older.last_ms > newer.first_ms:
                what = "a claim wrote to its log after the next one had begun"
                yield Violation("I6", what, (id_,), f"{older} {newer}")


def aliases_only_go_forward_and_the_newest_is_live(evidence: Evidence) -> Iterator[Violation]:
    """I5: a seq never falls but by a person's move; at rest the newest success is live."""
    for label, seen in evidence.aliases_seen.items():
        for before, after in pairwise(seen):
            if after.seq < before.seq:
                yield Violation("I5", f"stale: the seq of {label} fell", (), f"{before} {after}")
            fell = after.deployment_seq < before.deployment_seq
            if fell and not _moved(evidence, label, after):
                what = f"stale: {label} went back, and nobody had asked for it"
                yield Violation("I5", what, (before.deployment, after.deployment))
    yield from _not_the_newest(evidence)
    yield from _not_live(evidence)


def _moved(evidence: Evidence, label: str, seen: AliasSeen) -> bool:
    """Whether a person moved this alias about that time."""
    for asked in evidence.asked:
        if asked.what not in _MOVES:
            continue
        record = evidence.records.get(asked.target)
        slug = record["project"] if record else asked.target
        late = asked.ended_at + _MOVE_SECONDS + (5.0 if asked.status == 0 else 0.0)
        if slug == label and asked.began_at < seen.at and seen.before_at < late:
            return True
    return False


def _not_the_newest(evidence: Evidence) -> Iterator[Violation]:
    """Aliases that name an older deployment than the newest that ended ready."""
    newest: dict[str, int] = {}
    for record in evidence.records.values():
        if record["status"] != "ready" or record["trigger"] == "redeploy":
            continue
        seq = int(record["seq"])
        for label in _labels(record):
            newest[label] = max(newest.get(label, 0), seq)
    for label, seq in newest.items():
        alias = evidence.aliases.get(label)
        if alias is None:
            yield Violation("I5", f"lost: {label} was never made")
        elif alias.get("pinned") != "1" and int(alias["deployment_seq"]) < seq:
            what = f"stale: {label} does not show its newest success"
            yield Violation("I5", what, (alias["deployment"],), f"{alias}, newest is {seq}")


def _labels(record: Hash) -> Iterator[str]:
    if record["ref"].startswith("refs/heads/"):
        yield branch_label(record["ref"].removeprefix("refs/heads/"), record["project"])
        if record.get("production") == "1":
            yield record["project"]


def _not_live(evidence: Evidence) -> Iterator[Violation]:
    """Branches whose host does not show their head, for no reason of that commit's own."""
    by_head: dict[tuple[str, str, str], tuple[int, str]] = {}
    for id_, record in evidence.records.items():
        if record["trigger"] != "redeploy":
            key = (record["repository"], record["ref"], record.get("commit", ""))
            by_head[key] = max(by_head.get(key, (-1, "")), (int(record["seq"]), id_))
    cancelled = {asked.target for asked in evidence.asked if asked.what == "cancel"}
    sorts = {event.after: event.sort for event in evidence.events} | dict(evidence.sorts)
    for (repository, ref), sha in evidence.heads.items():
        found = by_head.get((repository, ref, sha))
        if found is None:
            yield Violation("I5", f"lost: {repository} {ref} at {sha} has no deployment")
            continue
        id_ = found[1]
        record = evidence.records[id_]
        sort = sorts.get(sha)
        match record["status"]:
            case "ready":
                yield from _not_shown(evidence, id_, record, sha)
                right = True
            case "failed":
                right = sort is Sort.FAILING
            case "skipped":
                right = sort is Sort.SKIPPED
            case "cancelled":
                right = id_ in cancelled
            case "errored":
                right = True  # whether it had all its attempts is I9's affair
            case _:
                right = False
        if not right:
            what = f"lost: the newest push of {repository} {ref} ended as {record['status']}"
            yield Violation("I5", what, (id_,), f"{dict(record)}")


def _not_shown(evidence: Evidence, id_: str, record: Hash, sha: str) -> Iterator[Violation]:
    words = evidence.markers.get(sha)
    for label in _labels(record):
        page = evidence.pages.get(label)
        pinned = evidence.aliases.get(label, {}).get("pinned") == "1"
        if page is None or words is None or pinned:
            continue
        if page.status != 200 or words not in page.text:
            what = f"stale: {label} does not show the head of its branch"
            yield Violation("I5", what, (id_,), f"{page.status} {page.text[:100]}")


def what_was_stopped_never_goes_live_and_dies_in_time(evidence: Evidence) -> Iterator[Violation]:
    """I8: superseded or cancelled never goes live, its sandbox is dead soon."""
    for label, seen in evidence.aliases_seen.items():
        for alias in seen:
            record = evidence.records.get(alias.deployment)
            if record and record["status"] in _STOPPED:
                what = f"{label} showed what was {record['status']}"
                yield Violation("I8", what, (alias.deployment,))
    for id_, record in evidence.records.items():
        if record["status"] in _STOPPED and record.get("release"):
            yield Violation("I8", f"{record['status']}, and it has a release", (id_,))
    for stop in evidence.stops:
        if stop.gone_at - stop.asked_at > stop.limit:
            what = "its sandbox lived on after it was asked to stop"
            seconds = f"{stop.gone_at - stop.asked_at:.1f} s of {stop.limit:.1f}"
            yield Violation("I8", what, (stop.deployment,), seconds)
    for id_ in evidence.living:
        yield Violation("I8", "a process of it lives at rest", (id_,))
