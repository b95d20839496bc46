"""One round: repository by repository, what nothing names is condemned, and later deleted.

Why nothing that is named is ever deleted:

- A release is given up by one script that looks at the aliases; none may name it from then on.
- What is condemned nobody may newly name: `finish` refuses it, `Publisher.known` leaves it out, and
  intake takes another name for its source. Who named it before can be seen when it is due, since
  by then every claim has ended that began before.
- A pack is judged by all manifests that are in the bucket. Where one of them cannot be read, no
  pack of the repository is touched.
- A manifest is deleted before the packs that only it names.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

from bot.collector import verdicts, versions
from bot.collector.retention import DAY_MS, Release, Retention, decide
from bot.collector.tally import Tally
from bot.collector.verdicts import Known, Verdict
from bot.collector.versions import Version
from bot.core import release, saved
from bot.core.bucket import Bucket, Entry
from bot.core.deployment import repository_key
from bot.core.errors import Errored
from bot.core.ledger import Census, Collection, Project

log = logging.getLogger(__name__)

MOST: Final = 10_000
"""Objects that one round condemns or deletes; the next one goes on."""
_PAUSE_SECONDS: Final = 0.01
"""Before each step, so that whoever deploys comes first."""
_EXTEND_SECONDS: Final = 10.0
_BATCH: Final = 100
_UNREADABLE: Final = frozenset({"object_missing", "release_broken", "release_too_new"})

_Judge: TypeAlias = Callable[[Entry, Known], Verdict]


@dataclass(slots=True)
class _Found:
    """The objects of one kind that something is to become of."""

    condemn: list[Entry] = field(default_factory=list)
    delete: list[Entry] = field(default_factory=list)
    waiting: list[Entry] = field(default_factory=list)
    """Condemned, and not to be deleted yet."""
    acquit: list[str] = field(default_factory=list)
    staying: list[str] = field(default_factory=list)
    """Of manifests only: what is kept, and what the ledger does not know."""

    def add(self, entry: Entry, known: Known) -> None:
        """Takes what is to go to where it belongs; what is too much stays for another round."""
        match known.condemned.get(entry.name):
            case None:
                to = self.condemn
            case due if due <= known.quiet:
                to = self.delete
            case _:
                to = self.waiting
        if len(to) < MOST:
            to.append(entry)


@dataclass(slots=True, kw_only=True)
class Round:
    """The effects of one round. It counts into `tally`, which says whether it is a dry run."""

    collection: Collection
    bucket: Bucket
    retention: Retention
    delay_ms: int
    """How long what is condemned still stands: longer than any build takes."""
    tally: Tally
    lease: str = ""
    condemning: bool = True
    """False: only what is due is deleted."""
    _due: dict[str, int] = field(default_factory=dict)
    _undecided: set[str] = field(default_factory=set)
    _extended_at: float = 0.0

    async def go(self, projects: Sequence[Project]) -> None:
        """Looks at everything. Raises `Errored` when the ledger or the bucket fails."""
        self._due = await self.collection.due(limit=MOST)
        for unit in _units(projects):
            if self.tally.handled >= MOST:
                return
            await self._look_at(unit)
            self.tally.projects += len(unit)
        if self._due:
            log.warning("condemned objects of no project that is there are left alone")
            await self._acquit(tuple(self._due))
        if self.condemning:
            await self._end_uploads()
            await self._thin_out()
        self.tally.complete = self.tally.handled < MOST

    async def _look_at(self, projects: Sequence[Project]) -> None:
        """Condemns and deletes of one repository."""
        censuses = [await self.collection.census(project.slug) for project in projects]
        folders = _folders(projects, censuses)
        if not self.condemning and not any(_folder(name) in folders for name in self._due):
            return
        known = _known(censuses, retention=self.retention, delay_ms=self.delay_ms)
        if self.condemning:
            for census in censuses:
                known = replace(known, going=known.going | await self._give_up(census))
                await self._trim(census)
        manifests = await self._list("releases", folders, verdicts.of_manifest, known)
        known = await self._with_packs(known, manifests)
        self._undecided |= known.undecided
        found = {
            # In the order of deletion: nobody is to see a release whose packs are gone.
            "releases": manifests,
            "packs": await self._list("packs", folders, verdicts.of_pack, known),
            "sources": await self._list("sources", folders, verdicts.of_source, known),
            "logs": await self._list("logs", folders, verdicts.of_log, known),
        }
        # And against it, packs are condemned before the manifests that name them: when the owner's
        # record is long gone, only those tell whose a pack was.
        for kind, each in reversed(found.items()):
            await self._acquit(each.acquit)
            await self._condemn(kind, each.condemn)
        for kind, each in found.items():
            await self._delete(kind, each.delete)
        # What is due and was not found had been deleted before, and was never noted as such.
        gone = {name for name in self._due if _folder(name) in folders}
        await self._acquit(tuple(gone))
        self._due = {name: due for name, due in self._due.items() if name not in gone}

    async def _give_up(self, census: Census) -> set[str]:
        """Gives up the releases that are beyond the retention; answers whose they are."""
        decision = decide(_releases(census), now=census.at, retention=self.retention)
        if self.tally.dry_run:
            return set(decision.going)
        given_up: set[str] = set()
        for id_ in decision.going[:MOST]:
            await self._go_on()
            word = await self.collection.condemn_release(
                self.lease, census.project, census.traces[id_], keep=self.retention.production
            )
            if word == "condemned":
                given_up.add(id_)
        return given_up

    async def _trim(self, census: Census) -> None:
        """Takes records that are gone out of the indexes, and lets those go that should be."""
        if self.tally.dry_run:
            self.tally.trimmed += len(census.missing)
            return
        over = census.at - verdicts.LONGEST_RECORD_MS
        late = [
            trace.id
            for trace in census.traces.values()
            if trace.ended and not trace.released and max(trace.ended_at, trace.condemned_at) < over
        ]
        ids = [*census.missing, *late]
        self.tally.trimmed += await self.collection.trim(self.lease, census.project, ids)

    async def _list(self, kind: str, folders: Iterable[str], judge: _Judge, known: Known) -> _Found:
        """Lists the objects of a kind and judges each."""
        found = _Found()
        for folder in sorted(folders):
            async for page in self.bucket.pages(f"{kind}/{folder}/"):
                await self._go_on()
                condemned = await self.collection.condemned([entry.name for entry in page])
                known = replace(known, condemned=condemned)
                judged: dict[Verdict, list[Entry]] = {verdict: [] for verdict in Verdict}
                for entry in page:
                    self._due.pop(entry.name, None)
                    judged[judge(entry, known)].append(entry)
                kept, unknown = judged[Verdict.KEEP], judged[Verdict.UNKNOWN]
                self.tally.add("kept", kind, kept)
                self.tally.add("unknown", kind, unknown)
                found.acquit += [entry.name for entry in kept if entry.name in condemned]
                if kind == "releases":
                    found.staying += [entry.name for entry in (*kept, *unknown)]
                for entry in judged[Verdict.REMOVE]:
                    found.add(entry, known)
        self.tally.add("waiting", kind, found.waiting)
        return found

    async def _with_packs(self, known: Known, manifests: _Found) -> Known:
        """Adds which packs are named, by the manifests that stay and by those that go."""
        staying = set(manifests.staying)
        staying |= {
            trace.release
            for trace in known.traces.values()
            if trace.released and trace.id not in known.going
        }
        going = [entry.name for entry in (*manifests.condemn, *manifests.delete)]
        owners = map(verdicts.owner_of, manifests.staying)
        return replace(
            known,
            named=await self._packs_of(staying, strictly=True),
            left=await self._packs_of(going, strictly=False) or frozenset(),
            undecided={owner.deployment for owner in owners if owner} - known.traces.keys(),
        )

    async def _packs_of(self, manifests: Iterable[str], *, strictly: bool) -> set[str] | None:
        """The packs that any of the manifests names.

        None when one of them cannot be read for good; without `strictly` that one is passed over.
        """
        found: set[str] = set()
        for name in manifests:
            await self._go_on()
            try:
                found.update(release.packs_of(await self.bucket.get(name)))
            except Errored as error:
                if error.code not in _UNREADABLE:
                    raise
                if strictly:
                    log.warning(
                        "a release cannot be read: no pack of its repository is deleted",
                        extra={"release": name, "error": error.message},
                    )
                    return None
        return found

    async def _condemn(self, kind: str, entries: Sequence[Entry]) -> None:
        if not self.condemning:
            return
        self.tally.add("condemned", kind, entries)
        if not self.tally.dry_run:
            names = [entry.name for entry in entries]
            await self.collection.condemn(self.lease, names, delay_ms=self.delay_ms)

    async def _acquit(self, names: Sequence[str]) -> None:
        if not self.tally.dry_run:
            await self.collection.acquit(self.lease, names)

    async def _delete(self, kind: str, entries: Sequence[Entry]) -> None:
        if self.tally.dry_run:
            self.tally.add("deleted", kind, entries)
            return
        for at in range(0, len(entries), _BATCH):
            batch = entries[at : at + _BATCH]
            for entry in batch:
                await self._go_on(surely=True)
                await self.bucket.delete(entry.name)
                self.tally.add("deleted", kind, [entry])
            await self._acquit([entry.name for entry in batch])

    async def _end_uploads(self) -> None:
        """Ends what no claim that is at work may have begun."""
        before = await self.collection.at_work_since() - self.delay_ms
        for kind in ("packs", "sources"):
            async for page in self.bucket.uploads(f"{kind}/"):
                for upload in page:
                    if upload.begun_at >= before:
                        continue
                    await self._go_on(surely=True)
                    if not self.tally.dry_run:
                        await self.bucket.abort(upload)
                    self.tally.uploads += 1

    async def _thin_out(self) -> None:
        """Deletes older versions of what is saved, and what the ledger itself has let go.

        Nobody but a restoration reads these, and it takes the newest: there is nobody to wait for.
        """
        before = await self.collection.at_work_since() - self.delay_ms
        for folder in saved.FOLDERS.values():
            newest: dict[str, Version] = {}
            async for page in self.bucket.pages(f"{folder}/"):
                if self.tally.handled >= MOST:
                    return
                await self._go_on()
                older = versions.sift(page, newest)
                await self._delete(folder, [each for each in older if each.modified_at < before])
                # The versions of one thing follow each other; those of the last may go on.
                whole = tuple(newest)[:-1]
                await self._let_go(folder, {what: newest.pop(what) for what in whole}, before)
            await self._let_go(folder, newest, before)

    async def _let_go(self, folder: str, newest: Mapping[str, Version], before: int) -> None:
        doubtful = versions.doubtful(newest, before=before, undecided=self._undecided)
        gone = await self.collection.missing(doubtful)
        await self._delete(folder, [newest[what].entry for what in gone])
        self.tally.add("kept", folder, [newest[what].entry for what in newest.keys() - gone])

    async def _go_on(self, *, surely: bool = False) -> None:
        """A pause, and the lease prolonged: each 10 s, or `surely` now. Raises `Errored`."""
        await asyncio.sleep(_PAUSE_SECONDS)
        late = time.monotonic() - self._extended_at > _EXTEND_SECONDS
        if not self.tally.dry_run and (surely or late):
            asked_at = time.monotonic()
            if await self.collection.take(self.lease, when="on") == "lost":
                raise Errored("another process collects now", code="collector_lost")
            self._extended_at = asked_at


def _units(projects: Iterable[Project]) -> list[list[Project]]:
    """Projects of one repository share its sources, so they are looked at together."""
    found: dict[int | str, list[Project]] = {}
    known = list(projects)
    ids = {project.slug: project.repository_id for project in known}
    for project in known:
        main = project.main or project.slug
        # A further one may not have been told its repository's id yet.
        unit = ids.get(main) or project.repository_id or main
        found.setdefault(unit, []).append(project)
    return list(found.values())


def _folders(projects: Iterable[Project], censuses: Iterable[Census]) -> frozenset[str]:
    """Where the repository's objects lie: under its id, and under its name from before that."""
    keys = {
        repository_key(id_, project.repository)
        for project in projects
        for id_ in (project.repository_id, 0)
    }
    return frozenset(keys).union(
        trace.repository_key for census in censuses for trace in census.traces.values()
    )


def _folder(name: str) -> str:
    return name.split("/", 2)[1]


def _known(censuses: Sequence[Census], *, retention: Retention, delay_ms: int) -> Known:
    now = min(census.at for census in censuses)
    recent = now - retention.days * DAY_MS
    traces = {id_: trace for census in censuses for id_, trace in census.traces.items()}
    return Known(
        traces=traces,
        going=frozenset(trace.id for trace in traces.values() if trace.condemned_at),
        shown=frozenset().union(*(census.named for census in censuses)),
        in_use=verdicts.in_use(traces, recent=recent),
        old=now - delay_ms,
        recent=recent,
        quiet=min([now, *(t.at_work_since for t in traces.values() if t.at_work_since)]),
        now=now,
    )


def _releases(census: Census) -> Iterator[Release]:
    for trace in census.traces.values():
        if trace.released:
            branch = trace.ref.startswith("refs/heads/") and trace.ref not in census.deleted
            yield Release(
                deployment=trace.id,
                seq=trace.seq,
                ended_at=trace.ended_at,
                branch=trace.ref if branch else "",
                production=trace.id in census.history,
                named=trace.release in census.named,
            )
