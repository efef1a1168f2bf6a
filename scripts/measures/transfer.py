"""Whether tickets win in other environments, algorithms and optimizers (Morcos et al. 2019, arXiv 1906.02773)."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import rl_tickets as rt
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import shortest_run
from rl_tickets.agents.making import MakeModel
from rl_tickets.evaluation.returns import MakeEnv
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, judged_together, matrix_table
from rl_tickets.report.minutes import took
from rl_tickets.search.misfits import MakeMask

OWN_HEADS = (
    "Layers without a counterpart are the target's own, and dense: tickets from another algorithm keep more weights "
    "than the target's own at the same level, and only re-initialised ones have exactly their masks."
)
"""What has to be known where layers that do not fit are dense."""


DENSE_FOR_EACH = 2
"""Dense runs for each seed: contrasts with them are paired by seed, and the others only make the scale surer."""


@dataclass(frozen=True, eq=False)
class Agent:
    """Where tickets are found, and where they are trained; the same object in two families is trained once.

    Args:
        make_model: of a seed.
        make_env: for evaluation; None: the experiment's.
        budget: of a training, in budgets of the experiment.
    """

    make_model: MakeModel
    make_env: MakeEnv | None = None
    budget: float = 1.0


@dataclass(frozen=True)
class Family:
    """Agents among which tickets are exchanged.

    Args:
        title: of its heat maps.
        agents: by name.
        sources: names of those that tickets come from; None: all.
        targets: names of those that tickets are trained in; None: all.
        beside: name of the agent whose tickets those of each other source are held against too; None: none.
        otherwise: what becomes of layers that do not fit, see `rt.transfer`.
        note: what has to be known beside the figures.
    """

    title: str
    agents: Mapping[str, Agent]
    sources: tuple[str, ...] | None = None
    targets: tuple[str, ...] | None = None
    beside: str | None = None
    otherwise: MakeMask = rt.refuse_layer
    note: str = ""

    @property
    def trained_in(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.agents) if self.targets is None else self.targets

    @property
    def found_in(self) -> tuple[str, ...]:
        """Names of the sources."""
        return tuple(self.agents) if self.sources is None else self.sources

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """Source and target of the tickets that are trained; a target's own among them."""
        return tuple((s, t) for t in self.trained_in for s in self.agents if s == t or s in self.found_in)

    @property
    def smaller(self) -> "Family":
        """Two of its agents, tickets of both in the last."""
        last = self.trained_in[-1]
        first = self.beside or next(name for name in self.found_in if name != last)
        agents = {name: self.agents[name] for name in dict.fromkeys((first, last))}
        return replace(self, agents=agents, sources=None, targets=(last,))


def study(
    experiment: rt.Experiment,
    families: Mapping[str, Family],
    folder: str,
    title: str,
    *,
    at: Sequence[float],
    seeds: int = 20,
    extra: str | None = None,
) -> None:
    """The command line of a script.

    Args:
        experiment: budget and densities of all agents.
        families: by name.
        folder: of the results, below results/.
        title: of the report.
        at: densities at which tickets are trained elsewhere and compared.
        seeds: where no other number is asked for.
        extra: the extra of this package that brings the environment.
    """

    def transfer(asked: Asked) -> None:
        """Finds tickets for every agent, trains all of them in all others, and writes heat maps of contrasts."""
        many = DENSE_FOR_EACH * asked.seeds
        made = replace(experiment, seeds=asked.seeds, dense_seeds=many, command=asked.command)
        if asked.smoke:
            few = {name: family.smaller for name, family in families.items()}
            asked.publish(report(smaller(made, few), few, at, title, asked))
        else:
            asked.publish(report(made, families, at, title, asked))

    conduct(transfer, Asked(seeds=seeds, out=Path("results") / folder), extra=extra)


def smaller(made: rt.Experiment, families: Mapping[str, Family]) -> rt.Experiment:
    """Two seeds, and few steps, in which every agent learns."""
    agents = [agent for family in families.values() for agent in family.agents.values()]
    steps = max(math.ceil(2 * shortest_run(agent.make_model(0)) / agent.budget) for agent in agents)
    return replace(made.scaled(steps), seeds=2, dense_seeds=2, episodes=2)


def report(
    experiment: rt.Experiment, families: Mapping[str, Family], at: Sequence[float], title: str, asked: Asked
) -> Iterator[str]:
    """The parts of the report, once all agents are trained."""
    yield f"# {title}"
    yield f"Made by `{asked.command}`."
    where = "at density " if len(at) == 1 else "averaged over densities "
    where += " and ".join(f"{density:g}" for density in at)
    yield (
        f"Contrasts in normalised return (0: a random policy; 1: the target's own dense runs), {where}, paired by "
        "seed; bold in the figures, and p below 0.05, is shown (Holm, over each map). The mean below a map is over its "
        "cells without the targets' own tickets, its p adjusted over the maps of its figure. A re-initialised ticket "
        "has the same mask and other weights."
    )
    exchange = Exchange.of(experiment, families, at)
    found = exchange.trained(asked)
    yield took(summary.folder for summary in found.values())
    levels = [experiment.densities.index(density) for density in at]
    for name, family in families.items():
        targets = {target: found[family.agents[target]] for target in family.trained_in}
        yield from page(family, exchange.names, targets, levels, asked.folder, name)


@dataclass(frozen=True)
class Exchange:
    """All agents of all families, and whose tickets are trained in which.

    Args:
        experiments: of each agent alone.
        sources: of each target those whose tickets it trains, and what becomes of layers that do not fit.
        at: densities at which it trains them.
    """

    experiments: Mapping[Agent, rt.Experiment]
    sources: Mapping[Agent, Mapping[Agent, MakeMask]]
    at: Sequence[float]

    @property
    def names(self) -> dict[Agent, str]:
        """What each agent's results are called."""
        return {agent: made.name for agent, made in self.experiments.items()}

    @classmethod
    def of(cls, experiment: rt.Experiment, families: Mapping[str, Family], at: Sequence[float]) -> "Exchange":
        """An agent is called by the first family that has it."""
        names: dict[Agent, str] = {}
        sources: dict[Agent, dict[Agent, MakeMask]] = {}
        for name, family in families.items():
            for agent, made in family.agents.items():
                names.setdefault(made, f"{name}_{agent}")
            for source, target in family.pairs:
                others = sources.setdefault(family.agents[target], {})
                if source != target:
                    others.setdefault(family.agents[source], family.otherwise)
        made = {agent: alone(experiment, name, agent) for agent, name in names.items()}
        return cls(made | {agent: with_scale(made[agent], experiment, at) for agent in sources}, sources, at)

    def trained(self, asked: Asked) -> dict[Agent, rt.Summary]:
        """Own tickets of all first, then everyone's in every target."""
        found = {}
        for agent, each in self.experiments.items():
            folder = asked.folder / each.name
            done = (folder / "report.md").exists()
            found[agent] = rt.Summary.read(folder) if done else rt.run(each, jobs=asked.jobs, out=asked.folder)
        for target in self.sources:
            found[target] = rt.run(self._into(target, asked.folder), jobs=asked.jobs, out=asked.folder)
        return found

    def _into(self, target: Agent, folder: Path) -> rt.Experiment:
        """The target's own search, and those that train the tickets of others."""
        searches = dict(self.experiments[target].searches)
        for source, otherwise in self.sources[target].items():
            name = came_from(self.names[source])
            saved = rt.SavedTickets(folder / self.names[source] / "tickets" / "own")
            searches[name] = rt.Transfer(of=saved, source=source.make_model, otherwise=otherwise, at=self.at)
            searches[f"{name}_reinit"] = rt.Control(rt.random_reinit, of=name)
        return replace(self.experiments[target], searches=searches)


def alone(experiment: rt.Experiment, name: str, agent: Agent) -> rt.Experiment:
    """The search for an agent's own tickets."""
    return replace(
        experiment,
        name=name,
        make_model=agent.make_model,
        make_env=agent.make_env or experiment.make_env,
        total_timesteps=round(agent.budget * experiment.total_timesteps),
        dense_seeds=experiment.seeds,
        searches={"own": rt.IMP()},
    )


def with_scale(made: rt.Experiment, experiment: rt.Experiment, at: Sequence[float]) -> rt.Experiment:
    """A target's: the control of its own tickets, too, and dense runs that make its scale."""
    control = {"own_reinit": rt.Control(rt.random_reinit, of="own", at=at)}
    return replace(made, dense_seeds=experiment.dense_seeds, searches={**made.searches, **control})


def came_from(source: str) -> str:
    """The search that trains the tickets of another agent."""
    return f"from_{source}"


def page(
    family: Family,
    names: Mapping[Agent, str],
    found: Mapping[str, rt.Summary],
    levels: Sequence[int],
    out: Path,
    name: str,
) -> Iterator[str]:
    """The family's part of the report, and its figures beside it."""
    yield f"## {family.title}"
    if family.note:
        yield family.note
    training = {target: summary.training for target, summary in found.items() if summary.training is not None}
    for what, file, targets in (
        ("return of the final policies", name, found),
        ("return while training", f"{name}_training", training),
    ):
        if unknown := [target for target in found if target not in targets]:
            yield f"Without {' and '.join(unknown)}: of their runs not all have a {what}."
        if not targets:
            continue
        matrices = judged_together(list(contrasted(family, names, targets, levels)))
        save(heat_maps(matrices, f"{family.title}: {what}"), out / f"{file}.png")
        yield f"### {family.title}: {what}"
        yield f"![{family.title}: {what}]({file}.png)"
        for matrix in matrices:
            yield f"Tickets {matrix.title}, {what}:"
            yield from matrix_table(matrix)


def contrasted(
    family: Family, names: Mapping[Agent, str], targets: Mapping[str, rt.Summary], levels: Sequence[int]
) -> Iterator[Matrix]:
    """What tickets return more than what stands beside them."""
    cells = {
        (source, target): "own" if source == target else came_from(names[family.agents[source]])
        for source, target in family.pairs
        if target in targets
    }
    other = {at: search for at, search in cells.items() if search != "own"}
    held = partial(Matrix.of, targets=targets, sources=family.agents, levels=levels)
    yield held("less the target's own", pairs={at: (s, "own") for at, s in other.items()})
    yield held("less re-initialised", pairs={at: (s, f"{s}_reinit") for at, s in cells.items()})
    yield held("less dense", pairs={at: (s, "dense") for at, s in cells.items()})
    if family.beside is None:
        return
    for source in family.found_in:
        usual = {at: (s, cells[family.beside, at[1]]) for at, s in cells.items() if at[0] == source}
        if source != family.beside:
            yield held(f"from {source} less from {family.beside}", pairs=usual)
