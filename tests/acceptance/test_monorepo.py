"""Two sites from one repository, on the real processes."""

from __future__ import annotations

from typing import Any

from tests.acceptance.house import PAGE, House, until

TOML = """
[[projects]]
name = "{docs}"
root = "docs"
[[projects]]
name = "{web}"
root = "web"
watch = ["web/**"]
"""


async def test_a_push_that_touches_one_of_two_sites_builds_that_one_and_the_other_says_why(
    house: House, name: str
) -> None:
    slug = name.partition("/")[2]
    docs, web = f"{slug}-d", f"{slug}-w"
    worktree = house.repository(name)

    async def records(sha: str, count: int) -> dict[str, dict[str, Any]]:
        found: list[dict[str, Any]] = []

        async def all_there() -> bool:
            nonlocal found
            found = [each for each in await house.deployments() if each["commit"] == sha]
            return len(found) == count

        await until(all_there)
        return {each["project"]: await house.ended(each["id"]) for each in found}

    def told(sha: str) -> dict[str, tuple[str, str]]:
        last = {each.context: each for each in house.github.statuses(sha)}
        return {name: (each.state, each.description or "") for name, each in last.items()}

    first = await house.push(
        worktree,
        {
            "pushlane.toml": TOML.format(docs=docs, web=web),
            "docs/index.html": PAGE.format("docs one"),
            "web/index.html": PAGE.format("web one"),
        },
    )
    found = await records(first, 3)
    assert {project: each["status"] for project, each in found.items()} == {
        slug: "skipped", docs: "ready", web: "ready"
    }  # fmt: skip
    await house.shows(docs, "docs one")
    await house.shows(web, "web one")

    second = await house.push(worktree, {"docs/index.html": PAGE.format("docs two")})
    found = await records(second, 3)
    assert found[docs]["status"] == "ready"
    assert found[web]["status"] == "skipped"
    await house.shows(docs, "docs two")
    await house.shows(web, "web one")

    async def all_told() -> bool:
        states = [state for state, _ in told(second).values()]
        return len(states) == 3 and set(states) == {"success"}

    await until(all_told)
    words = told(second)
    why = "Skipped: nothing changed in web/** since the last deployed commit"
    assert words[f"pushlane/{web}"] == ("success", why)
    assert words[f"pushlane/{docs}"][1].startswith("Ready in")
    assert words[f"pushlane/{slug}"][1].startswith("Skipped: the projects of pushlane.toml are")

    delivery = await house.call("GET", f"/api/v1/deliveries/{found[slug]['delivery']}")
    ids = {each["id"] for each in found.values()}
    assert set(delivery.json()["deployments"]) == ids
    again = await house.call("POST", f"/api/v1/deliveries/{found[slug]['delivery']}/redeliver")
    assert set(again.json()["deployments"]) == ids
