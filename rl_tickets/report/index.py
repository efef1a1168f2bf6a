"""README.md of a folder of results: every report with its sentence, its first plot and the command that made it."""

import re
from pathlib import Path

from rl_tickets.tickets.archive import write_whole

from .minutes import took

HEAD = """\
# Results

Each report with what it found, and the command that made it. `python scripts/report.py` writes this page.
"""


def write_index(folder: Path) -> Path:
    """Writes `folder`/README.md from the report.md of every folder in it, by name.

    The same reports give the same bytes. Raises ValueError where there is no report.
    """
    reports = sorted(folder.glob("*/report.md"))
    if not reports:
        raise ValueError(f"{folder} holds no results folder with a report.md: run an experiment into it first")
    path = folder / "README.md"
    write_whole(path, "\n".join([HEAD, *map(_entry, reports)]).encode())
    return path


def _entry(report: Path) -> str:
    text, name = report.read_text(encoding="utf-8"), report.parent.name
    parts = [f"## [{name}]({name}/report.md)"]
    if first := re.search(r"^\*\*(.+?)\*\*$", text, re.MULTILINE | re.DOTALL):
        parts.append(first[1])
    for sentence in ("Played as trained, ", "No conclusion turns around", "While training, "):
        if found := re.search(rf"^{sentence}.+$", text, re.MULTILINE):
            parts.append(found[0])
    if plot := re.search(r"^!\[([^\]]*)\]\(([^)]+)\)$", text, re.MULTILINE):
        parts.append(f"![{plot[1]}]({name}/{plot[2]})")
    if (minutes := took([report.parent])) and minutes not in text:
        parts.append(minutes)
    if command := re.search(r"^Made by\s+(?:```\n(.+?)\n```|`([^`]+)`)", text, re.MULTILINE | re.DOTALL):
        parts.append(f"```\n{command[1] or command[2]}\n```")
    return "\n\n".join(parts) + "\n"
