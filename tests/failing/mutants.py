"""The protocol with one rule taken out: each mutant is a change of a script's text, or of a call.

Nothing in the product can be switched so: the text is changed where it is read, by a test.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from bot.core.ledger import connection

MUTANT: Final = "FAILING_MUTANT"
"""The variable by which `python -m tests.failing` is told which mutant to be."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule that is taken out. `old` stands exactly once in the verb's text, prelude included."""

    name: str
    rule: str
    """What the protocol loses."""
    verb: str = ""
    """The script that is changed; `prelude` is in all of them."""
    old: str = ""
    new: str = ""


_NEVER: Final = "if false then"

MUTANTS: Final = (
    Mutant(
        "sweep: expired leases",
        "the sweep: a lease that has passed is never noticed",
        "sweep",
        "redis.call('ZRANGEBYSCORE', key('active'), '-inf', text(now), 'LIMIT', 0, limit)",
        "{}",
    ),
    Mutant(
        "sweep: due retries",
        "the sweep: a retry never comes due",
        "sweep",
        "redis.call('ZRANGEBYSCORE', key('delayed'), '-inf', text(now), 'LIMIT', 0, limit)",
        "{}",
    ),
    Mutant(
        "sweep: stop",
        "the sweep forgets that a deployment was asked to stop",
        "sweep",
        "if not obey_stop(id) then",
        "if true then",
    ),
    Mutant("sweep: call", "the sweep: nobody calls it"),
    Mutant(
        "re-ringing",
        "a doorbell that was popped and never answered is not rung again",
        "sweep",
        "if misses >= 2 then",
        _NEVER,
    ),
    Mutant(
        "fence: finish",
        "a claim that was lost may end the deployment",
        "finish",
        "if record.claim ~= args.claim then return {'lost'} end",
        "",
    ),
    Mutant(
        "fence: advance",
        "a claim that was lost may take it to the next stage",
        "advance",
        "if record.claim ~= args.claim or not includes(",
        "if not includes(",
    ),
    Mutant(
        "fence: append",
        "a claim that was lost may write to the log",
        "append",
        "if get(args.id, 'claim') ~= args.claim or args.claim == '' then",
        _NEVER,
    ),
    Mutant(
        "fence: extend",
        "a claim that was lost is told to go on",
        "extend",
        "if claim ~= args.claim then return {'lost'} end",
        "",
    ),
    Mutant(
        "fence: retry",
        "a claim that was lost may put it back",
        "retry",
        "if get(id, 'claim') ~= args.claim or args.claim == '' then",
        _NEVER,
    ),
    Mutant(
        "fence: give_back",
        "a claim that was lost may give it back",
        "give_back",
        "if record.claim ~= args.claim or args.claim == '' then",
        _NEVER,
    ),
    Mutant(
        "claim: busy",
        "two deployments of a branch are in one stage at once",
        "claim",
        "if busy(record.project, record.ref, args.stage) then",
        _NEVER,
    ),
    Mutant(
        "claim: attempts",
        "attempts are not counted",
        "claim",
        "redis.call('HINCRBY', record_key(id), args.stage .. '_attempts', 1)",
        "",
    ),
    Mutant(
        "retry: maximum",
        "poison is tried for ever",
        "prelude",
        "if attempts >= maximum then",
        _NEVER,
    ),
    Mutant(
        "give_back: uncounted",
        "ending on request consumes an attempt",
        "give_back",
        "redis.call('HINCRBY', record_key(id), STAGES[record.status] .. '_attempts', -1)",
        "",
    ),
    Mutant(
        "body dedupe",
        "the same body under another GUID is another push",
        "record",
        "local seen = redis.call('GET', body)\nif seen and seen ~= '' then",
        f"local seen\n{_NEVER}",
    ),
    Mutant(
        "GUID dedupe",
        "the same GUID is another push",
        "record",
        "if seen and seen ~= '' then return {'repeated', seen} end",
        "",
    ),
    Mutant(
        "newest-commit dedupe",
        "a push that the catch-up was quicker with is deployed again",
        "record",
        "if newest.commit == args.after and (newest.deployment or '') ~= '' then",
        _NEVER,
    ),
    Mutant(
        "order by pushed_at",
        "pushes count in the order of their arrival",
        "record",
        "late = theirs > ours or (",
        "late = (",
    ),
    Mutant(
        "order within a second",
        "pushes of one second count in the order of their arrival",
        "record",
        " or (theirs == ours and args.after == newest.before and not follows)",
        "",
    ),
    Mutant(
        "deletion: order",
        "a late deletion takes a branch down that was made again",
        "remove",
        "if theirs > ours or again then",
        _NEVER,
    ),
    Mutant(
        "seq check in move",
        "an older build moves an alias back",
        "prelude",
        "if tonumber(theirs or '0') >= tonumber(seq) then return 'newer' end",
        "",
    ),
    Mutant(
        "pin check in move",
        "a push moves production though it is pinned",
        "prelude",
        "if pinned == '1' then return 'pinned' end",
        "",
    ),
    Mutant(
        "supersede",
        "a newer push leaves the older ones waiting",
        "advance",
        "stop(older, 'superseded', 'a newer push of this branch came')",
        "",
    ),
    Mutant(
        "supersede: retry",
        "a retry comes back although a newer push has gone ahead",
        "prelude",
        "if record.trigger == 'push' and ahead > tonumber(record.seq) then",
        _NEVER,
    ),
    Mutant(
        "stop check in finish",
        "what was cancelled goes live all the same",
        "finish",
        "if obey_stop(id) then return answer('finished', id) end",
        "",
    ),
    Mutant(
        "redeploy: newest",
        "an old commit that is built anew goes live",
        "finish",
        "record.trigger ~= 'redeploy' or ref_commit == record.commit",
        "true",
    ),
    Mutant(
        "finish: repeated",
        "an end whose answer was lost cannot be asked for again",
        "finish",
        "if record.ended_claim == args.claim and args.claim ~= '' then "
        "return answer('finished', id) end",
        "",
    ),
    Mutant(
        "request: once",
        "one Idempotency-Key asks twice",
        "request",
        "if seen then return {'repeated', seen} end",
        "",
    ),
    Mutant(
        "report: recheck",
        "what changed while GitHub was being told is never told",
        "told",
        "if version ~= args.version then",
        _NEVER,
    ),
    Mutant(
        "report: lease",
        "a reporter that is late says that GitHub knows",
        "told",
        "if lease ~= args.lease then",
        _NEVER,
    ),
    Mutant(
        "fairness",
        "one project's branches fill the lists",
        "prelude",
        "local LIMIT = 5",
        "local LIMIT = 1000",
    ),
)


def named(name: str) -> Mutant:
    """The mutant of this name; KeyError when there is none."""
    return {mutant.name: mutant for mutant in MUTANTS}[name]


def text_of(mutant: Mutant, verb: str) -> str:
    """The verb's script with the rule taken out where it stands there."""
    text, _ = _original(verb)
    if mutant.verb not in (verb, "prelude"):
        return text
    assert text.count(mutant.old) == 1, f"{mutant.name}: {mutant.old!r} stands not once in {verb}"
    return text.replace(mutant.old, mutant.new)


_original: Final = connection._script


def apply(mutant: Mutant) -> Callable[[], None]:
    """Takes the rule out of this process; what it answers puts it back."""
    if mutant.name == "sweep: call":
        return _nobody_sweeps()

    @cache
    def script(verb: str) -> tuple[str, str]:
        text = text_of(mutant, verb)
        return text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    connection._script = script

    def back() -> None:
        connection._script = _original

    return back


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """The rule is out while the body lasts."""
    back = apply(mutant)
    try:
        yield
    finally:
        back()


def _nobody_sweeps() -> Callable[[], None]:
    """The loops of bot and worker that call the sweep wait for ever."""
    import bot.app
    import worker.__main__

    owners: tuple[Any, ...] = (bot.app.Bot, worker.__main__)
    before = [owner._sweep for owner in owners]

    async def for_ever(_: object) -> None:
        await asyncio.Event().wait()

    for owner in owners:
        owner._sweep = for_ever

    def back() -> None:
        for owner, original in zip(owners, before, strict=True):
            owner._sweep = original

    return back
