"""The invariants I1 to I15 of the queue protocol and S14 of the bucket, functions of evidence."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from tests.chaos.evidence import Evidence, Violation
from tests.chaos.invariants import kept, outside, records, sites

Check = Callable[[Evidence], Iterator[Violation]]

CHECKS: Final[Mapping[str, Check]] = {
    "I1": records.each_acknowledged_delivery_has_one_record,
    "I2": records.every_record_ends_and_every_index_is_empty,
    "I3": records.there_is_one_end_and_attempts_stay_in_bounds,
    "I4": sites.aliases_name_whole_releases_of_accepted_claims,
    "I5": sites.aliases_only_go_forward_and_the_newest_is_live,
    "I6": sites.nothing_of_a_fenced_claim_is_seen,
    "I7": records.repeats_are_one_and_real_pushes_are_none,
    "I8": sites.what_was_stopped_never_goes_live_and_dies_in_time,
    "I9": records.poison_dies_after_its_attempts_while_others_flow,
    "I10": records.indexes_fit_the_records,
    "I11": outside.redis_away_is_said_soon_and_is_got_over,
    "I12": sites.every_release_is_whole,
    "I13": outside.github_is_told_in_order_in_time_and_to_the_end,
    "I14": outside.ending_on_request_costs_no_attempt,
    "I15": outside.no_secret_is_seen,
    "S14": kept.what_ended_and_what_moved_is_saved,
}


def violations(evidence: Evidence) -> list[Violation]:
    """Everything that does not hold."""
    return [found for check in CHECKS.values() for found in check(evidence)]
