"""The rules of what keeps the ledger whole: epoch, saving, restoring, collecting, catching up."""

from __future__ import annotations

from typing import Final

from tests.failing.mutants import NEVER, Mutant

MUTANTS: Final = (
    Mutant(
        "epoch: verbs",
        "a ledger that has come back empty or older is written to",
        "epoch",
        "if is_behind(args.epoch, args.tick) then\n",
        "if false then\n",
        by="older::test_it_is_noticed_before_anything_is_recorded_or_shown",
    ),
    Mutant(
        "epoch: tick",
        "within one epoch, a ledger that has come back older is taken for the newest",
        "epoch",
        "epoch < their_epoch or (epoch == their_epoch and tick < tonumber(their_tick))",
        "epoch < their_epoch",
        by="older::test_it_is_noticed_before_anything_is_recorded_or_shown",
    ),
    Mutant(
        "epoch: above all",
        "a restored ledger does not number above what was seen of the lost one",
        "prelude",
        "local seq = math.max(tonumber(redis.call('HGET', project, 'seq') or '0') + 1, now)",
        "local seq = tonumber(redis.call('HGET', project, 'seq') or '0') + 1",
        by="restore::TestFlushed::test_numbers_go_on_above_those_that_were_never_saved",
    ),
    Mutant(
        "save: a move",
        "what a push moves is not saved",
        "prelude",
        "if kind ~= 'deployment' then save('alias:' .. label) end",
        "",
        by="saves::test_what_ends_and_what_moves_is_in_the_bucket_a_moment_later",
    ),
    Mutant(
        "save: a person's move",
        "what a person moves is not saved",
        "point",
        "save('alias:' .. slug)",
        "",
        by="saves::test_each_move_is_an_object_of_its_own_by_its_seq",
    ),
    Mutant(
        "save: an end",
        "how a deployment ended is not saved",
        "prelude",
        "save('deployment:' .. id)\n  fill(record.project)",
        "fill(record.project)",
        by="saves::test_an_end_is_saved_though_the_beginning_was",
    ),
    Mutant(
        "save: recheck",
        "what changed while it was being saved is never saved",
        "saved",
        "if version_of(what) == version then",
        "if true then",
        by="saves::TestLeases::test_what_changes_while_it_is_saved_stays_unsaved",
    ),
    Mutant(
        "save: lease",
        "all savers save the same",
        "lease_saves",
        "redis.call('ZADD', key('unsaved'), text(now + tonumber(args.lease)), what)",
        "",
        by="saves::TestLeases::"
        "test_nobody_else_gets_what_is_leased_and_anyone_when_the_lease_is_over",
    ),
    Mutant(
        "merge: newer alias",
        "a restoration moves an alias back to what was saved of it",
        "merge",
        "if tonumber(version_of('alias:' .. label)) >= tonumber(version) then return 'known' end",
        "",
        by="restore::test_what_is_older_than_what_is_here_is_not_merged",
    ),
    Mutant(
        "merge: withdrawn",
        "what had ended is done again in a ledger that has come back older",
        "merge",
        "if STAGES[here.status or ''] then withdraw(id, here) end",
        "",
        by="older::test_what_had_ended_is_not_done_again",
    ),
    Mutant(
        "condemned: finish",
        "a release goes live whose pack is about to be deleted",
        "finish",
        "if due then return {'condemned'} end",
        "",
        by="ledger_collection::test_no_release_goes_live_that_names_what_is_condemned",
    ),
    Mutant(
        "condemned: alias",
        "the collector gives up what an alias names",
        "condemn_release",
        "if redis.call('HGET', key('alias:' .. label), 'release') == record.release "
        "then return {'named'} end",
        "",
        by="ledger_collection::"
        "test_a_release_is_given_up_only_when_no_alias_names_it_and_production_can_spare_it",
    ),
    Mutant(
        "condemned: kept",
        "the collector gives up what production could be rolled back to",
        "condemn_release",
        "if rank and rank < tonumber(args.keep) then return {'kept'} end",
        "",
        by="ledger_collection::"
        "test_a_release_is_given_up_only_when_no_alias_names_it_and_production_can_spare_it",
    ),
    Mutant(
        "condemned: point",
        "a person moves production to what is about to be deleted",
        "point",
        "if (condemned_at or '0') ~= '0' then return {'release_gone'} end",
        "",
        by="ledger_collection::test_nobody_can_bring_back_what_is_given_up",
    ),
    Mutant(
        "collector: lease",
        "a collector that was late condemns beside the next one",
        "condemn",
        "if redis.call('GET', key('collector')) ~= args.lease then return {'lost'} end",
        "",
        by="ledger_collection::test_who_has_lost_its_lease_condemns_nothing",
    ),
    Mutant(
        "catch-up: is_overtaken",
        "a look that was slow stands above what was delivered meanwhile",
        "prelude",
        "return redis.call('EXISTS', key('project:' .. slug)) == 0\n"
        "    or (redis.call('HGET', key('heads:' .. slug), ref) or '') ~= known",
        "return false",
        by="ledger_rounds::test_what_came_since_the_heads_were_compared_has_the_word",
    ),
    Mutant(
        "catch-up: one at a time",
        "all bots look at all branches at once",
        "round",
        "if (holder or '') ~= '' and tonumber(ends_at) > now then",
        NEVER,
        by="ledger_rounds::test_one_process_at_a_time_has_a_round_and_the_next_waits_until_it_is_due",
    ),
    Mutant(
        "catch-up: found",
        "the late delivery of what was found already is deployed again",
        "record",
        "if twin and was_found(twin, push) then",
        NEVER,
        by="ledger_rounds::"
        "test_the_late_delivery_of_what_was_found_and_is_newest_no_more_is_the_same_one",
    ),
)
