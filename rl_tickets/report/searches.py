"""The searches of an experiment, as experiment.json describes them: which there are, and which control others."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from rl_tickets.search.plan import DENSE
from rl_tickets.tickets.identity import text_of

from .rows import Run, label

ENDING = ("type", "early_bird", "at")
"""Settings of a search that say when its runs end, and which of its tickets are tested."""


@dataclasses.dataclass(frozen=True)
class Described:
    """One search."""

    name: str
    plan: str = ""
    """Class of its plan, or empty where experiment.json does not say it."""
    settings: str = ""
    """All that makes it what it is, in a line of text."""
    control_of: str | None = None
    """The search whose tickets it is a control of."""
    aside: tuple[str, ...] = ()
    """Variants that only serve the search, and are not to be judged."""
    looks_for: str = ""
    """Its settings without those that end runs early: searches that agree in it look for the same tickets."""

    @classmethod
    def of(cls, name: str, described: object) -> Self:
        """From its entry in experiment.json: plain data, or the line of text that format 1 had.

        >>> Described.of("twin", {"plan": "Control", "settings": {"make": "random_mask"}, "control_of": "imp"}).settings
        'Control(make=random_mask)'
        """
        if not isinstance(described, dict):
            return cls._of_text(name, str(described))
        plan, control_of = str(described.get("plan", "")), described.get("control_of")
        settings = described.get("settings")
        text = text_of({"type": plan, **settings}) if isinstance(settings, dict) else str(settings or "")
        aside = tuple(map(str, described.get("aside", ())))
        kept = settings if isinstance(settings, dict) else {}
        looks_for = text_of({key: value for key, value in kept.items() if key not in ENDING})
        return cls(name, plan, text, None if control_of is None else str(control_of), aside, looks_for)

    @classmethod
    def _of_text(cls, name: str, text: str) -> Self:
        text = re.sub(r"^Spoiled\(", "Control(", text)
        plan, source = re.match(r"(\w+)\(", text), re.search(r"^Control\(.*\bof='([^']*)'", text)
        return cls(name, plan[1] if plan else "", text, source[1] if source else None)


@dataclasses.dataclass(frozen=True)
class Searches:
    """All searches in the experiment's order; those of rows that experiment.json does not mention come last, by name.

    A search is told by its label here, `search` or `search:variant`: each variant is summed up apart.
    """

    described: Mapping[str, Described]
    """Label -> search."""
    aside: tuple[str, ...] = ()
    """Labels of variants that only serve a search."""

    @classmethod
    def of(cls, settings: Mapping[str, Any], runs: Iterable[Run]) -> Self:
        """From the experiment's settings and the runs there are."""
        entries = settings.get("searches")
        known = {
            name: Described.of(name, entry) for name, entry in (entries if isinstance(entries, dict) else {}).items()
        }
        variants = sorted({(run.search, run.variant) for run in runs if run.search != DENSE})
        variants += [(name, "") for name in known if name not in {search for search, _ in variants}]
        variants.sort(key=lambda variant: [*known, variant[0]].index(variant[0]))
        found = {each: known.get(each[0], Described(each[0])) for each in variants}
        judged = {label(*each): described for each, described in found.items() if each[1] not in described.aside}
        return cls(judged, tuple(label(*each) for each, described in found.items() if each[1] in described.aside))

    @property
    def labels(self) -> list[str]:
        """In the experiment's order."""
        return list(self.described)

    @property
    def first_controls_last(self) -> list[str]:
        """The searches, then their controls: the order in which plots give out colours."""
        return sorted(self.labels, key=lambda label: self.described[label].control_of is not None)

    @property
    def proper(self) -> list[str]:
        """Those that are no controls."""
        return [label for label in self.labels if self.described[label].control_of is None]
