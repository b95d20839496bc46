"""Several projects of one repository: each push is recorded in every one, by its own order."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from bot.core.bucket import Bucket
from bot.core.deployment import ID, Stage, Status, Trigger, branch_label
from bot.core.errors import Stopped
from bot.core.ledger import Answer, Beside, Compared, Ending, Ledger, Request
from tests.builders import a_push, a_removal, built, claimed, commit
from tests.keeping import Kept, flush, kept
from tests.ledgers import alias_of, status_of


async def spread(ledger: Ledger, answer: Answer, *entries: str) -> tuple[Beside, ...]:
    """Intake has claimed a deployment of the main project, and its file names these entries."""
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    return await ledger.records.spread(
        held, entries or ("docs",), ref=held.ref, commit=held.commit or commit("A")
    )


async def with_docs(ledger: Ledger) -> Beside:
    """A repository whose first push, A, has named docs, and is over in the main project."""
    answer = await ledger.records.record(a_push("A", at=1))
    (docs,) = await spread(ledger, answer)
    await skipped(ledger, answer.deployment)
    return docs


async def skipped(ledger: Ledger, id_: str) -> None:
    """Ends a deployment that is claimed."""
    held = await ledger.view.deployment(id_)
    assert held is not None
    await ledger.claims.finish(held, Ending(status=Status.SKIPPED, reason="for this test"))


async def test_what_the_file_names_first_becomes_a_project_with_a_deployment_of_its_own(
    ledger: Ledger,
) -> None:
    push = a_push("A", at=1)
    answer = await ledger.records.record(push)
    assert answer.beside == ()
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    docs, web = await ledger.records.spread(held, ("docs", "web"), ref=held.ref, commit=held.commit)
    assert (docs.project, web.project, docs.is_new) == ("docs", "web", True)
    record = await ledger.view.deployment(docs.deployment)
    assert record is not None
    assert ID.fullmatch(record.id)
    assert (record.commit, record.entry, record.delivery) == (held.commit, "docs", held.delivery)
    assert (record.production, record.repository_id, record.private) == (True, 7, False)
    again = await ledger.records.spread(held, ("docs", "web"), ref=held.ref, commit=held.commit)
    assert [each.deployment for each in again] == [docs.deployment, web.deployment]
    assert not any(each.is_new for each in again)
    repeated = await ledger.records.record(push)
    assert repeated.outcome == "repeated"
    assert repeated.beside == (docs.deployment, web.deployment)


async def test_a_known_project_is_recorded_with_the_push_and_a_repeat_gives_the_same(
    ledger: Ledger,
) -> None:
    first = await with_docs(ledger)
    push = a_push("B", before="A", at=2)
    answer = await ledger.records.record(push)
    assert answer.outcome == "recorded"
    (docs,) = answer.beside
    assert docs != first.deployment
    assert await ledger.records.record(push) == Answer(
        outcome="repeated", deployment=answer.deployment, beside=(docs,)
    )
    twin = await ledger.records.record(a_push("B", before="A", at=2))
    assert (twin.outcome, twin.deployment, twin.beside) == (
        "repeated", answer.deployment, (docs,)
    )  # fmt: skip


async def test_a_late_push_is_late_in_each_project(ledger: Ledger) -> None:
    await with_docs(ledger)
    newest = await ledger.records.record(a_push("C", before="B", at=3))
    late = await ledger.records.record(a_push("B", before="A", at=2))
    assert late.outcome == "superseded"
    assert await status_of(ledger, late.beside[0]) is Status.SUPERSEDED
    assert await status_of(ledger, newest.beside[0]) is Status.RECEIVED


async def test_what_is_named_late_does_not_stand_above_a_newer_push(ledger: Ledger) -> None:
    held = await claimed(
        ledger, (await ledger.records.record(a_push("A", at=1))).deployment, Stage.FETCH
    )
    other = await ledger.records.record(a_push("T", branch="topic", at=2))
    await spread(ledger, other)
    newer = await ledger.records.record(a_push("B", before="A", at=3))
    (docs,) = await ledger.records.spread(held, ("docs",), ref=held.ref, commit=held.commit)
    assert await status_of(ledger, docs.deployment) is Status.SUPERSEDED
    assert await status_of(ledger, newer.beside[0]) is Status.RECEIVED


async def test_a_deleted_branch_is_taken_down_in_each_project(ledger: Ledger) -> None:
    await with_docs(ledger)
    topic = await ledger.records.record(a_push("T", branch="topic", at=2))
    docs = await built(ledger, Answer(outcome="recorded", deployment=topic.beside[0]))
    assert await alias_of(ledger, branch_label("topic", "docs")) == docs.id
    next_ = await ledger.records.record(a_push("U", before="T", branch="topic", at=3))
    await ledger.records.remove(a_removal("topic", before="U", at=4))
    assert await alias_of(ledger, branch_label("topic", "docs")) == ""
    for id_ in (next_.deployment, *next_.beside):
        assert await status_of(ledger, id_) is Status.CANCELLED


async def test_after_the_deletion_of_its_branch_a_deployment_spreads_no_more(
    ledger: Ledger,
) -> None:
    answer = await ledger.records.record(a_push("T", branch="topic", at=2))
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    await ledger.records.remove(a_removal("topic", before="T", at=3))
    with pytest.raises(Stopped, match="cancelled"):
        await ledger.records.spread(held, ("docs",), ref=held.ref, commit=held.commit)
    assert await ledger.view.project("docs") is None


async def test_a_name_that_another_project_bears_gets_the_main_ones_before_it(
    ledger: Ledger,
) -> None:
    await ledger.records.record(a_push("X", repository="other/docs", repository_id=8))
    docs = await with_docs(ledger)
    assert (docs.entry, docs.project) == ("docs", "site-docs")
    theirs = await ledger.view.project("docs")
    assert theirs is not None
    assert theirs.repository == "other/docs"


async def test_a_rename_keeps_all_projects(ledger: Ledger) -> None:
    await with_docs(ledger)
    answer = await ledger.records.record(a_push("B", before="A", repository="acme/new", at=2))
    assert len(answer.beside) == 1
    docs, main = await ledger.view.project("docs"), await ledger.view.project("acme/new")
    assert docs is not None
    assert main is not None
    assert (docs.repository, main.slug, docs.main) == ("acme/new", "site", "site")


async def test_the_catch_up_finds_a_push_in_each_project_once(ledger: Ledger) -> None:
    await with_docs(ledger)
    found = a_push("B", before="A", at=5)
    ids = {}
    for slug in ("site", "docs"):
        entry = (await ledger.rounds.heads(slug)).known["refs/heads/main"].entry
        answer = await ledger.records.record(found, compared=Compared(project=slug, known=entry))
        assert answer.outcome == "recorded"
        ids[slug] = answer.deployment
    (docs,) = await spread(ledger, Answer(outcome="recorded", deployment=ids["site"]))
    assert docs.deployment == ids["docs"]
    delivered = await ledger.records.record(found)
    assert (delivered.outcome, delivered.deployment) == ("repeated", ids["site"])
    assert delivered.beside == (ids["docs"],)


async def test_a_find_that_was_spread_is_found_no_second_time(ledger: Ledger) -> None:
    await with_docs(ledger)
    found = a_push("B", before="A", at=5)
    known = {slug: await ledger.rounds.heads(slug) for slug in ("site", "docs")}
    entry = known["site"].known["refs/heads/main"].entry
    answer = await ledger.records.record(found, compared=Compared(project="site", known=entry))
    (docs,) = await spread(ledger, answer)
    entry = known["docs"].known["refs/heads/main"].entry
    again = await ledger.records.record(found, compared=Compared(project="docs", known=entry))
    assert again.outcome == "overtaken"
    heads = await ledger.rounds.heads("docs")
    assert heads.known["refs/heads/main"].commit == found.after
    delivered = await ledger.records.record(found)
    assert (delivered.outcome, delivered.beside) == ("repeated", (docs.deployment,))


async def test_what_a_person_deploys_by_the_repository_is_all_of_it(ledger: Ledger) -> None:
    answer = await ledger.records.request(Request(repository="acme/site", ref="refs/heads/main"))
    held = await claimed(ledger, answer.deployment, Stage.FETCH)
    (docs,) = await ledger.records.spread(
        held, ("docs",), ref=held.ref, commit=commit("A"), default_branch="main"
    )
    record = await ledger.view.deployment(docs.deployment)
    assert record is not None
    assert (record.trigger, record.commit, record.production) == (
        Trigger.MANUAL, commit("A"), True
    )  # fmt: skip


async def test_one_deployment_anew_is_that_one_alone(ledger: Ledger) -> None:
    first = await ledger.records.record(a_push("A", at=1))
    await spread(ledger, first)
    asked = Request(
        project="site",
        ref="refs/heads/main",
        commit=commit("A"),
        trigger=Trigger.REDEPLOY,
        redeploy_of=first.deployment,
    )
    await skipped(ledger, first.deployment)
    again = await ledger.records.request(asked)
    docs, web = await spread(ledger, again, "docs", "web")
    assert (docs.deployment, docs.is_new) == ("", False)
    assert (web.deployment != "", web.is_new) == (True, True)


async def test_one_projects_rollback_leaves_the_others(ledger: Ledger) -> None:
    first = await with_docs(ledger)
    one = await built(ledger, Answer(outcome="recorded", deployment=first.deployment))
    answer = await ledger.records.record(a_push("B", before="A", at=2))
    two = await built(ledger, Answer(outcome="recorded", deployment=answer.beside[0]))
    assert await alias_of(ledger, "docs") == two.id
    move = await ledger.aliases.rollback("docs")
    assert (move.deployment, move.pinned) == (one.id, True)
    assert await ledger.aliases.get("site") is None


@pytest.fixture
async def own(redis_url: str, prefix: str, bucket: Bucket) -> AsyncIterator[Kept]:
    async with kept(redis_url, prefix, bucket) as found:
        yield found


async def test_a_lost_ledger_comes_back_with_all_its_projects(own: Kept) -> None:
    first = await with_docs(own.ledger)
    await built(own.ledger, Answer(outcome="recorded", deployment=first.deployment))
    await own.saved()
    await flush(own.ledger)
    await own.whole_after_refusal()
    main, docs = await own.ledger.view.project("acme/site"), await own.ledger.view.project("docs")
    assert main is not None
    assert docs is not None
    assert (main.slug, docs.main, docs.entry) == ("site", "site", "docs")
    assert await alias_of(own.ledger, "docs") == first.deployment
    answer = await own.ledger.records.record(a_push("B", before="A", at=2))
    assert len(answer.beside) == 1
    found, _ = await own.ledger.view.deployments(project="docs")
    assert [each.id for each in found] == [answer.beside[0], first.deployment]
