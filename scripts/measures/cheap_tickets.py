"""Cheap tickets, measured on any experiment: when masks settle, and what is lost by not waiting for it.

Masks are drawn all along dense training and tickets at every eighth of it (`rt.DrawnEarly`); whole searches end the
runs of every level once the next mask has settled (`rt.EarlyBirdIMP`), beside the same search without.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import rl_tickets as rt
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.report.apart import apart_maps
from rl_tickets.report.bargains import (
    Bargain,
    bargain_plot,
    bargain_table,
    by_family,
    harmless_in,
    largest_harmless,
    pooled,
)
from rl_tickets.report.drawn import Drawn, drawn_plot, drawn_table, stops_table
from rl_tickets.report.looks import save
from rl_tickets.report.minutes import took
from rl_tickets.report.tables import read_series
from rl_tickets.report.wording import between
from rl_tickets.search.drawn_early import AGAIN
from rl_tickets.tickets.criteria import Criterion
from rl_tickets.tickets.identity import name_of
from rl_tickets.training.mask_distances import MaskDistances

CRITERIA = {"magnitude": rt.magnitude, "lamp": rt.lamp}
THRESHOLDS = (0.1, 0.2, 0.4)
"""Of searches that are ended by them; of more it is told where they would have stopped."""
WATCHED = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5)
DENSITIES = rt.geometric(keep=0.4, levels=4)
"""Of whole searches, which all look for the ticket of the last."""
DRAWN = (1.0, 0.064)
"""Of the tickets that are drawn from dense agents: where something can be lost."""
SMOKE = 8
"""Rollouts of a training that is to show that everything works."""


def cheap_tickets(
    experiment: rt.Experiment,
    seeds: int,
    thresholds: Sequence[float] = THRESHOLDS,
    criteria: Mapping[str, Criterion] = CRITERIA,
) -> rt.Experiment:
    """The same agent, environment and budget, whose eighths must be whole rollouts."""
    eighth, rollout = experiment.total_timesteps // 8, rollout_steps(experiment.make_model(0))
    every = max(1, round(eighth / 5 / rollout)) * rollout
    at = tuple(eighth * part for part in range(1, 8))
    searches: dict[str, rt.Plan] = {
        name: rt.DrawnEarly(criterion=criterion, at=at, every=every, densities=DRAWN)
        for name, criterion in criteria.items()
    }
    for name, criterion in criteria.items():
        searches[f"imp_{name}"] = rt.IMP(criterion=criterion)
        for threshold in thresholds:
            bird = rt.EarlyBird(every=every, threshold=threshold)
            plan = rt.EarlyBirdIMP(criterion=criterion, early_bird=bird, at=DENSITIES[-1:])
            searches[f"{name}_{100 * threshold:.0f}"] = plan
    many = 2 * seeds
    return replace(experiment, name="searches", densities=DENSITIES, seeds=seeds, dense_seeds=many, searches=searches)


def study(
    experiment: rt.Experiment,
    folder: str,
    title: str,
    *,
    thresholds: Sequence[float] = THRESHOLDS,
    criteria: Mapping[str, Criterion] = CRITERIA,
    seeds: int = 40,
    extra: str | None = None,
) -> None:
    """The command line of a script.

    Args:
        experiment: agent, environment and budget.
        folder: of the results, below results/.
        title: of the report.
        thresholds: of early-bird at every level.
        criteria: by which tickets are drawn, by name.
        seeds: where no other number is asked for.
        extra: the extra of this package that brings the environment.
    """

    def cheap(asked: Asked) -> None:
        """Draws tickets early and ends searches early, and writes tables and plots."""
        made = replace(cheap_tickets(experiment, asked.seeds, thresholds, criteria), command=asked.command)
        made = smaller(made, criteria) if asked.smoke else made
        summary = rt.run(made, jobs=asked.jobs, out=asked.folder)
        asked.publish(page(made, summary, asked.folder, title, asked.command))

    conduct(cheap, Asked(seeds=seeds, out=Path("results") / folder), extra=extra)


def smaller(made: rt.Experiment, criteria: Mapping[str, Criterion]) -> rt.Experiment:
    """Two seeds, one threshold, and few steps."""
    model = made.make_model(0)
    small = cheap_tickets(made, seeds=2, thresholds=THRESHOLDS[-1:], criteria=criteria)
    return replace(small, episodes=5).scaled(SMOKE * rollout_steps(model), rollout=rollout_steps(model))


def page(made: rt.Experiment, summary: rt.Summary, out: Path, title: str, command: str) -> Iterator[str]:
    """The parts of the report; the figures are written beside it."""
    if summary.problem:
        yield f"# {title}\n\nMade by `{command}`. Nothing can be compared, since {summary.problem}."
        return
    drawn = list(tickets(made, summary))
    window = rt.EarlyBird(every=1).window
    yield f"# {title}"
    yield f"Made by `{command}`. {took([summary.folder])} [All trainings and verdicts]({summary.name}/report.md)."
    yield "## When does the mask settle?"
    save(apart_maps(drawn, f"{title}: how far masks are apart"), out / "apart.png")
    yield "![Distances of masks along dense training](apart.png)"
    yield (
        f"Masks drawn every {spacing(made):,} steps of one dense training, each pruned from dense to the density at "
        "once; the distance of two over the weights that they keep, as a fraction of what two random masks would give "
        "(1), mean over seeds."
    )
    yield "## Tickets drawn at every eighth of dense training"
    save(drawn_plot(drawn, f"{title}: tickets drawn early"), out / "drawn.png")
    yield "![Return of tickets drawn early less the final one's](drawn.png)"
    yield drawn_table(drawn)
    yield (
        "Normalised return of the ticket drawn at a step less that of the final one, paired by seed: mean and 95 % "
        "interval of each by itself; bold is shown (Holm over the table). Every ticket begins with the same weights "
        "and trains as long; only its mask is older. The last column, shaded in the figure, is the final ticket "
        "trained again with other draws: noise. What the final one returns, normalised, and how many have failed, "
        "stands before: what has failed has nothing to lose."
    )
    yield "## Where early-bird would have stopped"
    found = list(bargains(made, summary))
    yield stops_table(drawn, WATCHED, window, 0)
    yield (
        f"On the same dense runs, with a window of {window} masks. A threshold is a fraction of chance. *Steps saved* "
        "are a fraction of the whole search's: the dense run and its ticket's own training, which nothing shortens; "
        "seeds that do not stop count. A *false stop* is one whose mask moves farther than the threshold from where "
        "it was until the end. Its ticket is the last that was drawn by the stop, and the final one of a run that does "
        "not stop. Of runs that stop it is *worse* where it returns less than the final one by more than "
        f"{summary.margin:g}, and the last column says how often noise alone does in these."
    )
    yield "## Early-bird at every level"
    figure = bargain_plot(found, f"{title}: steps saved and return lost", summary.margin)
    save(figure, out / "bargains.png")
    yield "![Steps of the whole search saved, and what its tickets return less the full search's](bargains.png)"
    yield bargain_table(found)
    yield (
        f"Searches down to density {made.densities[-1]:.3g} in {len(made.densities) - 1} prunings, which end the runs "
        "of every level once the mask of the next has settled, beside the same search without (IMP); steps in all "
        "are those of all these runs and the last ticket's own training to its end, mean over seeds. Return is "
        "normalised, paired by seed. A search that reports the return of every density trains every ticket to its "
        "end, and then the dense run alone can be shorter."
    )
    yield rule(found, summary.margin)


def spacing(made: rt.Experiment) -> int:
    """Environment steps from one mask to the next."""
    return next(plan.every for plan in made.searches.values() if isinstance(plan, rt.DrawnEarly))


def rule(found: Sequence[Bargain], margin: float) -> str:
    """What follows for early-bird's default threshold."""
    criteria = by_family(found)
    if len(criteria) > 1:
        criteria["mean over criteria"] = list(found)
    told = []
    for name, own in criteria.items():
        lost = pooled(own)
        each = "; ".join(f"{threshold:g}: {between(at.difference, at.interval)}" for threshold, at in lost.items())
        told.append(f"- {name}: **{_threshold(harmless_in(lost, margin))}** ({each})")
    listed = "\n".join(told)
    return (
        "The rule for early-bird's default threshold: the largest up to which tickets are shown to return less than "
        f"the full search's by no more than {margin:g}, since the 95 % interval of the difference lies wholly above "
        f"-{margin:g}:\n\n{listed}\n\nIt must be shown of every criterion by itself, since in a mean what one gains "
        f"hides what the other loses: **{_threshold(largest_harmless(found, margin))}**."
    )


def _threshold(found: float | None) -> str:
    return "none, be it for want of seeds" if found is None else f"{found:g}"


def tickets(made: rt.Experiment, summary: rt.Summary) -> Iterator[Drawn]:
    """What each plan that draws early found at each density."""
    distances = read_series(summary.folder, MaskDistances.table)
    for search, plan in made.searches.items():
        if isinstance(plan, rt.DrawnEarly):
            variants = {at: f"{search}:{name}" for at, name in zip(plan.at, plan.variants, strict=True)}
            for level, density in list(enumerate(plan.aims(made.setup(0))))[1:]:
                yield Drawn.of(summary, distances, search, level, density, variants, f"{search}:{AGAIN}")


def bargains(made: rt.Experiment, summary: rt.Summary) -> Iterator[Bargain]:
    """Every cheap search against the full one."""
    for search, plan in made.searches.items():
        if isinstance(plan, rt.EarlyBirdIMP):
            family = name_of(plan.criterion)
            yield Bargain.of(summary, family, search, f"imp_{family}", plan.early_bird.threshold)
