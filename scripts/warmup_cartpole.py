"""Whether a smaller learning rate at the start saves tickets that are rewound to initialisation: PPO, CartPole, 2x512.

Learning rate x warm-up x rewind point, as Frankle & Carbin 2019 (arXiv 1803.03635) and Frankle et al. 2020 (arXiv
1912.05671) did for images: each agent's tickets less its own dense runs, and less the same masks over other weights.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from cartpole import make_env
from measures.minutes import took
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt
from rl_tickets.agents.anatomy import rollout_steps
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, matrix_table, scores_of
from rl_tickets.report.wording import between, p_value, spanned
from rl_tickets.tickets.archive import write_whole

COMMAND = "python scripts/warmup_cartpole.py"
RATES = (5e-4, 1e-3, 3e-3)
WARMUPS = {"without warm-up": 0.0, "warm-up over a tenth of training": 0.1}
"""Title -> part of training over which the learning rate rises."""
POINTS = (0, 2_048)
DENSITIES = (1.0, 0.05, 0.0025)
SMOKE = 12
"""Rollouts of a training that is to show that everything works."""


def annealed(start: float, progress: float) -> float:
    """Falls linearly to 0 while progress does from 1."""
    return start * progress


def make_model(seed: int, rate: float, warmup: float, width: int = 512) -> PPO:
    falling = partial(annealed, rate)
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=8, seed=seed),
        n_steps=64,
        batch_size=256,
        n_epochs=10,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=rt.Warmup(falling, over=warmup) if warmup else falling,
        clip_range=partial(annealed, 0.2),
        policy_kwargs={"net_arch": [width, width]},
        seed=seed,
        device="cpu",
    )


def experiment(rate: float, warmup: float, seeds: int) -> rt.Experiment:
    """Tickets of one agent, rewound to each point, and the controls of all."""
    searches: dict[str, rt.Plan] = {called(at): rt.IMP(rewind=rt.Rewind(at=at)) for at in POINTS}
    for at in POINTS:
        searches[f"{called(at)}_reinit"] = rt.Control(rt.random_reinit, of=called(at))
    return rt.Experiment(
        name=f"rate_{rate:g}_warmup_{warmup:g}",
        make_model=partial(make_model, rate=rate, warmup=warmup),
        make_env=make_env,
        total_timesteps=20_480,
        densities=DENSITIES,
        seeds=seeds,
        dense_seeds=seeds,
        searches=searches,
        episodes=20,
        command=COMMAND,
    )


def called(at: int) -> str:
    """The search that rewinds to a step."""
    return f"rewound_{at}"


def main(
    seeds: int = 10,
    jobs: int = 2,
    out: Path = Path("results/warmup_cartpole"),
    smoke: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
) -> None:
    """Trains the tickets of every agent, and writes tables and heat maps. Started again, it goes on where it was.

    Args:
        seeds: training seeds.
        jobs: worker processes.
        out: folder of the results.
        smoke: two seeds, two learning rates, a narrow network and few steps, to show that everything works; it proves
            nothing.
    """
    command = f"{COMMAND} --seeds {seeds}{' --smoke' if smoke else ''}"
    out, rates = (out.with_name(f"{out.name}_smoke"), RATES[1:]) if smoke else (out, RATES)
    found: dict[str, dict[str, rt.Summary]] = {}
    for title, warmup in WARMUPS.items():
        for rate in rates:
            made = replace(experiment(rate, warmup, seeds), command=command)
            found.setdefault(title, {})[f"{rate:g}"] = rt.run(smaller(made) if smoke else made, jobs=jobs, out=out)
    text = "\n\n".join(page(found, out, command)) + "\n"
    write_whole(out / "report.md", text.encode())
    print(text)


def smaller(made: rt.Experiment) -> rt.Experiment:
    """The same with two seeds, a narrow network and few steps."""
    make: Any = partial(made.make_model, width=32)
    small = replace(made, make_model=make, seeds=2, dense_seeds=2, densities=(1.0, 0.5, 0.2), episodes=5)
    rollout = rollout_steps(make(0))
    return small.scaled(SMOKE * rollout, rollout=rollout)


def page(found: Mapping[str, Mapping[str, rt.Summary]], out: Path, command: str) -> Iterator[str]:
    """The parts of the report; the figures are written beside it."""
    yield "# Warm-up, learning rate and rewinding on CartPole, 2x512"
    every = [summary for agents in found.values() for summary in agents.values()]
    yield f"Made by `{command}`. {took(every)}"
    if problems := sorted({each.problem for each in every if each.problem}):
        yield f"Nothing can be compared: {', '.join(problems)}."
        return
    for name, other in (("dense", "dense"), ("re-initialised", "reinit")):
        matrices = [Matrix.of(title, agents, cells(agents, other)) for title, agents in found.items()]
        axes = {"up": "rewound to step", "across": "learning rate"}
        save(heat_maps(matrices, f"Tickets less {name}, 2x512 on CartPole", **axes), out / f"less_{other}.png")
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
    yield "\n".join(changes(found))
    yield (
        "Tickets less dense with warm-up, less the same without, paired by seed: positive where warm-up brings tickets "
        "nearer to their dense agent."
    )
    yield "## The agents"
    yield "\n".join(agents_table(found))


def cells(agents: Mapping[str, rt.Summary], other: str) -> dict[tuple[str, str], tuple[str, str]]:
    """Rewind point and learning rate -> the search, and what it is held against."""
    return {
        (f"{at:,}", rate): (called(at), other if other == "dense" else f"{called(at)}_{other}")
        for at in POINTS
        for rate in agents
    }


def changes(found: Mapping[str, Mapping[str, rt.Summary]]) -> Iterator[str]:
    """A row for each learning rate and rewind point."""
    cold, warm = found.values()
    yield "| learning rate | rewound to step | seeds | change [95 %] | p |\n|---:|---:|---:|---:|---:|"
    for rate in cold:
        for at in POINTS:
            gains = [np.subtract(*scores_of(agents[rate], called(at), "dense")) for agents in (warm, cold)]
            change = rt.contrast(*gains)
            told = (
                between(change.difference, change.interval),
                p_value(change.p).removeprefix("p ").removeprefix("= "),
            )
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


if __name__ == "__main__":
    tyro.cli(main)
