"""Whether tickets win in other environments, algorithms and optimizers (Morcos et al. 2019, arXiv 1906.02773)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import rl_tickets as rt
from measures.minutes import took
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import shortest_run
from rl_tickets.agents.making import MakeModel
from rl_tickets.evaluation.returns import MakeEnv
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, matrix_table
from rl_tickets.search.misfits import MakeMask

OWN_HEADS = (
    "Layers without a counterpart are the target's own, and dense: tickets from another algorithm keep more weights "
    "than the target's own at the same level, and only re-initialised ones have exactly their masks."
)
"""What has to be known where layers that do not fit are dense."""


@dataclass(frozen=True)
class Agent:
    """Where tickets are found, and where they are trained.

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
        agents: that tickets come from, by name.
        targets: names of those that tickets are trained in; None: all.
        beside: name of the agent whose tickets all others are held against too; None: none.
        otherwise: what becomes of layers that do not fit, see `rt.transfer`.
        note: what has to be known beside the figures.
    """

    title: str
    agents: Mapping[str, Agent]
    targets: tuple[str, ...] | None = None
    beside: str | None = None
    otherwise: MakeMask = rt.refuse_layer
    note: str = ""

    @property
    def trained_in(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(self.agents) if self.targets is None else self.targets

    @property
    def smaller(self) -> "Family":
        """Two of its agents, tickets of both in the last."""
        kept = dict.fromkeys((self.beside or next(iter(self.agents)), self.trained_in[-1]))
        return replace(self, agents={name: self.agents[name] for name in kept}, targets=(self.trained_in[-1],))


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
        made = replace(experiment, seeds=asked.seeds, dense_seeds=None, command=asked.command)
        asked.publish(report(smaller(made) if asked.smoke else made, families, at, title, asked))

    conduct(transfer, Asked(seeds=seeds, out=Path("results") / folder), extra=extra)


def smaller(made: rt.Experiment) -> rt.Experiment:
    """Two seeds and few steps."""
    return replace(made.scaled(2 * shortest_run(made.make_model(0))), seeds=2, episodes=2)


def report(
    experiment: rt.Experiment, families: Mapping[str, Family], at: Sequence[float], title: str, asked: Asked
) -> Iterator[str]:
    """The parts of the report, for each of which its family is trained."""
    yield f"# {title}"
    yield f"Made by `{asked.command}`."
    yield (
        "Contrasts in normalised return (0: a random policy; 1: the target's own dense runs), averaged over densities "
        f"{' and '.join(f'{density:g}' for density in at)}, paired by seed; bold in the figures, and p below 0.05, is "
        "shown (Holm, over each map). A re-initialised ticket has the same mask and other weights."
    )
    for name, family in families.items():
        asked_for = family.smaller if asked.smoke else family
        own = {agent: alone(experiment, f"{name}_{agent}", made, at) for agent, made in asked_for.agents.items()}
        found = trained(own, asked_for, at, asked)
        yield from page(asked_for, found, [experiment.densities.index(density) for density in at], asked.folder, name)


def alone(experiment: rt.Experiment, name: str, agent: Agent, at: Sequence[float]) -> rt.Experiment:
    """The search for an agent's own tickets, and its control."""
    return replace(
        experiment,
        name=name,
        make_model=agent.make_model,
        make_env=agent.make_env or experiment.make_env,
        total_timesteps=round(agent.budget * experiment.total_timesteps),
        searches={"own": rt.IMP(), "own_reinit": rt.Control(rt.random_reinit, of="own", at=at)},
    )


def trained(
    own: Mapping[str, rt.Experiment], family: Family, at: Sequence[float], asked: Asked
) -> dict[str, rt.Summary]:
    """Own tickets of all first, then everyone's in every target."""
    for each in own.values():
        if not (asked.folder / each.name / "report.md").exists():
            rt.run(each, jobs=asked.jobs, out=asked.folder)
    found = {}
    for target in family.trained_in:
        searches = dict(own[target].searches)
        for source, other in own.items():
            if source != target:
                saved = rt.SavedTickets(asked.folder / other.name / "tickets" / "own")
                moved = rt.Transfer(of=saved, source=other.make_model, otherwise=family.otherwise, at=at)
                searches[came_from(source)] = moved
                searches[f"{came_from(source)}_reinit"] = rt.Control(rt.random_reinit, of=came_from(source))
        found[target] = rt.run(replace(own[target], searches=searches), jobs=asked.jobs, out=asked.folder)
    return found


def came_from(source: str) -> str:
    """The search that trains the tickets of another agent."""
    return f"from_{source}"


def page(family: Family, found: Mapping[str, rt.Summary], levels: Sequence[int], out: Path, name: str) -> Iterator[str]:
    """The family's part of the report, and its figures beside it."""
    yield f"## {family.title}"
    yield f"{took(found.values())} {family.note}".strip()
    training = {target: summary.training for target, summary in found.items() if summary.training is not None}
    for what, file, targets in (
        ("return of the final policies", name, found),
        ("return while training", f"{name}_training", training),
    ):
        matrices = list(contrasted(family, targets, levels))
        save(heat_maps(matrices, f"{family.title}: {what}"), out / f"{file}.png")
        yield f"### {family.title}: {what}"
        yield f"![{family.title}: {what}]({file}.png)"
        for matrix in matrices:
            yield f"Tickets {matrix.title}, {what}:"
            yield "\n".join(matrix_table(matrix))


def contrasted(family: Family, targets: Mapping[str, rt.Summary], levels: Sequence[int]) -> Iterator[Matrix]:
    """What tickets return more than what stands beside them."""
    cells = {(s, t): "own" if s == t else came_from(s) for t in targets for s in family.agents}
    other = {at: search for at, search in cells.items() if search != "own"}
    yield Matrix.of("less the target's own", targets, {at: (s, "own") for at, s in other.items()}, levels=levels)
    yield Matrix.of("less re-initialised", targets, {at: (s, f"{s}_reinit") for at, s in cells.items()}, levels=levels)
    yield Matrix.of("less dense", targets, {at: (s, "dense") for at, s in cells.items()}, levels=levels)
    if family.beside is not None:
        usual = {at: (s, cells[family.beside, at[1]]) for at, s in cells.items() if at[0] != family.beside}
        yield Matrix.of(f"less those from {family.beside}", targets, usual, levels=levels)
