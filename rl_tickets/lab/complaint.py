"""How the command lines end when something can be mended by the user: one sentence, exit status 2."""

from typing import NoReturn

from rich.console import Console
from rich.markup import escape


def complain(sentence: object) -> NoReturn:
    """Prints the sentence to stderr and exits; an OSError's is put together from what went wrong with which file."""
    if isinstance(sentence, OSError) and sentence.filename is not None:
        sentence = f"{sentence.filename}: {sentence.strerror}"
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(sentence))}", highlight=False)
    raise SystemExit(2)
