"""`python -m tests.failing bot|worker`: the real process, which dies at a named point when told to.

Nothing in the product knows of this: known functions are wrapped here, and then the product's own
`main` goes on as ever.
"""
