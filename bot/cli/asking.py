"""What the command asks for at a terminal and does not show: a token, a secret's value."""

from __future__ import annotations

import getpass

import typer


def unseen(words: str) -> str:
    """What is typed on one line, without its end; asked again while it is empty.

    Raises `typer.Abort` where the terminal ends. The echo is off before `words` are drawn: what is
    typed earlier is thrown away, so whoever types by a program waits for them.
    """
    # Not typer.prompt, which draws first: an answer that came at once was shown, and lost.
    try:
        while not (found := getpass.getpass(f"{words}: ")):
            pass
    except EOFError:
        raise typer.Abort from None
    return found
