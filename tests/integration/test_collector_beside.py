"""Collecting beside publishing and rolling back, while Redis and S3 break away."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from bot.collector import Collector, Retention
from bot.core import release
from bot.core.deployment import Deployment, Stage, Status, branch_label
from bot.core.errors import Errored, PushlaneError, Rejected
from bot.core.lease import Lease
from bot.core.ledger import Alias, Ledger, open_ledger
from bot.core.loop import Loop, conclude, persistently
from bot.core.sitefile import Sitefile
from tests.builders import a_push
from tests.conftest import S3
from tests.hosting import CountingBucket
from tests.ledgers import redis_of
from tests.relay import Relay, relayed
from worker.build import Built
from worker.loop import Worker
from worker.output import Limits, Output
from worker.publish import Publisher

SECONDS = 90.0
ENOUGH = {
    Status.READY: 20,
    "moves": 10,
    "releases deleted": 8,
    "packs deleted": 2,
    "sites read": 50,
    "rounds killed": 2,
    "faults": 8,
}
DELAY_SECONDS = 2.0
"""More than the second to which S3 tells the time."""
LABELS = ("site", branch_label("main", "site"), branch_label("topic", "site"))
CONTENTS = [f"content {n} ".encode() * 300 for n in range(12)]


async def _unsaid(_: str) -> None: ...


@dataclass(slots=True, kw_only=True)
class Field:
    """Everything at work on one ledger and bucket. `counts` says what happened."""

    ledger: Ledger
    bucket: CountingBucket
    directory: Path
    relays: tuple[Relay, ...]
    chance: random.Random
    calm: Ledger
    """Past the relays, for those who look."""
    calm_bucket: CountingBucket
    counts: Counter[str] = field(default_factory=Counter)

    def loops(self) -> list[Loop]:
        """Both stages, without git and without a sandbox; the rest is the product's own."""
        publisher = Publisher(
            self.bucket,
            self.ledger.aliases,
            self.ledger.collection,
            spool=self.directory,
            limits=Limits(megabytes=100, files=1000),
        )
        worker = Worker(ledger=self.ledger, shop=cast(Any, None), publisher=publisher)

        async def fetch(held: Deployment, lease: Lease, _: AsyncExitStack) -> Deployment:
            name = f"sources/7/{held.commit:0<64}.tar.zst"
            with suppress(Errored):
                await self.bucket.put(name, b"source", content_type="application/zstd")
            return await persistently(
                lease, lambda: self.ledger.claims.advance(held, Status.QUEUED, source=name)
            )

        async def build(held: Deployment, lease: Lease, _: AsyncExitStack) -> Deployment:
            try:
                known = await publisher.known(held)
                output = self._output(held)
                await persistently(
                    lease, lambda: self.ledger.claims.advance(held, Status.PUBLISHING)
                )
                published = await publisher.publish(
                    held, output, known=known, lease=lease, say=_unsaid
                )
                # So that there is time for a pack to be condemned.
                await asyncio.sleep(self.chance.choice([0, 0, 0.1, 0.5]))
                built = Built(output=output, framework="", sitefile=Sitefile())
                ended = await worker._accepted(held, lease, built, published)
            except PushlaneError as error:
                ended = await conclude(self.ledger, held, lease, error)
            self.counts[ended.status] += 1
            return ended

        return [
            Loop(ledger=self.ledger, stage=Stage.FETCH, work=fetch),
            Loop(ledger=self.ledger, stage=Stage.BUILD, work=build),
        ]

    def _output(self, held: Deployment) -> Output:
        """Pages of which some were there before, and some long before."""
        root = self.directory / f"output-{held.claim}"
        root.mkdir()
        (root / "index.html").write_text(held.id)
        for name in self.chance.sample(range(len(CONTENTS)), 4):
            (root / f"{name}.css").write_bytes(CONTENTS[name])
        return Output(root=root, parts=())

    def enough(self) -> bool:
        """Whether so much has happened that what can go wrong had its chance."""
        return all(self.counts[word] >= count for word, count in ENOUGH.items())

    async def push(self) -> None:
        number = self.chance.random()
        branch = "main" if number < 0.6 else "topic"
        with suppress(Errored):
            await self.ledger.records.record(a_push(f"c{number}", branch=branch))
        await asyncio.sleep(0.4)

    async def move(self) -> None:
        """Somebody rolls back, promotes or unpins."""
        await asyncio.sleep(self.chance.uniform(0.2, 0.8))
        aliases = self.ledger.aliases
        try:
            records, _ = await self.ledger.view.deployments(project="site", limit=20)
            match self.chance.randrange(3), [r for r in records if r.status is Status.READY]:
                case 0, [*_, oldest]:
                    await aliases.promote(oldest.id)
                case 1, [_, *_] as ready:
                    await aliases.rollback("site", to=self.chance.choice(ready).id)
                case _:
                    await aliases.unpin("site")
            self.counts["moves"] += 1
        except Rejected as refused:
            self.counts[refused.code] += 1
        except Errored:
            self.counts["moves failed"] += 1

    async def collect(self) -> None:
        """A round, which may be killed in the middle."""
        collector = self.collector(self.ledger, self.bucket)
        going = asyncio.create_task(collector.collect(dry_run=False))
        done, _ = await asyncio.wait({going}, timeout=self.chance.choice([0.5, 30, 30]))
        if not done:
            going.cancel()
            self.counts["rounds killed"] += 1
        try:
            tally = await going
        except Rejected:
            await asyncio.sleep(0.2)
            return
        except (asyncio.CancelledError, Errored):
            # As if its lease had passed.
            await redis_of(self.calm).delete(
                f"{self.calm.connection.prefix}{{build-queue}}:collector"
            )
            return
        self.counts["rounds stopped" if tally.stopped else "rounds"] += 1
        for word in ("condemned", "deleted"):
            for kind, share in getattr(tally, word).items():
                self.counts[f"{kind} {word}"] += share.count

    def collector(self, ledger: Ledger, bucket: CountingBucket) -> Collector:
        return Collector(
            ledger,
            bucket,
            delay_seconds=DELAY_SECONDS,
            retention=Retention(production=2, branch=1, days=0),
        )

    async def break_away(self) -> None:
        """Redis or S3 is cut off for a moment."""
        await asyncio.sleep(self.chance.uniform(1, 4))
        relay = self.chance.choice(self.relays)
        relay.cut()
        self.counts["faults"] += 1
        await asyncio.sleep(self.chance.uniform(0.02, 0.2))
        relay.restore()

    async def sweep(self) -> None:
        with suppress(Errored):
            await self.ledger.claims.sweep()
        await asyncio.sleep(0.3)

    async def look(self) -> None:
        """Reads what each alias names, whole."""
        for label in LABELS:
            alias = await self.calm.aliases.get(label)
            if alias is None or not alias.release:
                continue
            try:
                await self.whole(alias)
                self.counts["sites read"] += 1
            except Errored as error:
                now = await self.calm.aliases.get(label)
                # It may have moved on, and what it named before may be gone by now.
                assert now is not None
                if (now.seq, now.release) == (alias.seq, alias.release):
                    raise AssertionError(f"{label} names {alias.release}: {error}") from error
                self.counts["moved on"] += 1
        await asyncio.sleep(0.2)

    async def whole(self, alias: Alias) -> None:
        manifest = release.decode(await self.calm_bucket.get(alias.release))
        for sha256, content in manifest.contents.items():
            found = content.identity
            body = await self.calm_bucket.get_range(
                manifest.packs[found.pack], offset=found.offset, length=found.length
            )
            assert hashlib.sha256(body).hexdigest() == sha256


@asynccontextmanager
async def a_field(valkey: str, s3: S3, prefix: str, directory: Path) -> AsyncIterator[Field]:
    async with AsyncExitStack() as stack:
        redis_relay, redis_url = await stack.enter_async_context(relayed(valkey))
        s3_relay, endpoint_url = await stack.enter_async_context(relayed(s3.endpoint_url))
        ledgers = [
            open_ledger(url, prefix=f"{prefix}:", lease_seconds=2, max_attempts=20)
            for url in (redis_url, valkey)
        ]
        buckets = [CountingBucket(replace(s3, endpoint_url=endpoint_url), prefix)]
        buckets.append(CountingBucket(s3, prefix))
        for ledger, bucket in zip(ledgers, buckets, strict=True):
            stack.push_async_callback(ledger.aclose)
            stack.push_async_callback(bucket.aclose)
        yield Field(
            ledger=ledgers[0],
            bucket=buckets[0],
            directory=directory,
            relays=(redis_relay, s3_relay),
            chance=random.Random(prefix),
            calm=ledgers[1],
            calm_bucket=buckets[1],
        )


async def repeated(what: Callable[[], Awaitable[None]], *, enough: Callable[[], bool]) -> None:
    while not enough():
        await what()


async def test_beside_publishing_and_rolling_back_under_faults_it_never_takes_what_is_named(
    valkey: str,
    seaweedfs: S3,
    prefix: str,
    tmp_path: Path,
) -> None:
    async with a_field(valkey, seaweedfs, prefix, tmp_path) as field_:
        loops = field_.loops()
        serving = [asyncio.create_task(loop.serve()) for loop in loops]
        acts = (
            field_.push, field_.move, field_.collect, field_.collect, field_.break_away,
            field_.sweep, field_.look,
        )  # fmt: skip
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(repeated(act, enough=field_.enough) for act in acts))
        for relay in field_.relays:
            relay.restore()
        async with asyncio.timeout(30):
            while (queue := await field_.calm.view.queue()).waiting or queue.active:
                await field_.sweep()
        for loop in loops:
            loop.ending.set()
        await asyncio.gather(*serving)

        collector = field_.collector(field_.calm, field_.calm_bucket)
        await redis_of(field_.calm).delete(f"{prefix}:{{build-queue}}:collector")
        await asyncio.sleep(DELAY_SECONDS + 1)
        await collector.collect(dry_run=False)
        await asyncio.sleep(DELAY_SECONDS)
        await collector.collect(dry_run=False)
        await field_.look()

        # What is left is what somebody names, and nothing else.
        names = set(await field_.calm_bucket.list("releases/"))
        packs = {
            pack for name in names for pack in release.packs_of(await field_.calm_bucket.get(name))
        }
        assert set(await field_.calm_bucket.list("packs/")) == packs
        assert len(names) <= 2 + 2 + 1
