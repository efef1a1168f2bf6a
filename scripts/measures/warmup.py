"""Whether a smaller learning rate at the start saves tickets that are rewound to initialisation, on any agent.

Learning rate x warm-up x rewind point, as Frankle & Carbin 2019 (arXiv 1803.03635) and Frankle et al. 2020 (arXiv
1912.05671) did for images: each agent's tickets less its own dense runs, and less the same masks over other weights.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm

import rl_tickets as rt
from measures.minutes import took
from measures.study import Asked, conduct
from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.evaluation.families import holm
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, matrix_table, scores_of
from rl_tickets.report.wording import between, p_value, spanned

WARMUPS = {"without warm-up": 0.0, "warm-up over a tenth of training": 0.1}
"""Title -> part of training over which the learning rate rises."""
SMOKE = 12
"""Rollouts of a training that is to show that everything works."""
Cells = dict[tuple[str, str], tuple[str, str]]
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
    """

    make_model: Callable[..., BaseAlgorithm]
    rates: tuple[float, ...]
    points: tuple[int, ...]
    agent: str


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

    conduct(warmup, folder, Asked, extra=extra)


def of_agent(experiment: rt.Experiment, heat: Heat, rate: float, over: float, asked: Asked) -> rt.Experiment:
    """Tickets of one agent, rewound to each point, and the controls of all."""
    falling = partial(annealed, rate)
    searches: dict[str, rt.Plan] = {called(at): rt.IMP(rewind=rt.Rewind(at=at)) for at in heat.points}
    for at in heat.points:
        searches[f"{called(at)}_reinit"] = rt.Control(rt.random_reinit, of=called(at))
    made = replace(
        experiment,
        name=f"rate_{rate:g}_warmup_{over:g}",
        make_model=partial(heat.make_model, learning_rate=rt.Warmup(falling, over=over) if over else falling),
        seeds=asked.seeds,
        dense_seeds=asked.seeds,
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


def page(found: Mapping[str, Mapping[str, rt.Summary]], heat: Heat, asked: Asked) -> Iterator[str]:
    """The parts of the report; the figures are written beside it."""
    yield f"# Warm-up, learning rate and rewinding: {heat.agent}"
    every = [summary for agents in found.values() for summary in agents.values()]
    yield f"Made by `{asked.command}`. {took(every)}"
    if problems := sorted({each.problem for each in every if each.problem}):
        yield f"Nothing can be compared: {', '.join(problems)}."
        return
    for name, other in (("dense", "dense"), ("re-initialised", "reinit")):
        matrices = [Matrix.of(title, agents, cells(agents, heat.points, other)) for title, agents in found.items()]
        axes = {"up": "rewound to step", "across": "learning rate"}
        save(heat_maps(matrices, f"Tickets less {name}: {heat.agent}", **axes), asked.folder / f"less_{other}.png")
        yield f"## Tickets less {name}"
        yield f"![Tickets less {name}](less_{other}.png)"
        for matrix in matrices:
            yield f"Tickets less {name}, {matrix.title}:"
            yield "\n".join(matrix_table(matrix, **axes))
    yield (
        "Normalised return (0: a random policy; 1: that agent's own dense runs), averaged over the sparse densities, "
        "paired by seed; bold in the figures, and p below 0.05, is shown (Holm, over each map)."
    )
    yield "## What warm-up changes"
    yield "\n".join(changes(found, heat.points))
    yield (
        "Tickets less dense with warm-up, less the same without, paired by seed: positive where warm-up brings tickets "
        "nearer to their dense agent."
    )
    yield "## The agents"
    yield "\n".join(agents_table(found))


def cells(agents: Mapping[str, rt.Summary], points: tuple[int, ...], other: str) -> Cells:
    """Rewind point and learning rate -> the search, and what it is held against."""
    return {
        (f"{at:,}", rate): (called(at), other if other == "dense" else f"{called(at)}_{other}")
        for at in points
        for rate in agents
    }


def changes(found: Mapping[str, Mapping[str, rt.Summary]], points: tuple[int, ...]) -> Iterator[str]:
    """A row for each learning rate and rewind point."""
    cold, warm = found.values()
    made = {
        (rate, at): rt.contrast(
            *(np.subtract(*scores_of(agents[rate], called(at), "dense")) for agents in (warm, cold))
        )
        for rate in cold
        for at in points
    }
    adjusted = holm([change.p for change in made.values()])
    yield "| learning rate | rewound to step | seeds | change [95 %] | p, Holm |\n|---:|---:|---:|---:|---:|"
    for ((rate, at), change), p in zip(made.items(), adjusted, strict=True):
        told = (between(change.difference, change.interval), p_value(p).removeprefix("p ").removeprefix("= "))
        yield f"| {rate} | {at:,} | {change.seeds} | {' | '.join(told)} |"


def agents_table(found: Mapping[str, Mapping[str, rt.Summary]]) -> Iterator[str]:
    """What each agent returns densely, and where all of it is."""
    yield "| learning rate | | dense return: IQM [95 %] | failed | |\n|---:|---|---:|---:|---|"
    for title, agents in found.items():
        for rate, summary in agents.items():
            dense = summary.dense
            told = spanned(dense.returned, dense.returned_interval)
            place = f"[{summary.name}]({summary.name}/report.md)"
            yield f"| {rate} | {title} | {told} | {dense.failed} of {len(dense.scores)} | {place} |"
