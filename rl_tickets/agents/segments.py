"""Segments: training is cut at fixed steps, and every piece starts from a reset with seeds of its own.

Then a state captured between two segments holds all that the rest of the run depends on, in every environment:
Box2D's, MuJoCo's and Atari's own states need not be saved.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.utils import set_random_seed
from stable_baselines3.common.vec_env import VecNormalize

from rl_tickets.agents import anatomy
from rl_tickets.agents.generators import derived_seed

SeedDraws = Callable[[int], AbstractContextManager[object]]
"""Seeds the generators that an agent draws actions and minibatches from; gives the context in which it draws."""


def seed_global_draws(seed: int) -> AbstractContextManager[object]:
    """Seeds the global generators, which SB3's agents draw from anywhere."""
    set_random_seed(seed)
    return nullcontext()


def begin_segment(model: BaseAlgorithm, seed: int, step: int, seed_draws: SeedDraws = seed_global_draws) -> None:
    """Seeds every generator from (seed, step) and resets the environments; call at the start of a rollout."""
    derived = derived_seed(seed, step)
    drawing = seed_draws(derived)
    model.action_space.seed(derived)
    env = model.get_env()
    assert env is not None
    env.seed(derived)
    model._last_obs = env.reset()  # type: ignore[assignment]
    # Recurrent policies forget their states where an episode starts.
    model._last_episode_starts = np.ones((env.num_envs,), dtype=bool)
    if isinstance(normalize := model.get_vec_normalize_env(), VecNormalize):
        model._last_original_obs = normalize.get_original_obs()
    if model.action_noise is not None:
        model.action_noise.reset()
    for module in anatomy.modules(model).values():
        # Norm clipping also sees gradients that another optimizer left behind.
        module.zero_grad()
    if model.use_sde:
        with drawing:
            model.policy.reset_noise(env.num_envs)  # type: ignore[operator]
    buffer = getattr(model, "replay_buffer", None)
    if buffer is not None and (buffer.pos or buffer.full):
        _cut(buffer)


def _cut(buffer: Any) -> None:
    """Marks the newest transition of a replay buffer as its episode's last, as a time limit would."""
    if hasattr(buffer, "truncate_last_trajectory"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            buffer.truncate_last_trajectory()
    elif buffer.handle_timeout_termination:
        buffer.timeouts[buffer.pos - 1] = 1 - buffer.dones[buffer.pos - 1]
    else:
        buffer.dones[buffer.pos - 1] = True


class Segments(BaseCallback):
    """Begins a segment at the first rollout that starts at or after each boundary.

    Args:
        seed: the run's seed.
        boundaries: environment steps.
        on_cut: called where a boundary was reached, before the segment begins; not at the step from which training was
            resumed.
        seed_draws: SB3's, or what seeds an agent's own generators in a cohort.
    """

    def __init__(
        self,
        seed: int,
        boundaries: Sequence[int],
        on_cut: Callable[[], None],
        seed_draws: SeedDraws = seed_global_draws,
    ) -> None:
        super().__init__()
        self._seed_draws = seed_draws
        self._run_seed = seed
        self._ahead = sorted(boundaries)
        self._on_cut = on_cut
        self._begun = False

    def _on_rollout_start(self) -> None:
        step = self.model.num_timesteps
        reached = [boundary for boundary in self._ahead if boundary <= step]
        self._ahead = self._ahead[len(reached) :]
        if reached:
            self._on_cut()
        if reached or not self._begun:
            begin_segment(self.model, self._run_seed, step, self._seed_draws)
        self._begun = True

    def _on_step(self) -> bool:
        return True
