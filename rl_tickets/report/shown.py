"""What counts as shown, and how tables tell it: bold, or that there are too few seeds."""

from rl_tickets.evaluation.contrasts import Contrast

from .judging import TOO_FEW
from .wording import between, p_cell

LEVEL = 0.05
"""Of significance."""


def is_shown(found: Contrast, p: float) -> bool:
    """Whether a difference is shown; `p` is adjusted for those that it stands among."""
    return found.enough and p < LEVEL


def emphasised(found: Contrast, p: float) -> str:
    """The difference and its interval, bold where it is shown."""
    text = between(found.difference, found.interval)
    return f"**{text}**" if is_shown(found, p) else text


def p_or_few(found: Contrast, p: float) -> str:
    """The adjusted p under a column's heading, where there are seeds enough for one."""
    return p_cell(p) if found.enough else TOO_FEW
