"""The GitHub stand-in tells of pushes as GitHub does."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from tests.onlookers import SECRET, Receiver, git, pushed
from tests.standin import ZERO, StandIn, push_payload, sign


async def test_a_real_push_sends_a_signed_event_of_the_whole_shape(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    tree.write({"index.html": "<h1>Ho</h1>", "docs/a.md": None, "new file.txt": "é"})
    second = tree.commit("Second\n\nwith a body")
    tree.push()
    await github.settled()

    assert len(receiver.got) == 2
    headers, body = receiver.got[1]
    expected = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    assert headers["x-hub-signature-256"] == f"sha256={expected}"
    assert headers["x-hub-signature"].startswith("sha1=")
    assert headers["x-github-event"] == "push"
    assert headers["user-agent"].startswith("GitHub-Hookshot/")
    assert headers["content-type"] == "application/json"
    created, changed = receiver.payloads()
    assert (created["before"], created["after"], created["created"]) == (ZERO, first, True)
    assert (changed["ref"], changed["before"], changed["after"]) == (
        "refs/heads/main",
        first,
        second,
    )
    assert not changed["forced"]
    assert not changed["deleted"]
    assert changed["base_ref"] is None
    [commit] = changed["commits"]
    assert commit == changed["head_commit"]
    assert (commit["added"], commit["removed"], commit["modified"]) == (
        ["new file.txt"],
        ["docs/a.md"],
        ["index.html"],
    )
    assert commit["message"] == "Second\n\nwith a body"
    assert commit["tree_id"] == tree.git("rev-parse", "HEAD^{tree}")
    repository = changed["repository"]
    assert repository["id"] == github.repository("octo/site").id
    assert isinstance(repository["pushed_at"], int)
    assert isinstance(repository["created_at"], int)
    assert repository["owner"]["login"] == "octo"
    assert repository["master_branch"] == "main"
    assert len(repository) > 80
    assert [each.status_code for each in github.deliveries] == [202, 202]
    assert github.deliveries[1].answer == {"deployment": "one"}


def test_the_signature_is_the_one_of_githubs_documentation() -> None:
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert sign(b"Hello, World!", SECRET) == expected


async def test_branches_tags_forced_pushes_and_deletions_are_told_apart(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    tree.switch("feat/x")
    tree.push("feat/x")
    tree.commit("Second")
    tree.push("feat/x")
    tree.reset(first)
    tree.push("feat/x", force=True)
    tree.delete_branch("feat/x")
    tree.tag("v1", message="One")
    tree.push("refs/tags/v1", source="v1")
    await github.settled()

    _, made, forward, forced, deleted, tag = receiver.payloads()
    assert (made["ref"], made["created"], made["commits"]) == ("refs/heads/feat/x", True, [])
    assert made["base_ref"] == "refs/heads/main"
    assert made["head_commit"]["id"] == first
    assert not forward["forced"]
    assert forced["forced"]
    assert forced["after"] == first
    assert forced["commits"] == []
    assert deleted["deleted"]
    assert deleted["after"] == ZERO
    assert deleted["head_commit"] is None
    assert tag["ref"] == "refs/tags/v1"
    assert tag["head_commit"]["id"] == first
    assert tag["after"] == tree.git("rev-parse", "v1") != first


async def test_a_refused_push_is_no_event(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    tree.commit("Second")
    tree.push()
    tree.reset(first)
    with pytest.raises(subprocess.CalledProcessError):
        tree.push()
    await github.settled()
    assert len(receiver.got) == 2


async def test_a_large_push_streams_through(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, _ = pushed(github, tmp_path)
    noise = os.urandom(8 << 20)
    tree.write({"noise.bin": noise})
    sha = tree.commit("Noise")
    tree.push()
    await github.settled()
    assert receiver.payloads()[-1]["after"] == sha
    clone = tmp_path / "clone"
    done, error = git(tmp_path, "clone", "--quiet", f"{github.url}/octo/site", str(clone))
    assert done.returncode == 0, error
    assert (clone / "noise.bin").read_bytes() == noise


async def test_deliveries_are_redelivered_held_reordered_doubled_and_form_encoded(
    github: StandIn, receiver: Receiver, tmp_path: Path
) -> None:
    tree, first = pushed(github, tmp_path)
    await github.settled()
    again = await github.redeliver(github.deliveries[0].guid)
    assert again.redelivery
    assert receiver.got[1][1] == receiver.got[0][1]
    assert receiver.got[1][0]["x-github-delivery"] == receiver.got[0][0]["x-github-delivery"]

    github.hook.hold = True
    second, third = [(tree.commit(str(n)), tree.push())[0] for n in range(2)]
    await github.settled()
    assert len(receiver.got) == 2
    github.hook.hold = False
    await github.release("reversed")
    assert [each["after"] for each in receiver.payloads()[2:]] == [third, second]

    github.hook.form, github.hook.duplicates = True, 1
    fourth = tree.commit("form")
    tree.push()
    await github.settled()
    (headers, body), (doubled, _) = receiver.got[4:]
    assert headers["content-type"] == "application/x-www-form-urlencoded"
    assert headers["x-hub-signature-256"] == sign(body, SECRET)
    assert headers["x-github-delivery"] == doubled["x-github-delivery"]
    assert json.loads(parse_qs(body.decode())["payload"][0])["after"] == fourth

    github.hook.enabled = False
    tree.commit("unheard")
    tree.push()
    await github.settled()
    assert len(receiver.got) == 6
    assert first != fourth


async def test_an_event_can_be_sent_as_one_likes(github: StandIn, receiver: Receiver) -> None:
    github.create_repository("octo/site")
    github.repository("octo/site").pushed_at_override = 1_700_000_000
    sent = await github.send_push("octo/site", after="b" * 40, guid="one", message="Made up")
    payload = receiver.payloads()[0]
    assert payload["repository"]["pushed_at"] == 1_700_000_000
    assert payload["head_commit"]["message"] == "Made up"
    assert sent.guid == "one"
    await github.send_push("octo/site", after="c" * 40, pushed_at=5)
    assert receiver.payloads()[1]["repository"]["pushed_at"] == 5
    raw = json.dumps(push_payload(repository="octo/other", after=ZERO, before="d" * 40)).encode()
    await github.send_event("push", raw, headers={"X-Hub-Signature-256": None})
    assert "x-hub-signature-256" not in receiver.got[2][0]
    assert receiver.payloads()[2]["deleted"]
    ping = await github.send_ping("octo/site")
    assert ping is not None
    assert receiver.got[3][0]["x-github-event"] == "ping"
    receiver.status = 500
    failed = await github.send_ping()
    assert failed is not None
    assert failed.status_code == 500
    assert failed.status != "OK"
    github.hook.url = "http://127.0.0.1:9/"
    unreached = await github.send_ping()
    assert unreached is not None
    assert unreached.status_code == 502
