"""Who gets a secret, what one may be, and that it opens nowhere but where it was set."""

from __future__ import annotations

import pytest

from bot.core.deployment import Deployment, Status
from bot.core.errors import Errored, Rejected
from bot.core.secrets import (
    Context,
    Held,
    Keyring,
    Sealed,
    check_name,
    check_value,
    context_of,
    secrets_for,
)

OWNER = "site:1700000000000"


def a_deployment(ref: str, *, production: bool = False, repository_id: int = 7) -> Deployment:
    return Deployment(
        id="d1",
        status=Status.BUILDING,
        project="site",
        repository="acme/site",
        repository_id=repository_id,
        ref=ref,
        seq=1,
        production=production,
    )


@pytest.mark.parametrize(
    ("ref", "production", "context"),
    [
        ("refs/heads/main", True, Context.PRODUCTION),
        ("refs/heads/topic", False, Context.PREVIEW),
        ("refs/tags/v1", False, Context.PREVIEW),
        ("refs/pull/5/head", False, None),
        ("refs/pull/5/head", True, None),
        ("0123456789012345678901234567890123456789", False, None),
        ("HEAD", True, None),
        ("", False, None),
    ],
)
def test_what_may_be_a_forks_has_no_context(
    ref: str, production: bool, context: Context | None
) -> None:
    assert context_of(a_deployment(ref, production=production)) is context


def test_a_build_gets_the_secrets_of_its_context_and_no_others() -> None:
    keyring = Keyring("a key")
    held = Held(
        owner=OWNER,
        repository_id=7,
        sealed=tuple(
            Sealed(
                name="KEY",
                context=context,
                token=keyring.seal(f"of {context}", owner=OWNER, context=context, name="KEY"),
                updated_at=1,
            )
            for context in Context
        ),
    )
    main, pull = a_deployment("refs/heads/main", production=True), a_deployment("refs/pull/5/head")
    assert secrets_for(main, held, keyring) == {"KEY": "of production"}
    assert secrets_for(a_deployment("refs/heads/x"), held, keyring) == {"KEY": "of preview"}
    assert secrets_for(pull, held, Keyring("")) == {}
    # Recorded of a repository that bore the name before.
    other = a_deployment("refs/heads/main", production=True, repository_id=8)
    assert secrets_for(other, held, keyring) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"owner": "other:1700000000000"},
        {"owner": "site:1700000000001"},
        {"context": Context.PREVIEW},
        {"name": "OTHER"},
    ],
)
def test_moved_elsewhere_it_does_not_open(change: dict[str, str]) -> None:
    keyring = Keyring("a key")
    place = {"owner": OWNER, "context": Context.PRODUCTION, "name": "KEY"}
    token = keyring.seal("a value", **place)  # type: ignore[arg-type]
    assert "a value" not in token
    assert keyring.open(token, **place) == "a value"  # type: ignore[arg-type]
    with pytest.raises(Errored) as raised:
        keyring.open(token, **{**place, **change})  # type: ignore[arg-type]
    assert (raised.value.code, raised.value.retryable) == ("secret_key_wrong", False)


def test_the_first_key_seals_and_each_opens() -> None:
    place = {"owner": OWNER, "context": Context.PREVIEW, "name": "KEY"}
    old = Keyring("old").seal("a value", **place)  # type: ignore[arg-type]
    both = Keyring("new, old")
    assert both.open(old, **place) == "a value"  # type: ignore[arg-type]
    new = both.seal("a value", **place)  # type: ignore[arg-type]
    assert Keyring("new").open(new, **place) == "a value"  # type: ignore[arg-type]
    with pytest.raises(Errored):
        Keyring("new").open(old, **place)  # type: ignore[arg-type]


def test_without_a_key_it_says_what_to_set() -> None:
    place = {"owner": OWNER, "context": Context.PREVIEW, "name": "KEY"}
    with pytest.raises(Rejected, match="set PUSHLANE_SECRET_KEY"):
        Keyring(" , ").seal("a value", **place)  # type: ignore[arg-type]
    with pytest.raises(Errored, match="PUSHLANE_SECRET_KEY") as raised:
        Keyring("").open("AAAA", **place)  # type: ignore[arg-type]
    assert raised.value.code == "secret_key_missing"


@pytest.mark.parametrize("token", ["", "AAAA", "no base64!", "A" * 40])
def test_what_is_no_token_does_not_open(token: str) -> None:
    with pytest.raises(Errored, match="opens"):
        Keyring("a key").open(token, owner=OWNER, context=Context.PREVIEW, name="KEY")


@pytest.mark.parametrize(
    "name",
    ["", "1A", "A-B", "A B", "Ä", "A" * 129, "PATH", "home", "CI", "PUSHLANE_X", "https_proxy"],
)
def test_a_name_that_no_secret_can_have_is_refused(name: str) -> None:
    with pytest.raises(Rejected) as raised:
        check_name(name)
    assert raised.value.code == "secret_name_invalid"


@pytest.mark.parametrize("name", ["API_KEY", "_x", "NPM_TOKEN", "npm_config__auth", "URL_OF_IT"])
def test_other_names_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "value", ["", "tiny!", " tiny! ", "a\0bcdefgh", "x" * 65_537, "\ud800abcdef"]
)
def test_a_value_that_cannot_be_given_or_hidden_is_refused(value: str) -> None:
    with pytest.raises(Rejected) as raised:
        check_value(value)
    assert raised.value.code == "secret_value_invalid"
    assert not value or value not in raised.value.message
