"""The fault suite: real processes, real engines, and everything that can go wrong with them.

`python -m tests.chaos` (by `scripts/chaos`) lets a storm of pushes and faults go over a bot and
workers, lets it settle, and checks each invariant from outside. It also crashes a process at each
named point (`--failpoints`), and shows that each rule that is taken out of the protocol makes tests
fail (`--mutants`).
"""
