"""From `git push` to a live site, on the real processes."""

from __future__ import annotations

import json

from tests.acceptance.house import PAGE, House, branch_host, own_label

NPM = {
    "package.json": json.dumps(
        {
            "name": "site",
            "private": True,
            "scripts": {"build": "node build.js"},
            "dependencies": {"is-number": "7.0.0"},
        }
    ),
    "build.js": (
        "const fs = require('fs'), n = require('is-number');\n"
        "const words = fs.readFileSync('words', 'utf8');\n"
        "fs.mkdirSync('dist');\n"
        "fs.writeFileSync('dist/index.html', `built ${n(1)} ${words}`);\n"
    ),
}


async def test_a_pushed_page_is_live_on_its_three_hosts_and_the_commit_says_so(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    sha = await house.push(
        worktree, {"index.html": PAGE.format("one"), "css/a.css": "p{}"}, message="First\n\nMore"
    )
    record = await house.ready(sha)
    assert record["live"]
    assert record["production"]
    assert record["branch"] == "main"
    assert record["attempts"] == {"fetch": 1, "build": 1}
    assert [stage["name"] for stage in record["stages"]] == [
        "received", "fetching", "queued", "building", "publishing",
    ]  # fmt: skip
    for label in (record["project"], branch_host(record), own_label(record)):
        answer = await house.get(label)
        assert answer.status_code == 200, label
        assert "<h1>one</h1>" in answer.text
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert (await house.get(record["project"], "/css/a.css")).text == "p{}"
    assert (await house.get(record["project"], "/nothing")).status_code == 404

    states = await house.states(sha, last="success")
    assert states[0] == "pending"
    last = house.github.statuses(sha)[-1]
    assert last.context == f"pushlane/{record['project']}"
    assert last.target_url == record["urls"]["deployment"] == record["url"]


async def test_an_npm_site_is_built_and_the_next_push_replaces_it(house: House, name: str) -> None:
    worktree = house.repository(name)
    first = await house.push(worktree, {**NPM, "words": "one"})
    record = await house.ready(first, seconds=120)
    await house.shows(record["project"], "built true one")
    log = await house.build_log(record["id"])
    assert "npm install" in log
    assert "Fetched" in log

    second = await house.push(worktree, {"words": "two"})
    newer = await house.ready(second, seconds=120)
    await house.shows(record["project"], "built true two")
    assert "one" in (await house.get(own_label(record))).text
    assert newer["live"]
    assert not (await house.record(record["id"]))["live"]


async def test_a_push_that_breaks_the_build_leaves_the_site_and_says_failure_with_the_log(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    good = await house.ready(await house.push(worktree, {"index.html": PAGE.format("good")}))
    toml = '[build]\ncommand = "echo it broke here; exit 7"\noutput = "dist"\n'
    bad = await house.push(worktree, {"pushlane.toml": toml})
    record = await house.ended(bad)
    assert record["status"] == "failed"
    assert record["error"]["code"] == "build_failed"
    assert await house.states(bad, last="failure")
    last = house.github.statuses(bad)[-1]
    assert last.target_url == record["urls"]["page"] == record["url"]
    path = str(last.target_url).partition(f":{house.port}")[2]
    page = await house.call("GET", path)
    assert page.status_code == 200
    assert "it broke here" in page.text
    assert "good" in (await house.get(good["project"])).text


async def test_a_branch_has_a_host_of_its_own_and_loses_it_when_it_is_deleted(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    main = await house.ready(await house.push(worktree, {"index.html": PAGE.format("main")}))
    sha = await house.push(worktree, {"index.html": PAGE.format("feature")}, branch="fix/the-api")
    record = await house.ready(sha)
    assert not record["production"]
    label = branch_host(record)
    assert "feature" in (await house.get(label)).text
    assert (await house.get(label)).headers["x-robots-tag"] == "noindex"
    assert "main" in (await house.get(main["project"])).text

    worktree.delete_branch("fix/the-api")
    await house.github.settled()
    assert house.github.deliveries[-1].status_code == 200
    assert (await house.get(label)).status_code == 404
    assert "feature" in (await house.get(own_label(record))).text


async def test_a_force_push_back_to_an_older_commit_is_deployed_again(
    house: House, name: str
) -> None:
    worktree = house.repository(name)
    old = await house.push(worktree, {"index.html": PAGE.format("old")})
    record = await house.ready(old)
    await house.ready(await house.push(worktree, {"index.html": PAGE.format("new")}))
    await house.shows(record["project"], "new")
    worktree.reset(old)
    worktree.push("main", force=True)
    await house.github.settled()
    again = await house.ready(old)
    assert again["id"] != record["id"]
    await house.shows(record["project"], "old")


async def test_a_repeated_delivery_leads_to_the_same_deployment(house: House, name: str) -> None:
    house.github.hook.duplicates = 2
    try:
        sha = await house.push(house.repository(name), {"index.html": PAGE.format("once")})
    finally:
        house.github.hook.duplicates = 0
    answers = [each.answer for each in house.github.deliveries if each.payload["after"] == sha]
    assert len(answers) == 3
    assert len({answer["deployment"] for answer in answers}) == 1
    record = await house.ready(sha)
    assert len(await house.deployments(project=record["project"])) == 1
    guid = house.github.deliveries[-1].guid
    told = (await house.call("GET", f"/api/v1/deliveries/{guid}")).json()
    assert told["deployment"] == record["id"]


async def test_skip_ci_ends_as_skipped_and_the_older_page_stays(house: House, name: str) -> None:
    worktree = house.repository(name)
    record = await house.ready(await house.push(worktree, {"index.html": PAGE.format("kept")}))
    sha = await house.push(
        worktree, {"index.html": PAGE.format("unseen")}, message="Tidy [skip ci]"
    )
    skipped = await house.ended(sha)
    assert skipped["status"] == "skipped"
    assert "[skip ci]" in skipped["reason"]
    assert await house.states(sha, last="success")
    assert "kept" in (await house.get(record["project"])).text


async def test_the_source_of_a_build_is_a_real_checkout(house: House, name: str) -> None:
    worktree = house.repository(name)
    command = "git rev-parse HEAD; git log -1 --format=%s; git describe --always; readlink link"
    toml = f'[build]\ncommand = "mkdir out && ({command}) > out/index.html"\noutput = "out"\n'
    worktree.write({"pushlane.toml": toml, "a": "x"}, symlinks={"link": "a"})
    sha = await house.push(worktree, {}, message="The subject")
    record = await house.ready(sha)
    shown = (await house.get(record["project"])).text
    assert shown == f"{sha}\nThe subject\n{sha[:7]}\na\n"


async def test_a_deploy_needs_no_push_and_no_webhook(house: House, name: str) -> None:
    worktree = house.repository(name)
    house.github.hook.enabled = False
    try:
        sha = await house.push(worktree, {"index.html": PAGE.format("by hand")})
    finally:
        house.github.hook.enabled = True
    answer = await house.call("POST", "/api/v1/deployments", json={"repository": name})
    assert answer.status_code == 202
    record = await house.ready(answer.json()["id"])
    assert record["commit"] == sha
    assert record["branch"] == "main"
    assert record["production"]
    await house.shows(record["project"], "by hand")
    again = await house.call("POST", f"/api/v1/deployments/{record['id']}/redeploy")
    assert again.status_code == 202
    redeployed = await house.ready(again.json()["id"])
    assert (redeployed["commit"], redeployed["redeploy_of"]) == (sha, record["id"])


async def test_a_private_repository_is_fetched_with_the_token_which_shows_up_nowhere(
    house: House, name: str
) -> None:
    worktree = house.repository(name, private=True)
    record = await house.ready(await house.push(worktree, {"index.html": PAGE.format("secret")}))
    token = house.github.token
    page = await house.call("GET", f"/deployments/{record['id']}", headers={"Authorization": ""})
    assert page.status_code in (303, 401)
    assert token not in await house.build_log(record["id"])
    assert token not in house.log("bot") + house.log("worker")
    mirrors = house.directory / "kept" / "mirrors"
    for path in mirrors.rglob("*"):
        if path.is_file():
            assert token.encode() not in path.read_bytes()
