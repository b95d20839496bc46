"""Hostile and broken repositories: a clear answer, nothing lost, nothing leaked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.acceptance.house import PAGE, House, Record
from tests.standin import push_payload


async def outcome(
    house: House, name: str, files: dict[str, str], *, symlinks: dict[str, str] | None = None
) -> Record:
    """Pushes a page, then these files; the page must still be there when they have ended."""
    worktree = house.repository(name)
    good = await house.ready(await house.push(worktree, {"index.html": PAGE.format("good")}))
    if symlinks:
        worktree.write({}, symlinks=symlinks)
    record = await house.ended(await house.push(worktree, files))
    if record["status"] != "ready":
        assert "good" in (await house.get(good["project"])).text
        assert record["error"]["message"]
        await house.states(record["commit"], last="failure")
    # The worker is as well as before.
    await house.ready(
        await house.push(
            worktree,
            {**dict.fromkeys((*files, *(symlinks or {}))), "index.html": PAGE.format("after")},
        )
    )
    await house.shows(good["project"], "after")
    return record


def build(command: str) -> dict[str, str]:
    """A site whose build is this shell command."""
    return {"pushlane.toml": f"[build]\ncommand = '''{command}'''\noutput = \"out\"\n"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        pytest.param("yes 0123456789 | head -c 100000000", "build_log_too_large", id="prints"),
        pytest.param("while :; do sleep 0.1; done", "build_timeout", id="never ends"),
        pytest.param("tail /dev/zero", "build_out_of_memory", id="eats memory"),
        pytest.param("exit 0", "output_missing", id="makes nothing"),
        pytest.param("mkdir out; ln -s /etc/passwd out/p", "output_link_outside", id="links out"),
        pytest.param("mkdir out; mkfifo out/p", "output_special", id="makes a FIFO"),
        pytest.param(
            "mkdir out; head -c 9000000 /dev/urandom > out/x", "output_too_large", id="is large"
        ),
        pytest.param(
            "mkdir out; cd out; touch $(seq 200)", "output_too_many_files", id="is many files"
        ),
    ],
)
async def test_a_build_that_does_what_it_may_not_fails_by_name(
    strict_house: House, name: str, command: str, code: str
) -> None:
    record = await outcome(strict_house, name, build(command))
    assert (record["status"], record["error"]["code"]) == ("failed", code), record


async def test_a_build_that_forks_without_end_is_ended(strict_house: House, name: str) -> None:
    record = await outcome(strict_house, name, build("f() { f | f & }; f; sleep 60"))
    assert record["status"] == "failed"
    assert record["error"]["code"] in (
        "build_too_many_processes", "build_timeout", "build_out_of_memory", "build_failed",
    )  # fmt: skip


async def test_a_build_sees_nothing_of_ours_and_changes_nothing_outside(
    strict_house: House, name: str
) -> None:
    house = strict_house
    target = house.directory / "outside"
    command = (
        "mkdir out; { env; cat /etc/shadow; cat /proc/1/environ; ls /root; "
        f"cat {house.directory}/kept/.env; touch {target}; touch /usr/bin/owned; "
        "(exec 3<>/dev/tcp/127.0.0.1/" + str(house.port) + ") && echo reached; "
        "} > out/index.html 2>&1; true"
    )
    record = await outcome(house, name, build(command))
    assert record["status"] == "ready", record
    page = (await house.get(f"{record['id']}--{record['project']}")).text
    assert "CI=1" in page
    assert "reached" not in page
    for secret in (house.token, house.secret, house.github.token):
        assert secret not in page
    for name_ in ("PUSHLANE_WEBHOOK_SECRET", "AWS_SECRET_ACCESS_KEY", "PUSHLANE_REDIS_URL"):
        assert name_ not in page
    assert not target.exists()
    assert not Path("/usr/bin/owned").exists()
    assert "root:" not in page.replace("/root:", "")


async def test_a_link_to_etc_passwd_in_a_plain_site_is_refused(
    strict_house: House, name: str
) -> None:
    record = await outcome(
        strict_house, name, {"a.html": PAGE.format("x")}, symlinks={"passwd": "/etc/passwd"}
    )
    assert (record["status"], record["error"]["code"]) == ("failed", "output_link_outside")
    assert "passwd" in record["error"]["message"]


async def test_a_secret_of_ours_that_a_build_guesses_is_masked_in_its_log(
    strict_house: House, name: str
) -> None:
    half = len(strict_house.token) // 2
    first, second = strict_house.token[:half], strict_house.token[half:]
    command = f"printf %s {first}; sleep 0.2; printf '%s\\n' {second}; mkdir out; echo x > out/a"
    record = await outcome(strict_house, name, build(command))
    shown = [
        line
        for line in (await strict_house.build_log(record["id"])).splitlines()
        if not line.startswith("$ ")
    ]
    assert strict_house.token not in "\n".join(shown)


@pytest.mark.parametrize(
    "branch", ["fix/api", "--output=pwn", "emoji-🚀", "a" * 200, "quote'\"$(id)`id`", "Ümläut"]
)
async def test_a_branch_of_any_name_is_built_and_has_a_host(
    house: House, name: str, branch: str
) -> None:
    worktree = house.repository(name)
    sha = await house.push(worktree, {"index.html": PAGE.format("here")}, branch=branch)
    record = await house.ready(sha)
    assert record["branch"] == branch
    host = record["urls"]["branch"].removeprefix("http://").partition(".")[0]
    assert len(host) <= 63
    assert "here" in (await house.get(host)).text
    assert not (Path.cwd() / "pwn").exists()
    assert not list(house.directory.rglob("pwn"))


async def test_what_git_does_not_have_is_said_in_words(house: House, name: str) -> None:
    house.repository(name)
    empty = await house.github.send_push(name, after="e" * 40)
    body = json.dumps(push_payload(repository=f"{name}-gone", after="f" * 40)).encode()
    gone = await house.github.send_event("push", body)
    for delivery, code in ((empty, "repository_empty"), (gone, "repository_not_found")):
        assert delivery.status_code == 202, delivery
        record = await house.ended(delivery.answer["deployment"])
        assert (record["status"], record["error"]["code"]) == ("failed", code)


async def test_a_sha_that_never_existed_fails_and_loses_nothing(house: House, name: str) -> None:
    worktree = house.repository(name)
    good = await house.ready(await house.push(worktree, {"index.html": PAGE.format("good")}))
    delivery = await house.github.send_push(name, before=good["commit"], after="d" * 40)
    record = await house.ended(delivery.answer["deployment"])
    assert (record["status"], record["error"]["code"]) == ("failed", "commit_not_found")
    assert "good" in (await house.get(good["project"])).text
