"""What studies of several experiments share: a command line, and pages that say by which command they were made."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, TypeVar

import tyro

from rl_tickets.lab.command_line import called_script
from rl_tickets.lab.user_errors import mendable
from rl_tickets.tickets.archive import write_whole


@dataclass(frozen=True)
class Asked:
    """What the command line asks of a study."""

    seeds: int = 20
    """Training seeds; another number needs a folder of its own."""
    jobs: int = 2
    """Worker processes, each with one torch thread."""
    out: Path = Path("results")
    """Folder of the results."""
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Two seeds and few steps, to show that everything works; it proves nothing."""
    usual: Annotated["Asked | None", tyro.conf.Suppress] = None
    """What the script does where nothing is asked; None: as here."""

    @property
    def folder(self) -> Path:
        """Of the results; one of its own for what proves nothing."""
        return self.out.with_name(f"{self.out.name}_smoke") if self.smoke else self.out

    @property
    def command(self) -> str:
        """The command line that gives these results again, without what does not change them."""
        words, usual = ["python", called_script()], self.usual or type(self)()
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name not in ("jobs", "out", "usual") and value != getattr(usual, field.name):
                words += [f"--{field.name}", *([] if value is True else [str(value)])]
        return " ".join(words)

    def publish(self, parts: Iterable[str], page: str = "report.md") -> None:
        """Writes the paragraphs as a page of the results, and prints them."""
        text = "\n\n".join(parts) + "\n"
        write_whole(self.folder / page, text.encode())
        print(text)


Some = TypeVar("Some", bound=Asked)


def conduct(study: Callable[[Some], None], usual: Some, *, extra: str | None = None) -> None:
    """The command line of a script: the study, as it is asked for.

    Killed and started again, a study goes on where it was; what a user can mend ends with one sentence.

    Args:
        study: its docstring describes it.
        usual: what is asked where nothing else is.
        extra: the extra of this package that brings the environment.
    """
    asked = tyro.cli(type(usual), default=usual, description=study.__doc__)
    with mendable(extra=extra):
        study(replace(asked, usual=usual))
