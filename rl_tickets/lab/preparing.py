"""Before anything is trained: what follows from the agent is filled in, and the experiment described on disk."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from rich.console import Console
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.layers import WiringError
from rl_tickets.agents.making import built, fresh_agent
from rl_tickets.agents.wiring import wiring
from rl_tickets.evaluation.acting import RandomPolicy
from rl_tickets.evaluation.returns import play
from rl_tickets.evaluation.spaces import check_env
from rl_tickets.lab.description import Description, known
from rl_tickets.lab.experiment import Experiment
from rl_tickets.lab.store import Store
from rl_tickets.lab.threads import one_thread
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.environments import demand_own_environments
from rl_tickets.training.trainers import Plain

SMALL = 100e6
"""Bytes of final weights that are kept where nobody says how many to keep."""
SAMPLE = 20
"""Episodes of a random policy that tell whether an environment is still the same."""


def say(*sentences: str) -> None:
    """What a user should know of a run, once, beside its progress."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    for sentence in sentences:
        console.print(sentence, markup=False)


def begin(experiment: Experiment, store: Store) -> Experiment:
    """Fills in what follows from the agent, and writes or checks the description of the experiment."""
    experiment, description = prepared(experiment, store)
    description.settle(store.description)
    return experiment


def prepared(experiment: Experiment, store: Store) -> tuple[Experiment, Description]:
    """With what follows from the agent, and the description of it all; writes nothing."""
    with one_thread():
        model = fresh_agent(experiment.make_model, experiment.all_seeds[0])
        # Tells at once what cannot be held or stays dense, whatever else would be said.
        Mask.dense(model, experiment.prunable)
        if experiment.segment is None:
            segment = 5_000 if getattr(model, "replay_buffer", None) is not None else 50_000
            experiment = replace(experiment, segment=segment)
        check_env(model, experiment.make_env)
        _demand_seeded(experiment, model)
        _demand_named(experiment, model)
        experiment = experiment.on_grid()
        _check_agent(experiment, model)
        experiment = _sized(_joined(experiment, model), model)
        description = Description.of(experiment, model, _random(experiment, model, known(store.description)))
    if (env := model.get_env()) is not None:
        env.close()
    return experiment, description


def _check_agent(experiment: Experiment, model: BaseAlgorithm) -> None:
    """Raises ValueError that names the search which could not train this agent."""
    setup = experiment.setup(experiment.all_seeds[0])
    for name, plan in experiment.searches.items():
        try:
            plan.check_agent(model, setup)
        except ValueError as error:
            raise ValueError(f"search {name!r}: {error}") from error


def _random(experiment: Experiment, model: BaseAlgorithm, before: Mapping[str, Any]) -> dict[str, float]:
    """What a random policy returns: over a sample, played anew each time, and over all its episodes.

    The latter takes a minute in a slow environment, and is taken over where the sample says that nothing changed.
    """

    def returned(episodes: int) -> float:
        policy, seed = RandomPolicy(model.action_space, seed=experiment.evaluation_seed), experiment.evaluation_seed
        return float(play(policy, experiment.make_env, episodes=episodes, seed=seed).returns.mean())

    same = {
        "random_sample": returned(min(SAMPLE, experiment.random_episodes)),
        "random_episodes": experiment.random_episodes,
        "evaluation_seed": experiment.evaluation_seed,
    }
    whole = before.get("random_return")
    if whole is None or any(before.get(name) != value for name, value in same.items()):
        whole = returned(experiment.random_episodes)
    return {"random_sample": same["random_sample"], "random_return": whole}


def _demand_named(experiment: Experiment, model: BaseAlgorithm) -> None:
    """Every dimension of the observation has a name, or none has, as far as it is understood what the networks see."""
    if experiment.input_names is None:
        return
    with suppress(WiringError):
        count = sum(wiring(model, experiment.prunable).observations.values())
        if count != len(experiment.input_names):
            raise ValueError(
                f"input_names has {len(experiment.input_names)} names, and the networks see {count} dimensions of the "
                "observation (entries of a one-hot vector, channels of an image)"
            )


def _demand_seeded(experiment: Experiment, model: BaseAlgorithm) -> None:
    """Replicates must differ, each must be made again the same, and none may train in another's environment."""
    seed = experiment.all_seeds[0]
    same, other = _initial(experiment, seed, model), _initial(experiment, seed + 1, model)
    weights = model.policy.state_dict()
    if any(not torch.equal(weights[name], same[name]) for name in weights):
        raise ValueError(
            f"make_model({seed}) gave two agents with different weights, so that nothing reproduces: let all of its "
            "draws follow from the seed"
        )
    if all(torch.equal(weights[name], other[name]) for name in weights):
        raise ValueError(
            "make_model(seed) ignores its seed: agents of two seeds have the same weights, and would be no replicates; "
            "pass it on, as in PPO(..., seed=seed)"
        )


def _initial(experiment: Experiment, seed: int, beside: BaseAlgorithm) -> dict[str, torch.Tensor]:
    with built(experiment.make_model, seed) as model:
        demand_own_environments([beside, model])
        return {name: tensor.clone() for name, tensor in model.policy.state_dict().items()}


def _joined(experiment: Experiment, model: BaseAlgorithm) -> Experiment:
    """With plain SB3 as the trainer where the agent cannot be trained as asked, which is said once."""
    if (obstacle := experiment.trainer.obstacle(model)) is not None:
        say(f"This agent trains with plain SB3, since {obstacle}.")
        return replace(experiment, trainer=Plain())
    if (remark := experiment.trainer.remark()) is not None:
        say(remark)
    return experiment


def _sized(experiment: Experiment, model: BaseAlgorithm) -> Experiment:
    """With all final weights kept where they are small, else the last ones', which is said once."""
    if experiment.keep is not None:
        return experiment
    size = sum(tensor.numel() * tensor.element_size() for tensor in model.policy.state_dict().values())
    count = experiment.count
    if size * count <= SMALL:
        return replace(experiment, keep="all")
    say(
        f"The final weights of all {count} trainings would take {size * count / 1e6:.0f} MB, so only those of each "
        'search\'s last level are kept; Experiment(keep="all") keeps them all.'
    )
    return replace(experiment, keep="last")
