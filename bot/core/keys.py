"""Every key of the ledger, built in one place.

`build-queue` bears the name that the outside reads; all others start with `{build-queue}:`, one
hash slot, so that a Redis cluster accepts the scripts. Behind an optional prefix for a Redis that
is shared.

| key | type | TTL | written by |
|---|---|---|---|
| `build-queue` | LIST of deployment ids | permanent | ring (normal priority) |
| `…:high`, `…:fetch` | LIST of deployment ids | permanent | ring |
| `…:deployment:<id>` | HASH | 30 days after its end, or its release's | every verb |
| `…:delivery:<guid>` | HASH | 30 days | record, remove, note |
| `…:payload:<guid>` | STRING, at most 256 KB | 30 days | record, remove, note |
| `…:deliveries` | ZSET guid -> noted ms | permanent, trimmed | record, remove, note |
| `…:payloads` | ZSET guid -> bytes kept so far | permanent, trimmed | record, remove, note |
| `…:refused` | LIST of JSON, newest first, at most 200 | 30 days | refuse |
| `…:refused-counts:<day>` | HASH code -> refused that day | 30 days | refuse |
| `…:body:<sha256>` | STRING id | 30 days | record |
| `…:request:<sha256>` | STRING id | 1 day | request (Idempotency-Key) |
| `…:project:<slug>` | HASH | permanent | record, request, spread, point, merge, set_project |
| `…:secrets:<slug>` | HASH sealed secrets | permanent | set_secret, unset_secret, merge |
| `…:projects` | ZSET slug -> created ms | permanent | record, request, spread, set_project |
| `…:repository:<id>`, `…:name:<owner/name>` | STRING slug | permanent | record, request |
| `…:further:<slug>` | HASH entry -> slug of a further project | permanent | spread, merge |
| `…:ref:<slug>:<ref>` | HASH commit, pushed_at, seq … | permanent | record, remove, advance |
| `…:heads:<slug>` | HASH ref -> commit, seq, ms of GitHub's head | permanent | record … look |
| `…:catch-up` | HASH holder, due_at … | 1 day | round, round_done |
| `…:ref-open:<slug>:<ref>` | ZSET id -> seq, not ended | empty when at rest | record … finish |
| `…:project-waiting:<slug>` | ZSET id -> recorded ms | empty when at rest | record … claim |
| `…:waiting` | ZSET id -> recorded ms | empty when at rest | record … claim |
| `…:active` | ZSET id -> lease end ms | empty when at rest | claim … finish |
| `…:delayed` | ZSET id -> due ms | empty when at rest | retry, sweep |
| `…:rung` | ZSET id -> rung ms: has a doorbell in a list | empty when at rest | ring, claim |
| `…:dead` | LIST of ids, newest first, at most 1,000 | permanent | finish |
| `…:deployments`, `…:deployments:<slug>` | ZSET id -> recorded ms | permanent, trimmed | record |
| `…:alias:<label>` | HASH | permanent; 30 days without a release | finish, point, remove … |
| `…:history:<slug>` | ZSET id -> seq, ready in production | permanent, trimmed | finish |
| `…:unreported` | ZSET `<slug>:<commit>` -> due ms | empty when at rest | every verb, told |
| `…:report:<slug>:<commit>` | HASH deployment, seq, version, told … | 30 days | every verb, told |
| `…:log:<id>:<claim>` | STREAM line | 7 days; 10 minutes once the bucket has it | append |
| `…:report-pause` | STRING | GitHub's rate limit | later |
| `…:posts-minute`, `…:posts-hour` | STRING statuses posted | a minute, an hour | told |
| `…:condemned` | ZSET object name -> due ms | until deleted | condemn, acquit |
| `…:collector` | STRING lease | 2 minutes | collect, collected |
| `…:collected` | HASH whole_at, next_at | permanent | collect, collected |
| `…:sweep` | HASH misses | 1 day | sweep |
| `…:epoch` | HASH id, tick, told_…: how far the ledger is | permanent | every verb, restore_end |
| `…:unsaved` | ZSET thing -> due ms | empty when at rest | close, move, point …, saved |
| `…:restoring` | HASH token, how far it is | 15 seconds | restore_begin, restore_go_on |
| `…:restored` | HASH what the last restoration led to | permanent | restore_end |
| `…:built:<minute>` | STRING builds that ended in it | 10 minutes | finish … cancel |
"""

from __future__ import annotations

from typing import Final

TAG: Final = "{build-queue}:"
QUEUE: Final = "build-queue"
CHANGED: Final = f"{TAG}changed"
"""The pub/sub channel on which every change of a deployment or alias is said."""

PERMANENT: Final = (
    "build-queue",
    "high",
    "fetch",
    "project:",
    "secrets:",
    "projects",
    "repository:",
    "name:",
    "further:",
    "ref:",
    "heads:",
    "ref-open:",
    "project-waiting:",
    "waiting",
    "active",
    "delayed",
    "rung",
    "dead",
    "deployments",
    "deliveries",
    "payloads",
    "alias:",
    "history:",
    "unreported",
    "unsaved",
    "epoch",
    "restored",
    "condemned",
    "collected",
)
"""Keys (or their first part) that live without a TTL; all others must have one."""


def base(prefix: str) -> str:
    """The part that every key but `build-queue` starts with, given to scripts as ARGV[1]."""
    return prefix + TAG


def queue(prefix: str) -> str:
    """The list of waiting builds of normal priority."""
    return prefix + QUEUE


def high(prefix: str) -> str:
    """The list of waiting builds of high priority: production and manual ones."""
    return f"{base(prefix)}high"


def fetch(prefix: str) -> str:
    """The list of deployments whose source is to be fetched."""
    return f"{base(prefix)}fetch"


def deployment(prefix: str, id_: str) -> str:
    """One deployment's record."""
    return f"{base(prefix)}deployment:{id_}"


def delivery(prefix: str, guid: str) -> str:
    """What one delivery led to."""
    return f"{base(prefix)}delivery:{guid}"


def payload(prefix: str, guid: str) -> str:
    """What one delivery brought."""
    return f"{base(prefix)}payload:{guid}"


def project(prefix: str, slug: str) -> str:
    """One project's record."""
    return f"{base(prefix)}project:{slug}"


def secrets(prefix: str, slug: str) -> str:
    """One project's build secrets, sealed."""
    return f"{base(prefix)}secrets:{slug}"


def alias(prefix: str, label: str) -> str:
    """One alias: what the host `<label>.<sites domain>` shows."""
    return f"{base(prefix)}alias:{label}"


def log(prefix: str, id_: str, claim: str) -> str:
    """The live log of one claim of a deployment."""
    return f"{base(prefix)}log:{id_}:{claim}"


def named(prefix: str, name: str) -> str:
    """An index by its plain name: `waiting`, `active`, `delayed`, `dead`, `unreported` …"""
    return f"{base(prefix)}{name}"
