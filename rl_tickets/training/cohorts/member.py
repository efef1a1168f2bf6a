"""A member of a cohort: an ordinary SB3 agent that goes through its own `learn` one vectorised step at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.callbacks import CallbackList
from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from rl_tickets.agents.holding import check_held, class_of
from rl_tickets.training.cohorts.normalizing import Answer
from rl_tickets.training.cohorts.rollouts import Array
from rl_tickets.training.cohorts.stepping import quick
from rl_tickets.training.runs import Run


class Streams:
    """A member's own random numbers: the same as SB3 would draw from the global generators after the same seed."""

    def __init__(self) -> None:
        self.torch = torch.Generator()
        self.numpy = np.random.RandomState()  # What the module-level functions that SB3 calls are methods of.

    def seed(self, seed: int) -> None:
        """Starts both generators anew."""
        self.torch.manual_seed(seed)
        self.numpy = np.random.RandomState(seed)


class Member:
    """What `OnPolicyAlgorithm.learn` and `collect_rollouts` do around a step, for one agent.

    Args:
        run: the level to train; its agent is `model`.
        slot: place in the cohort.
    """

    def __init__(self, run: Run, slot: int) -> None:
        self.run, self.slot = run, slot
        self.model: Any = run.model
        assert isinstance(self.model, OnPolicyAlgorithm)
        self.streams = Streams()
        self._iteration = 0
        self._log_interval = inspect.signature(class_of(self.model).learn).parameters["log_interval"].default
        self._leaving = ExitStack()

    def enter(self, release: Callable[[], None]) -> None:
        """Begins `learn`; `release` is called when the member leaves."""
        model = self.model
        self._leaving.callback(release)
        self._leaving.enter_context(quick(model.env))
        self._leaving.enter_context(self.run.retimed())
        callback = CallbackList(self.run.callbacks(self.streams.seed))
        steps, tag = self.run.steps_left, self.run.tb_log_name
        total, self.callback = model._setup_learn(steps, callback, False, tag, False)
        self._total = total
        known = {"self": model, "env": model.env, "callback": self.callback}
        known |= {"total_timesteps": total, "log_interval": self._log_interval, "tb_log_name": tag, "iteration": 0}
        known |= {"reset_num_timesteps": False, "progress_bar": False}
        self.callback.on_training_start(known, globals())
        self.callback.update_locals({"rollout_buffer": model.rollout_buffer, "n_rollout_steps": model.n_steps})

    @property
    def done(self) -> bool:
        """Whether the budget is used up."""
        return bool(self.model.num_timesteps >= self._total)

    def begin_rollout(self) -> None:
        """What happens before the first step of a rollout."""
        self.model.policy.set_training_mode(False)
        buffer = self.model.rollout_buffer
        buffer.pos, buffer.full, buffer.generator_ready = 0, False, False
        self.callback.on_rollout_start()

    def step(self, step: int, given: dict[str, Any], answer: Answer) -> tuple[Array, Array] | None:
        """What follows a step of this member's environments.

        Args:
            step: of the rollout.
            given: of this member: `actions`, `clipped_actions`, `values` and `log_probs`.
            answer: of its environments.

        Returns:
            Rewards, time limits bootstrapped, and dones, each (environments,); None if a callback ended training.
        """
        model = self.model
        new_obs, rewards, dones, infos = answer
        model.num_timesteps += model.n_envs
        answered = {"new_obs": new_obs, "rewards": rewards, "dones": dones, "infos": infos, "n_steps": step}
        self.callback.update_locals({**given, **answered})
        if not self.callback.on_step():
            return None
        model._update_info_buffer(infos, dones)
        if dones.any():
            self._bootstrap(rewards, dones, infos)
        model.rollout_buffer.pos = step + 1
        model._last_obs = new_obs
        model._last_episode_starts = dones
        return rewards, dones

    def _bootstrap(self, rewards: Array, dones: Array, infos: list[dict[str, Any]]) -> None:
        """Where only a time limit ended an episode, the value of its last observation is part of the reward."""
        policy = self.model.policy
        for index in np.flatnonzero(dones):
            last = infos[index].get("terminal_observation")
            if last is not None and infos[index].get("TimeLimit.truncated", False):
                with torch.no_grad():
                    value = policy.predict_values(policy.obs_to_tensor(last)[0])[0]
                rewards[index] += self.model.gamma * value.item()

    def end_rollout(self) -> None:
        """What happens between the last step of a rollout and its gradient steps."""
        model = self.model
        model.rollout_buffer.full = True
        self.callback.on_rollout_end()
        self._iteration += 1
        model._update_current_progress_remaining(model.num_timesteps, self._total)
        if self._log_interval is not None and self._iteration % self._log_interval == 0:
            model.dump_logs(self._iteration)
        model.policy.set_training_mode(True)
        model._update_learning_rate(model.policy.optimizer)

    def leave(self, *, diverged: bool = False) -> None:
        """Ends `learn`; the agent has tensors, buffer and environment of its own again."""
        self._leaving.close()
        if not diverged:
            self.callback.on_training_end()
            check_held(self.model)

    def abandon(self) -> None:
        """As `leave`, where something went wrong elsewhere."""
        self._leaving.close()
