"""Whether tickets of PPO on CartPole win in other physics, and under other optimizers (Morcos et al. 2019)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium as gym
import torch
import tyro
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

import rl_tickets as rt
from rl_tickets.agents.anatomy import shortest_run
from rl_tickets.report.looks import save
from rl_tickets.report.matrix import Matrix, heat_maps, matrix_table
from rl_tickets.tickets.archive import write_whole

COMMAND = "python scripts/transfer_cartpole.py"


def make_env(gravity: float = 9.8, length: float = 0.5, force: float = 10.0) -> gym.Env:
    """CartPole with another gravity (m/s²), half length of the pole (m) or force of a push (N)."""
    env = gym.make("CartPole-v1")
    physics: Any = env.unwrapped
    physics.gravity, physics.length, physics.force_mag = gravity, length, force
    physics.polemass_length = physics.masspole * length
    return env


def make_model(seed: int, make_env: Any = make_env, learning_rate: float = 1e-3, **policy: Any) -> PPO:
    return PPO(
        "MlpPolicy",
        make_vec_env(make_env, n_envs=8, seed=seed),
        n_steps=32,
        batch_size=256,
        n_epochs=20,
        gamma=0.98,
        gae_lambda=0.8,
        ent_coef=0.0,
        learning_rate=partial(annealed, learning_rate),
        clip_range=partial(annealed, 0.2),
        policy_kwargs=policy,
        seed=seed,
        device="cpu",
    )


def annealed(start: float, progress: float) -> float:
    """Falls linearly to 0 while progress does from 1."""
    return start * progress


@dataclass(frozen=True)
class Family:
    """Agents among which tickets are exchanged.

    Args:
        title: of its heat maps.
        agents: name -> (make_model, make_env).
    """

    title: str
    agents: Mapping[str, tuple[Any, Any]]


def in_physics(**physics: float) -> tuple[Any, Any]:
    env = partial(make_env, **physics)
    return partial(make_model, make_env=env), env


def with_optimizer(kind: Any, learning_rate: float, **settings: float) -> tuple[Any, Any]:
    made = partial(make_model, learning_rate=learning_rate, optimizer_class=kind, optimizer_kwargs=settings)
    return made, make_env


FAMILIES = {
    "physics": Family(
        "Other physics",
        {
            "usual": in_physics(),
            "moon": in_physics(gravity=1.62),
            "heavy": in_physics(gravity=25.0),
            "long": in_physics(length=2.0),
            "weak": in_physics(force=4.0),
        },
    ),
    "optimizers": Family(
        "Other optimizers",
        {
            "adam": with_optimizer(torch.optim.Adam, 1e-3, eps=1e-5),
            "rmsprop": with_optimizer(torch.optim.RMSprop, 1e-3, eps=1e-5),
            "sgd": with_optimizer(torch.optim.SGD, 5e-2, momentum=0.9),
        },
    ),
}


def main(seeds: int = 10, jobs: int | None = None, out: Path = Path("results/transfer_cartpole"), smoke: bool = False):
    """Finds tickets for every agent, trains all of them in all others, and writes heat maps of contrasts.

    Killed and started again, it goes on where it was; another number of seeds needs a folder of its own.

    Args:
        seeds: training seeds.
        jobs: worker processes; by default one for each core.
        out: folder of the results.
        smoke: two agents of each family, two seeds and a few steps, which shows that everything works and proves
            nothing.
    """
    command = f"{COMMAND} --seeds {seeds}{' --smoke' if smoke else ''}"
    out, seeds = (out.with_name(f"{out.name}_smoke"), 2) if smoke else (out, seeds)
    parts = [f"# Transfer of tickets on CartPole\n\nMade by `{command}`."]
    for name, family in FAMILIES.items():
        agents = dict(list(family.agents.items())[:2]) if smoke else family.agents
        experiments = {agent: experiment(f"{name}_{agent}", *made, seeds, smoke) for agent, made in agents.items()}
        parts += page(family, trained(experiments, jobs, out), out, name)
    text = "\n\n".join(parts) + "\n"
    write_whole(out / "report.md", text.encode())
    print(text)


def experiment(name: str, make_model: Any, make_env: Any, seeds: int, smoke: bool) -> rt.Experiment:
    """The search for an agent's own tickets, and its control."""
    made = rt.Experiment(
        name=name,
        make_model=make_model,
        make_env=make_env,
        total_timesteps=50_000,
        densities=rt.geometric(keep=0.5, levels=5),
        seeds=seeds,
        searches={"own": rt.IMP(), "own_reinit": rt.Control(rt.random_reinit, of="own")},
        command=COMMAND,
    )
    if smoke:
        steps = shortest_run(make_model(0))
        return replace(made.scaled(steps), densities=(1.0, 0.5, 0.25), episodes=2)
    return made


def trained(experiments: Mapping[str, rt.Experiment], jobs: int | None, out: Path) -> dict[str, rt.Summary]:
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
    return [f"## {family.title}", f"![{family.title}]({name}.png)", *tables]


if __name__ == "__main__":
    tyro.cli(main)
