"""Whether tickets match where they are stable: linear mode connectivity (Frankle et al. 2020, arXiv 1912.05671)."""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.progress import track

import rl_tickets as rt
from measures.copied_tickets import CopiedTicket, claim, margin
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import rollout_steps, shortest_run
from rl_tickets.agents.making import fresh_agent
from rl_tickets.analysis.lines import grid
from rl_tickets.lab.executors import local_processes
from rl_tickets.lab.store import Store
from rl_tickets.lab.threads import one_thread
from rl_tickets.report.barriers import (
    BarrierRow,
    barrier_plot,
    barrier_table,
    read_barriers,
    write_barriers,
)
from rl_tickets.report.looks import save
from rl_tickets.report.minutes import took
from rl_tickets.report.rows import Run

DENSE_FOR_EACH = 3
"""Dense runs for each seed: verdicts need more of them than of tickets."""
REINIT = {"random_reinit": rt.Control(rt.random_reinit)}
CONTROLS = {**REINIT, "permuted_mask": rt.Control(rt.connected_permuted_mask)}


def copied(
    experiment: rt.Experiment,
    *,
    steps: Sequence[int],
    densities: Sequence[float],
    tickets_at: Sequence[int] | None = None,
    late: Sequence[int] = (),
    controls: Mapping[str, rt.Control] = CONTROLS,
    controls_at: Sequence[int] = (0,),
) -> rt.Experiment:
    """The same agent, environment and budget: dense runs, tickets, controls, and two copies of each.

    Args:
        experiment: whose agents they are.
        steps: at which dense agents are copied, 0 first.
        densities: 1.0, then those of the tickets.
        tickets_at: at which tickets that were rewound to initialisation are copied, 0 first; None: as dense agents.
        late: steps to which other tickets are rewound; these are copied where they start.
        controls: of the tickets, by name.
        controls_at: at which controls are copied, in their own training, 0 first.
    """
    tickets: dict[str, rt.Plan] = {"imp": rt.IMP()}
    tickets |= {f"rewound_{step}": rt.IMP(rewind=rt.Rewind(at=step)) for step in late}
    at = {"dense": tuple(steps), "imp": tuple(steps if tickets_at is None else tickets_at)}
    at |= {f"rewound_{step}": (step,) for step in late} | dict.fromkeys(controls, tuple(controls_at))
    copies = {f"{source}_copies": rt.Instability(of=source, at=of) for source, of in at.items()}
    searches = {**tickets, **controls, **copies}
    return replace(experiment, name="copies", densities=densities, searches=searches, keep="all")


@dataclass(frozen=True)
class Line:
    """Two copies, and how they are compared.

    Args:
        experiment: whose copies they are.
        folder: of its results.
        run: of the first copy.
        source: whose ticket it is a copy of.
        density: of the ticket.
        step: at which it was copied.
        points: on the line.
        episodes: at each of them.
        match: whether units are matched before.
    """

    experiment: rt.Experiment
    folder: Path
    run: Run
    source: str
    density: float
    step: int
    points: int
    episodes: int
    match: bool

    def row(self) -> BarrierRow | None:
        """Plays on the line, and one policy as often on other episodes; None where a copy diverged."""
        store = Store(self.folder)
        if any(store.trained(self._copy(which)).diverged for which in "ab"):
            return None
        with one_thread():
            one, other = (self._agent(which) for which in "ab")
            settings = {"alphas": self.points, "episodes": self.episodes}
            align = rt.match_units if self.match else None
            make_env = self.experiment.make_env
            found = rt.connectivity(one, other, make_env, align=align, **settings)
            floor = rt.noise_floor(one, make_env, **settings)
        for model in (one, other):
            model.get_env().close()
        means = tuple(float(value) for value in found.returns.mean(axis=1))
        seen = (found.barrier, floor, found.policy_barrier, means)
        return BarrierRow(self.source, self.density, self.run.seed, self.step, *seen)

    def _copy(self, which: str) -> Run:
        return self.run._replace(variant=f"k{self.step}-{which}")

    def _agent(self, which: str):
        model = fresh_agent(self.experiment.make_model, self.run.seed)
        Store(self.folder).trained(self._copy(which)).end.restore(model)
        return model


@dataclass(frozen=True)
class AskedLines(Asked):
    """What the command line asks of the study: two copies are joined by a line of policies."""

    points: int = 30
    """On each line, its ends among them."""
    episodes: int = 20
    """Of each policy."""
    match: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Match the units of each pair of copies before (Ainsworth et al. 2022); on a page of its own, matched.md."""


def study(experiment: rt.Experiment, folder: str, title: str, *, seeds: int = 20, extra: str | None = None) -> None:
    """The command line of a script.

    Args:
        experiment: see `copied`.
        folder: of the results, below results/.
        title: the agent and its environment.
        seeds: where no other number is asked for.
        extra: the extra of this package that brings the environment.
    """

    def instability(asked: AskedLines) -> None:
        """Trains all copies, lets the policies between them play, and writes a table and a plot."""
        made = replace(experiment, seeds=asked.seeds, dense_seeds=DENSE_FOR_EACH * asked.seeds, command=asked.command)
        grid(asked.points)  # Of too few it tells before anything is trained.
        if asked.smoke:
            made = smaller(made)
            asked = replace(asked, points=min(asked.points, 5), episodes=min(asked.episodes, 4))
        summary = rt.run(made, jobs=asked.jobs, out=asked.folder)
        name, page = ("matched", "matched.md") if asked.match else ("barriers", "report.md")
        lines = list(lines_of(made, summary, asked))
        rows = barriers(lines, summary.folder, name, asked.jobs)
        if not rows:
            raise ValueError("of every pair of copies one diverged, so that there is no line to play on")
        plot = barrier_plot(rows, f"{title}: barrier between copies", margin(summary))
        save(plot, asked.folder / f"{name}.png")
        asked.publish(report(rows, len(lines) - len(rows), made, summary, title, f"{name}.png"), page)

    conduct(instability, AskedLines(seeds=seeds, out=Path("results") / folder), extra=extra)


def smaller(made: rt.Experiment) -> rt.Experiment:
    """Two seeds, one density and few steps."""
    model = made.make_model(0)
    small = made.scaled(2 * shortest_run(model), rollout=rollout_steps(model))
    return replace(small, seeds=2, dense_seeds=2, episodes=2, densities=made.densities[:2])


def barriers(lines: list[Line], out: Path, name: str, jobs: int) -> list[BarrierRow]:
    """Of all lines; those that are in the file already, in the folder of the copies, are not played again."""
    file = out / f"{name}-{lines[0].points}x{lines[0].episodes}.csv"
    rows = read_barriers(file)
    done = {(row.search, row.seed, row.density, row.step) for row in rows}
    ahead = [line for line in lines if (line.source, line.run.seed, line.density, line.step) not in done]
    for row in played(ahead, jobs):
        if row is not None:
            rows.append(row)
            write_barriers(file, rows)
    return read_barriers(file)


def lines_of(made: rt.Experiment, summary: rt.Summary, asked: AskedLines) -> Iterator[Line]:
    """Every pair of copies."""
    densities = {(each.name, level.level): level.density for each in summary.searches for level in each.levels}
    settings = {"points": asked.points, "episodes": asked.episodes, "match": asked.match}
    folder = asked.folder / made.name
    for name, plan in copies_of(made):
        for level in [0] if plan.of == "dense" else range(1, len(made.densities)):
            density = densities.get((plan.of, level), 1.0)
            for step in plan.at:
                for seed in made.all_seeds:
                    yield Line(made, folder, Run(name, seed, level), plan.of, density, step, **settings)


def copies_of(made: rt.Experiment) -> Iterator[tuple[str, rt.Instability]]:
    """The plans that copy, by name."""
    yield from ((name, plan) for name, plan in made.searches.items() if isinstance(plan, rt.Instability))


def played(lines: list[Line], jobs: int) -> Iterator[BarrierRow | None]:
    """Rows in the order in which they are done; None for copies of which one diverged."""
    with local_processes(jobs) as processes:
        waiting = [processes.submit(Line.row, line) for line in lines]
        yield from (done.result() for done in track(as_completed(waiting), "Lines", total=len(waiting)))


def report(
    rows: list[BarrierRow], diverged: int, made: rt.Experiment, summary: rt.Summary, title: str, plot: str
) -> Iterator[str]:
    """The parts of the page."""
    yield f"# Instability of tickets: {title}"
    yield f"Made by `{made.command}`. {took([summary.folder])} Playing on the lines between copies came after that."
    if diverged:
        yield f"Of {len(rows) + diverged} pairs of copies {diverged} are left out, since one of the two diverged."
    yield "## Do tickets match where they are stable?"
    starts = {plan.of: plan.at[0] for _, plan in copies_of(made)}
    yield from claim(CopiedTicket.all(rows, starts, summary), summary)
    yield "## All barriers"
    yield f"![Barrier against the step of the copies]({plot})"
    yield (
        "From the state at a step, two copies train on with other draws; the barrier is how far the mean return of the "
        "policies on the straight line between them falls below the line between their returns. The noise floor is "
        "what shows as a barrier when one policy plays other episodes at each point, mean over seeds. Filled points, "
        f"and `unstable`, are barriers shown to exceed it by more than {margin(summary):.3g} ({summary.margin:g} "
        "normalised, the margin of verdicts), `stable` those shown to exceed it by less: one test of the excess "
        "against the margin, paired by seed, Holm over the table. `nats` is how far the policies on the line are from "
        "those at its ends, at most, mean over seeds and its interval: of states that are fixed, so that two equal "
        "policies show 0."
    )
    yield barrier_table(rows, margin(summary))
