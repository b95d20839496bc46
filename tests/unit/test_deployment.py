"""A deployment's statuses and names."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.core.deployment import (
    ACTIVE,
    ENDED,
    ID,
    TRANSITIONS,
    WAITING,
    Deployment,
    State,
    Status,
    branch_label,
    branch_slug,
    deployment_label,
    new_claim,
    new_id,
    project_slugs,
    repository_key,
    slug_is_taken_form,
    state,
    timings,
)

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


def a_deployment(status: Status, **fields: object) -> Deployment:
    known = {"id": "d0123456789abcdef", "project": "site", "repository": "acme/site"}
    return Deployment(status=status, ref="refs/heads/main", seq=1, **known, **fields)  # type: ignore[arg-type]


class TestStatuses:
    """Each status is waiting, active or ended, and is reached as the table says."""

    def test_each_is_of_one_class(self) -> None:
        assert set(Status) == WAITING | ACTIVE | ENDED
        assert len(Status) == len(WAITING) + len(ACTIVE) + len(ENDED)

    def test_an_end_is_final(self) -> None:
        assert set(TRANSITIONS) == set(Status)
        for origins in TRANSITIONS.values():
            assert not origins & ENDED

    def test_only_a_published_one_is_ready_and_only_a_fetched_one_skipped(self) -> None:
        assert TRANSITIONS[Status.READY] == {Status.PUBLISHING}
        assert TRANSITIONS[Status.SKIPPED] == {Status.FETCHING}

    def test_whatever_has_not_ended_can_be_called_off(self) -> None:
        assert TRANSITIONS[Status.CANCELLED] == WAITING | ACTIVE
        assert TRANSITIONS[Status.SUPERSEDED] == WAITING | ACTIVE


class TestState:
    """What GitHub is told."""

    @pytest.mark.parametrize("status", sorted(WAITING | ACTIVE))
    def test_what_has_not_ended_is_pending(self, status: Status) -> None:
        assert state(a_deployment(status))[0] is State.PENDING

    @pytest.mark.parametrize(
        ("status", "fields", "told", "words"),
        [
            (Status.READY, {"received_at": 1000, "ended_at": 3540}, "success", "Ready in 2.5 s"),
            (
                Status.READY,
                {"received_at": 1, "ended_at": 1, "reason": "not live"},
                "success",
                "Ready in 0.0 s; not live",
            ),
            (Status.SKIPPED, {"reason": "[skip ci]"}, "success", "Skipped: [skip ci]"),
            (Status.SUPERSEDED, {}, "success", "Superseded: a newer push came"),
            (Status.SUPERSEDED, {"reason": "late"}, "success", "Superseded: late"),
            (Status.FAILED, {"error_message": "exit 1"}, "failure", "Failed: exit 1"),
            (Status.CANCELLED, {}, "error", "Cancelled: on request"),
            (Status.ERRORED, {"error_message": "S3"}, "error", "Error: S3"),
        ],
    )
    def test_an_end_is_told_with_its_reason(
        self, status: Status, fields: dict[str, object], told: str, words: str
    ) -> None:
        assert state(a_deployment(status, **fields)) == (State(told), words)

    @pytest.mark.parametrize("length", [131, 132, 133, 5000])
    def test_words_are_cut_to_what_github_takes(self, length: int) -> None:
        _, words = state(a_deployment(Status.FAILED, error_message="é" * length))
        assert len(words) == min(len("Failed: ") + length, 140)
        assert words.endswith("…") is (length > 132)


class TestTimings:
    """The stages that a deployment went through."""

    def test_each_lasts_until_the_next_and_the_last_until_the_end(self) -> None:
        found = timings(
            a_deployment(
                Status.READY,
                received_at=10, fetching_at=20, queued_at=30, building_at=40, publishing_at=50,
                ended_at=60,
            )
        )  # fmt: skip
        assert [(t.status.value, t.began_at, t.ended_at) for t in found] == [
            ("received", 10, 20), ("fetching", 20, 30), ("queued", 30, 40), ("building", 40, 50),
            ("publishing", 50, 60),
        ]  # fmt: skip

    def test_what_an_older_attempt_left_is_not_told(self) -> None:
        found = timings(
            a_deployment(
                Status.FAILED,
                received_at=10, fetching_at=20, queued_at=30, building_at=90, publishing_at=50,
                ended_at=95,
            )
        )  # fmt: skip
        assert [(t.status.value, t.ended_at) for t in found][-2:] == [
            ("queued", 90), ("building", 95),
        ]  # fmt: skip

    def test_what_waits_for_another_attempt_is_in_the_stage_that_it_waits_in(self) -> None:
        found = timings(
            a_deployment(
                Status.QUEUED, received_at=10, fetching_at=20, queued_at=30, building_at=40
            )
        )
        assert [(t.status.value, t.ended_at) for t in found][-2:] == [
            ("fetching", 30), ("queued", 0),
        ]  # fmt: skip


class TestIds:
    """Ids of deployments and claims."""

    def test_later_ones_sort_after_earlier_ones(self, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []
        for millisecond in (1, 2, 1_790_000_000_000, 1_790_000_000_001, 4_000_000_000_000):
            monkeypatch.setattr("time.time_ns", lambda at=millisecond: at * 1_000_000)
            made.append(new_id())
        assert made == sorted(made)

    def test_each_is_another_one_of_the_form(self) -> None:
        made = {new_id() for _ in range(1000)}
        assert len(made) == 1000
        assert all(ID.fullmatch(each) for each in made)
        assert len({new_claim() for _ in range(1000)}) == 1000
        assert re.fullmatch("[0-9a-f]{16}", new_claim())


class TestProjectSlugs:
    """The slugs that a repository's project may get."""

    @pytest.mark.parametrize(
        ("repository", "first", "second"),
        [
            ("acme/site", "site", "acme-site"),
            ("Acme/My.Site", "my-site", "acme-my-site"),
            ("acme/.github", "github", "acme-github"),
            ("acme/a--b__c", "a-b-c", "acme-a-b-c"),
            ("acme/" + "x" * 60, "x" * 40, "acme-" + "x" * 35),
        ],
    )
    def test_the_name_comes_first_then_the_owner_too(
        self, repository: str, first: str, second: str
    ) -> None:
        assert project_slugs(repository)[:2] == (first, second)

    @pytest.mark.parametrize(
        "name", ["pr-12", "xn--bcher-kva", "d0123456789abcdef", "xnylon", "---"]
    )
    def test_a_name_that_means_something_else_is_not_taken(self, name: str) -> None:
        slugs = project_slugs(f"acme/{name}")
        assert name not in slugs
        assert slugs
        assert not any(map(slug_is_taken_form, slugs))

    def test_nobody_can_know_the_last_before_it_is_taken(self) -> None:
        assert len({project_slugs("acme/site")[-1] for _ in range(100)}) == 100

    @given(st.text("xnZ0-", min_size=1, max_size=39), st.text("xnZ0._-", min_size=1))
    def test_each_is_short_and_plain(self, owner: str, name: str) -> None:
        for slug in project_slugs(f"{owner}/{name}"):
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
            assert len(slug) <= 40


class TestLabels:
    """The hosts of branches and deployments."""

    @pytest.mark.parametrize("branch", ["main", "fix-api", "a", "v123", "x" * 57])
    def test_a_plain_name_is_itself(self, branch: str) -> None:
        assert branch_label(branch, "site") == f"{branch}--site"

    @pytest.mark.parametrize(
        "branch",
        [
            "fix/api", "Fix-api", "fix_api", "fix-api-", "a--b", "de", "é", "😀", "", "--",
            "pr-12", "xn--x", "d0123456789abcdef", "x" * 58, "a/" * 100, "a-0123456789ab",
        ],
    )  # fmt: skip
    def test_any_other_name_ends_in_a_hash(self, branch: str) -> None:
        slug = branch_label(branch, "site").removesuffix("--site")
        assert re.search(r"-[0-9a-f]{12}$", slug)
        assert slug != branch
        assert "--" not in slug
        assert not slug_is_taken_form(slug)

    def test_like_names_never_meet(self) -> None:
        names = ["fix/api", "fix-api", "Fix-api", "fix_api", "fix api", "fix-api/", "fix--api"]
        assert len({branch_label(name, "site") for name in names}) == len(names)
        long = ["x" * 80 + end for end in ("", "a", "b")]
        assert len({branch_label(name, "site") for name in long}) == 3

    @pytest.mark.parametrize("branch", ["fix/api", "xn--x", "x" * 80])
    def test_a_branch_that_is_named_like_anothers_slug_does_not_meet_it(self, branch: str) -> None:
        slug = branch_slug(branch, length=57)
        assert branch_slug(slug, length=57) != slug

    @given(st.text(max_size=300), st.integers(1, 40))
    def test_every_branch_has_a_host(self, branch: str, length: int) -> None:
        label = branch_label(branch, "p" * length)
        assert LABEL.fullmatch(label)
        assert label == branch_label(branch, "p" * length)

    def test_a_deployments_own_host_is_its_id_and_the_project(self) -> None:
        label = deployment_label(new_id(), "p" * 40)
        assert LABEL.fullmatch(label)
        assert label.endswith("--" + "p" * 40)

    def test_no_branch_has_the_host_of_a_deployment(self) -> None:
        id_ = new_id()
        assert branch_label(id_, "site") != deployment_label(id_, "site")

    def test_a_slug_is_cut_before_its_hash(self) -> None:
        slug = branch_slug("feature/abcdefgh", length=22)
        assert slug.startswith("feature-a-")
        assert len(slug) == 22


def test_a_repository_is_known_by_its_id_and_else_by_its_name() -> None:
    assert repository_key(7, "acme/site") == "7"
    unknown = repository_key(0, "acme/site")
    assert re.fullmatch("n[0-9a-f]{16}", unknown)
    assert unknown == repository_key(0, "ACME/Site")
    assert unknown != repository_key(0, "acme/other")
