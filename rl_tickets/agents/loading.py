"""Loading a held agent that was saved: with SB3's own `load`, and held again before anything can train it."""

from pathlib import Path
from typing import Any, TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents import anatomy
from rl_tickets.agents.enforcing import LeakError
from rl_tickets.agents.fitting import demand_fit, demand_mask
from rl_tickets.agents.holding import hold
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.ticket import Ticket

Model = TypeVar("Model", bound=BaseAlgorithm)


def load(algorithm: type[Model], path: str | Path, held: Ticket | Mask, **settings: Any) -> Model:
    """Loads an agent that was saved while a mask was held, and holds the mask again, ready to train on.

    Args:
        algorithm: its class, such as `PPO`.
        path: what its `save` wrote.
        held: the mask that was held, or the ticket it belongs to.
        settings: for `algorithm.load`: `env`, `device`, ...

    Raises:
        FileNotFoundError: there is no such file.
        TypeError: `held` is neither a ticket nor a mask.
        ValueError: the agent has another architecture than the mask.
        LeakError: weights that the mask prunes are not zero in the file.

    Example:
        >>> import tempfile
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", n_steps=16, batch_size=16, seed=0, device="cpu")
        >>> mask = Mask({"action_net.weight": model.policy.action_net.weight > 0})
        >>> _ = hold(model, mask)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(folder + "/agent.zip")
        ...     again = load(PPO, folder + "/agent.zip", mask, env=model.get_env())
        >>> bool(again.learn(16).policy.action_net.weight[~mask["action_net.weight"]].any())
        False
    """
    mask = held.mask if isinstance(held, Ticket) else held
    demand_mask(mask)
    model = algorithm.load(path, **settings)
    named = dict(model.policy.named_parameters())
    demand_fit(named, mask, anatomy.trained_parameters(model))
    names = {id(p): name for name, p in named.items()}
    places = [(name, name, named[name]) for name in mask]
    for trained, copied in anatomy.twins(model):
        if id(trained) in names:
            places.append((names.get(id(copied), "a target network"), names[id(trained)], copied))
    for place, name, weight in places:
        if name in mask and (count := int(weight.detach().cpu()[~mask[name]].count_nonzero())):
            raise LeakError(
                f"{count} weights of {place} that the mask prunes are not zero in {Path(path)}: it was saved without "
                "this mask held, or trained on without; load it with SB3 and `rt.hold(model, mask)` to prune them now"
            )
    hold(model, mask)
    return model
