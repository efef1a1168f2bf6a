"""Whether a smaller learning rate at the start saves tickets that are rewound to initialisation, on any agent.

Learning rate x warm-up x rewind point, as Frankle & Carbin 2019 (arXiv 1803.03635) and Frankle et al. 2020 (arXiv
1912.05671) did for images: each agent's tickets less its own dense runs, and less the same masks over other weights.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

import rl_tickets as rt
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.evaluation.contrasts import adjusted
from rl_tickets.report.looks import save
from rl_tickets.report.markdown_table import markdown_table
from rl_tickets.report.matrix import Matrix, heat_maps, judged_together, matrix_table, scores_of
from rl_tickets.report.minutes import took
from rl_tickets.report.wording import between, p_cell, spanned

WARMUPS = {"without warm-up": 0.0, "warm-up over a tenth of training": 0.1}
"""Title -> part of training over which the learning rate rises."""
DENSE_FOR_EACH = 2
"""Dense runs for each seed: verdicts need more of them than of tickets."""
SMOKE = 12
"""Rollouts of a training that is to show that everything works."""
Cells = dict[tuple[str, str], tuple[str, str]]
Found = Mapping[str, Mapping[str, rt.Summary]]
"""Title of the warm-up -> learning rate -> what was found."""
NARROW = 32
"""Units of a layer of an agent that is to show that everything works."""


@dataclass(frozen=True)
class Heat:
    """What is varied.

    Args:
        make_model: (seed, learning_rate, width) -> model; width has a default, at which the agent is unstable.
        rates: learning rates at the start, from which they fall linearly to 0.
        points: steps to rewind to.
        agent: in words, for titles.
        seeds: where no other number is asked for.
    """

    make_model: Callable[..., BaseAlgorithm]
    rates: tuple[float, ...]
    points: tuple[int, ...]
    agent: str
    seeds: int = 20

    @property
    def usual(self) -> str:
        """The search that rewinds to the first of the points."""
        return called(self.points[0])


def annealed(start: float, progress: float) -> float:
    """Falls linearly to 0 while progress does from 1."""
    return start * progress


def study(experiment: rt.Experiment, heat: Heat, folder: str, *, extra: str | None = None) -> None:
    """The command line of a script.

    Args:
        experiment: environment, budget and densities of all agents.
        heat: what is varied.
        folder: of the results, below results/.
        extra: the extra of this package that brings the environment.
    """

    def warmup(asked: Asked) -> None:
        """Trains the tickets of every agent, and writes tables and heat maps."""
        found = {
            title: {
                f"{rate:g}": rt.run(of_agent(experiment, heat, rate, over, asked), jobs=asked.jobs, out=asked.folder)
                for rate in (heat.rates[1:] if asked.smoke else heat.rates)
            }
            for title, over in WARMUPS.items()
        }
        asked.publish(page(found, heat, asked))

    conduct(warmup, Asked(seeds=heat.seeds, out=Path("results") / folder), extra=extra)


def of_agent(experiment: rt.Experiment, heat: Heat, rate: float, over: float, asked: Asked) -> rt.Experiment:
    """Tickets of one agent, rewound to each point, and the controls of all."""
    falling = partial(annealed, rate)
    searches: dict[str, rt.Plan] = {called(at): rt.IMP(rewind=rt.Rewind(at=at)) for at in heat.points}
    # Of a ticket that is rewound to a later step, other weights would start there after the warm-up of a schedule.
    searches[f"{heat.usual}_reinit"] = rt.Control(rt.random_reinit, of=heat.usual)
    made = replace(
        experiment,
        name=f"rate_{rate:g}_warmup_{over:g}",
        make_model=partial(heat.make_model, learning_rate=rt.Warmup(falling, over=over) if over else falling),
        seeds=asked.seeds,
        dense_seeds=DENSE_FOR_EACH * asked.seeds,
        searches=searches,
        command=asked.command,
    )
    return smaller(made) if asked.smoke else made


def called(at: int) -> str:
    """The search that rewinds to a step."""
    return f"rewound_{at}"


def smaller(made: rt.Experiment) -> rt.Experiment:
    """The same with two seeds, a narrow network and few steps."""
    make: Any = partial(made.make_model, width=NARROW)
    small = replace(made, make_model=make, seeds=2, dense_seeds=2, densities=(1.0, 0.5, 0.2), episodes=5)
    rollout = rollout_steps(make(0))
    return small.scaled(SMOKE * rollout, rollout=rollout)


def page(found: Found, heat: Heat, asked: Asked) -> Iterator[str]:
    """The parts of the report; the figures are written beside it."""
    yield f"# Warm-up, learning rate and rewinding: {heat.agent}"
    folders = [summary.folder for agents in found.values() for summary in agents.values()]
    yield f"Made by `{asked.command}`. {took(folders)}"
    yield (
        "Contrasts in normalised return (0: a random policy; 1: that agent's own dense runs) at the sparsest density, "
        "paired by seed; bold in the figures, and p below 0.05, is shown (Holm, over each map). The mean below a map "
        "is over its cells, its p adjusted over the maps of its figure."
    )
    for other, cells in (("dense", cells_less_dense), ("re-initialised", cells_less_reinit)):
        for what, file, summaries in (("final policies", "", found), ("while training", "_training", training(found))):
            yield f"## Tickets less {other}, {what}"
            made = [
                Matrix.of(title, agents, cells(agents, heat), levels=sparsest(agents))
                for title, agents in summaries.items()
            ]
            matrices = judged_together(made)
            path = asked.folder / f"less_{other}{file}.png"
            yield from maps(matrices, f"Tickets less {other}, {what}", heat.agent, path)
    yield "## What warm-up changes"
    yield changes(found, heat.points)
    yield (
        "Tickets less dense with warm-up, less the same without, paired by seed: positive where warm-up brings tickets "
        "nearer to their dense agent."
    )
    yield "## The agents"
    yield agents_table(found, heat.points)


def training(found: Found) -> Found:
    """By what they returned while they trained."""
    return {
        title: {rate: each.training for rate, each in agents.items() if each.training is not None}
        for title, agents in found.items()
    }


def maps(matrices: Sequence[Matrix], title: str, agent: str, file: Path) -> Iterator[str]:
    """A figure and its tables."""
    axes = {"up": "rewound to step", "across": "learning rate"}
    save(heat_maps(matrices, f"{title}: {agent}", **axes), file)
    yield f"![{title}]({file.name})"
    for matrix in matrices:
        yield f"{title}, {matrix.title}:"
        yield from matrix_table(matrix, **axes)


def sparsest(agents: Mapping[str, rt.Summary]) -> tuple[int]:
    """The level at which something can be lost."""
    return (max((level.level for summary in agents.values() for level in summary.levels), default=0),)


def cells_less_dense(agents: Mapping[str, rt.Summary], heat: Heat) -> Cells:
    """Rewind point and learning rate -> the search, and dense."""
    return {(f"{at:,}", rate): (called(at), "dense") for at in heat.points for rate in agents}


def cells_less_reinit(agents: Mapping[str, rt.Summary], heat: Heat) -> Cells:
    """Of tickets rewound to the first point -> the search, and its control."""
    return {(f"{heat.points[0]:,}", rate): (heat.usual, f"{heat.usual}_reinit") for rate in agents}


def changes(found: Found, points: tuple[int, ...]) -> str:
    """A row for each learning rate and rewind point at which both agents have a scale."""
    cold, warm = found.values()
    made = {
        (rate, at): rt.contrast(
            *(
                np.subtract(*scores_of(agents[rate], called(at), "dense", levels=sparsest(agents)))
                for agents in (warm, cold)
            )
        )
        for rate in cold
        for at in points
        if not any(agents[rate].problem or agents[rate].judge.doubt for agents in (cold, warm))
    }
    ps = adjusted(list(made.values()))
    return markdown_table(
        ("learning rate", "rewound to step", "seeds", "change [95 %]", "p, Holm"),
        [
            (rate, f"{at:,}", str(change.seeds), between(change.difference, change.interval), p_cell(p))
            for ((rate, at), change), p in zip(made.items(), ps, strict=True)
        ],
        words=(),
    )


def agents_table(found: Found, points: tuple[int, ...]) -> str:
    """What each agent returns densely, down to where its tickets typically do as well, and where all of it is."""
    sparsest = (f"typical down to, rewound to {at:,}" for at in points)
    heads = ("learning rate", "", "dense return: IQM [95 %]", "failed", *sparsest, "")
    rows = []
    for title, agents in found.items():
        for rate, summary in agents.items():
            dense = summary.dense
            failed = "–" if dense.failed is None else f"{dense.failed} of {len(dense.scores)}"
            told = (spanned(dense.returned, dense.returned_interval), failed)
            typical = (sparsest_typical(summary, called(at)) for at in points)
            place = f"[{summary.name}]({summary.name}/report.md)"
            rows.append((rate, title, *told, *typical, place))
    return markdown_table(heads, rows, words=(1, -1))


def sparsest_typical(summary: rt.Summary, search: str) -> str:
    """The sparsest density at which a search typically does as well as dense."""
    level = summary.search(search).sparsest_typical
    return "–" if level is None else f"{level.density:.3g}"
