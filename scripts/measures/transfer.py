"""Whether tickets win in other environments and under other optimizers (Morcos et al. 2019, arXiv 1906.02773)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import rl_tickets as rt
from measures.minutes import took
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import shortest_run
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, matrix_table


@dataclass(frozen=True)
class Family:
    """Agents among which tickets are exchanged.

    Args:
        title: of its heat maps.
        agents: name -> (make_model, make_env).
    """

    title: str
    agents: Mapping[str, tuple[Any, Any]]


def study(
    experiment: rt.Experiment, families: Mapping[str, Family], folder: str, title: str, *, extra: str | None = None
) -> None:
    """The command line of a script.

    Args:
        experiment: budget and densities of all agents.
        families: by name.
        folder: of the results, below results/.
        title: of the report.
        extra: the extra of this package that brings the environment.
    """

    def transfer(asked: Asked) -> None:
        """Finds tickets for every agent, trains all of them in all others, and writes heat maps of contrasts."""
        asked.publish(report(replace(experiment, command=asked.command), families, title, asked))

    conduct(transfer, folder, Asked, extra=extra)


def report(experiment: rt.Experiment, families: Mapping[str, Family], title: str, asked: Asked) -> Iterator[str]:
    """The parts of the report, for each of which its family is trained."""
    yield f"# {title}"
    yield f"Made by `{asked.command}`."
    for name, family in families.items():
        agents = dict(list(family.agents.items())[:2]) if asked.smoke else family.agents
        every = {agent: own(experiment, f"{name}_{agent}", *made, asked) for agent, made in agents.items()}
        yield from page(family, trained(every, asked.jobs, asked.folder), asked.folder, name)


def own(experiment: rt.Experiment, name: str, make_model: Any, make_env: Any, asked: Asked) -> rt.Experiment:
    """The search for an agent's own tickets, and its control."""
    made = replace(
        experiment,
        name=name,
        make_model=make_model,
        make_env=make_env,
        seeds=2 if asked.smoke else asked.seeds,
        dense_seeds=None,
        searches={"own": rt.IMP(), "own_reinit": rt.Control(rt.random_reinit, of="own")},
    )
    if asked.smoke:
        steps = shortest_run(make_model(0))
        return replace(made.scaled(steps), densities=(1.0, 0.5, 0.25), episodes=2)
    return made


def trained(experiments: Mapping[str, rt.Experiment], jobs: int, out: Path) -> dict[str, rt.Summary]:
    """Own tickets of all first, then everyone's in everyone."""
    for each in experiments.values():
        if not (out / each.name / "report.md").exists():
            rt.run(each, jobs=jobs, out=out)
    found = {}
    for target, each in experiments.items():
        searches = dict(each.searches)
        for source, other in experiments.items():
            if source != target:
                saved = rt.SavedTickets(out / other.name / "tickets" / "own")
                searches[f"from_{source}"] = rt.Transfer(of=saved)
                searches[f"from_{source}_reinit"] = rt.Control(rt.random_reinit, of=f"from_{source}")
        found[target] = rt.run(replace(each, searches=searches), jobs=jobs, out=out)
    return found


def page(family: Family, targets: Mapping[str, rt.Summary], out: Path, name: str) -> list[str]:
    """The family's part of the report, and its figure beside it."""
    cells = {(s, t): "own" if s == t else f"from_{s}" for s in targets for t in targets}
    matrices = [
        Matrix.of("less the target's own", targets, {at: (s, "own") for at, s in cells.items() if s != "own"}),
        Matrix.of("less re-initialised", targets, {at: (s, f"{s}_reinit") for at, s in cells.items()}),
        Matrix.of("less dense", targets, {at: (s, "dense") for at, s in cells.items()}),
    ]
    save(heat_maps(matrices, f"{family.title}: what tickets return more"), out / f"{name}.png")
    tables = [f"Tickets {matrix.title}:\n\n" + "\n".join(matrix_table(matrix)) for matrix in matrices]
    return [f"## {family.title}", took(targets.values()), f"![{family.title}]({name}.png)", *tables]
