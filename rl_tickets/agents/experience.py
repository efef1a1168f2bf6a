"""Experience: what an agent meets before it has learned anything, from which its own `train` can learn again and again.

The agent itself is left as it was; a copy of it acts, and is trained.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecNormalize

from rl_tickets.agents.generators import derived_seed, draws_kept
from rl_tickets.agents.holding import class_of
from rl_tickets.agents.rebuilding import demand_same_modules
from rl_tickets.agents.state import TrainingState

STREAM = 0x5A1
"""Tells these draws from those of a training with the same seed."""


class Experience:
    """Rollouts, or a replay buffer, collected by an untrained copy of an agent in the agent's own environments.

    The agent's networks, optimizers, buffers and counters are not touched, and the global generators and VecNormalize's
    statistics are afterwards where they were. Its environments are stepped, and will be reset and seeded as its own
    seed says when it begins to learn: a fresh agent then learns as if nothing had been collected.

    Args:
        model: of SB3's on-policy or off-policy algorithms, with an environment.
        timesteps: environment steps to collect at least; rollouts are whole.
        seed: of environments, actions and minibatches.

    Raises:
        ValueError: the agent has no environment, or is of no algorithm that trains on rollouts or a replay buffer.
    """

    def __init__(self, model: BaseAlgorithm, timesteps: int, seed: int) -> None:
        demand_environment(model)
        self._seed = derived_seed(seed, STREAM)
        self._rollouts: list[Any] = []
        normalize = model.get_vec_normalize_env()
        with environments_lent(model), warnings.catch_warnings():
            # Whatever SB3 says of the agent's settings was said when it was made.
            warnings.simplefilter("ignore")
            self.learner = _copied(model)
            self._collect(timesteps)
            if isinstance(normalize, VecNormalize):
                self.learner._vec_normalize_env = deepcopy(normalize)
        self.timesteps = self.learner.num_timesteps
        """Environment steps that were taken."""

    def train(self, begin: Callable[[], None]) -> None:
        """The copy's own `train` on all of it, with the same minibatches each time.

        Args:
            begin: called before it trains on the replay buffer, or on each rollout.
        """
        learner: Any = self.learner
        learner._n_updates, learner._current_progress_remaining = 0, 1.0
        with draws_kept():
            set_random_seed(self._seed)
            if isinstance(learner, OffPolicyAlgorithm):
                begin()
                learner.train(gradient_steps=self._minibatches(), batch_size=learner.batch_size)
            for rollout in self._rollouts:
                begin()
                learner.rollout_buffer = rollout
                learner.train()

    def _minibatches(self) -> int:
        """As many as hold what was collected once, and no fewer than it takes for the actor to have its turn."""
        learner: Any = self.learner
        once = -(-self.timesteps // int(learner.batch_size))
        return max(once, int(getattr(learner, "policy_delay", 1)))

    def _collect(self, timesteps: int) -> None:
        learner: Any = self.learner
        set_random_seed(self._seed)
        learner.action_space.seed(self._seed)
        learner.env.seed(self._seed)
        if isinstance(self.learner, OffPolicyAlgorithm):
            learner.learning_starts = 0
            learner.train = lambda *_, **__: None
        else:
            learner.train = lambda: self._rollouts.append(deepcopy(learner.rollout_buffer))
        learner.learn(timesteps)
        del learner.train


@contextmanager
def environments_lent(model: BaseAlgorithm) -> Iterator[None]:
    """Lets something else step an agent's environments; a fresh agent then learns as if nothing had stepped them.

    The global generators and VecNormalize's statistics are afterwards where they were; the environments are seeded as
    the agent's own seed says, and reset when it begins to learn.
    """
    statistics = TrainingState.capture(model, replay_buffer=False).only("normalizer")
    with draws_kept():
        yield
    statistics.restore(model)
    env = model.get_env()
    assert env is not None
    if model.seed is not None:
        env.seed(model.seed)
    # No longer what the environments show: `learn` resets them.
    model._last_obs = None


def demand_environment(model: BaseAlgorithm) -> None:
    """Raises ValueError where nothing can be collected."""
    if model.get_env() is None:
        raise ValueError(
            f"this {type(model).__name__} has no environment, so that there is no data for its loss; give it one with "
            "`set_env`, or use a criterion that needs no data, such as rt.synflow"
        )
    if not isinstance(model, OnPolicyAlgorithm | OffPolicyAlgorithm):
        raise ValueError(
            f"{type(model).__name__} is neither an on-policy nor an off-policy algorithm of SB3's, so that its loss is "
            "unknown; use a criterion that needs none, such as rt.synflow"
        )


def _copied(model: BaseAlgorithm) -> BaseAlgorithm:
    """Made again as SB3 makes it, with the same weights, in the same environments; silent, and with its own buffers."""
    found: Any = copy(model)
    found.__class__ = class_of(model)
    found.verbose, found.tensorboard_log = 0, None
    found.action_space, found.action_noise = deepcopy(model.action_space), deepcopy(model.action_noise)
    if hasattr(model, "replay_buffer"):
        found.replay_buffer = None
    found._setup_model()
    demand_same_modules(model.policy, found.policy)
    TrainingState.capture(model, replay_buffer=False).only("weights", "optimizers").restore(found)
    found.set_logger(Logger(None, []))
    return found  # type: ignore[no-any-return]
