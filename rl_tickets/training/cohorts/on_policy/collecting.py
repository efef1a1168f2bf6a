"""Collecting: one rollout of every member, as `OnPolicyAlgorithm.collect_rollouts` goes through it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from rl_tickets.training.cohorts.classes import classes_of, demand_classes
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.normalizing import Normalizing
from rl_tickets.training.cohorts.on_policy.acting import Acting, clipped
from rl_tickets.training.cohorts.on_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.on_policy.rollouts import Rollouts
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.stepping import Answer, Array
from rl_tickets.training.observing import MASKS, as_shown, each, spaces_of


class Collecting:
    """The members' environments, and what is played in them.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        stack: their weights.
        rollouts: filled with what they see and do.
        model: any member's agent.
    """

    def __init__(
        self, policy: ActorCriticPolicy, blueprint: Blueprint, stack: Stack, rollouts: Rollouts, model: Any
    ) -> None:
        self._stack, self._rollouts, self._space = stack, rollouts, model.action_space
        seen, places = spaces_of(model.observation_space), (stack.members, rollouts.environments)
        self._classes = each(classes_of, seen)
        self._now = each(
            lambda space, array: np.zeros((*places, *space.shape), as_shown(array.dtype)),
            seen,
            rollouts.arrays["observations"],
        )
        self._shown = {"observations": self._now}
        if MASKS in rollouts.arrays:
            self._shown[MASKS] = np.ones((*places, rollouts.arrays[MASKS].shape[-1]), np.float32)
        self._starts = np.ones(places, dtype=bool)
        normalization = blueprint.normalization
        self._normalizing = None if normalization is None else Normalizing(normalization, self._now)
        self.acting = Acting(policy, blueprint.sampler, stack, self._shown, rollouts.environments)

    def release(self, member: Member) -> None:
        """Nothing of a member stays here, and its environment is its own again."""
        each(lambda now: now[member.slot].fill(0), self._now)
        if MASKS in self._shown:
            self._shown[MASKS][member.slot] = 1
        if self._normalizing is not None:
            self._normalizing.release(member.model.env)

    def begin(self, members: list[Member]) -> None:
        """What happens before the first step of a rollout."""
        for member in members:
            model, slot = member.model, member.slot
            model.policy.set_training_mode(False)
            buffer = model.rollout_buffer
            buffer.pos, buffer.full, buffer.generator_ready = 0, False, False
            _explore_anew(member)
            member.callback.on_rollout_start()
            self._stack.adopt(slot, model)
            self._show(slot, model._last_obs)
            self._starts[slot] = model._last_episode_starts
            if self._normalizing is not None:
                self._normalizing.lend(slot, model.env)

    def _show(self, slot: int, observations: Any) -> None:
        each(lambda now, seen: np.copyto(now[slot], seen, casting="unsafe"), self._now, observations)

    def rollout(self, members: list[Member]) -> list[Member]:
        """Those members that stay; those whose callbacks end training leave."""
        for step in range(self._rollouts.steps):
            if members:
                members = self._step(members, step)
        if members:
            _, values, _ = self.acting.act()
            for member in members:
                self._rollouts.show(member.slot, member.model.rollout_buffer)
            self._rollouts.compute_returns_and_advantage(values.numpy(), self._starts)
        for member in members:
            _end(member)
        return members

    def _step(self, members: list[Member], step: int) -> list[Member]:
        masks: dict[int, Array] = {}
        for member in members:
            model = member.model
            if model.sde_sample_freq > 0 and step % model.sde_sample_freq == 0:
                _explore_anew(member)
            if MASKS in self._shown:
                masks[member.slot] = np.stack(model.env.env_method(MASKS))
                self._shown[MASKS][member.slot] = masks[member.slot].reshape(self._shown[MASKS].shape[1:])
            self.acting.draw(member.slot, model.policy.action_dist, member.streams.torch)
        actions, values, log_probs = self.acting.act()
        chosen = actions.numpy()
        made = {"actions": chosen, "values": values.numpy(), "log_probs": log_probs.numpy()}
        self._rollouts.add(step, **self._shown, **made, episode_starts=self._starts)
        executed = clipped(chosen, self._space)
        rows = list(zip(chosen, executed, values.unsqueeze(-1).unbind(), log_probs.unbind(), strict=True))
        staying = []
        for member, answer in zip(members, self._simulate(members, executed), strict=True):
            slot = member.slot
            given = dict(zip(("actions", "clipped_actions", "values", "log_probs"), rows[slot], strict=True))
            if slot in masks:
                given[MASKS] = masks[slot]
            earned = _answered(member, step, given, answer)
            if earned is None:
                member.leave()
                continue
            self._rollouts.arrays["rewards"][slot, step], self._starts[slot] = earned
            each(demand_classes, self._classes, member.model._last_obs)
            self._show(slot, member.model._last_obs)
            staying.append(member)
        return staying

    def _simulate(self, members: list[Member], actions: Array) -> list[Answer]:
        """One step of all members' environments; those in processes of their own step at the same time."""
        envs = [member.model.env for member in members]
        stepped = envs if self._normalizing is None else [env.venv for env in envs]
        for member, env in zip(members, stepped, strict=True):
            env.step_async(actions[member.slot])
        answers: list[Answer] = [env.step_wait() for env in stepped]
        if self._normalizing is None:
            return answers
        return self._normalizing.apply([member.slot for member in members], envs, answers)


def _explore_anew(member: Member) -> None:
    """With gSDE, the policy draws its exploration noise itself, for this and further steps."""
    if member.model.use_sde:
        with member.streams.everywhere():
            member.model.policy.reset_noise(member.model.n_envs)


def _answered(member: Member, step: int, given: dict[str, Any], answer: Answer) -> tuple[Array, Array] | None:
    """What follows a step of a member's environments.

    Args:
        member: whose.
        step: of the rollout.
        given: of this member: `actions`, `clipped_actions`, `values`, `log_probs`, and perhaps `action_masks`.
        answer: of its environments.

    Returns:
        Rewards, time limits bootstrapped, and dones, each (environments,); None if a callback ended training.
    """
    model = member.model
    new_obs, rewards, dones, infos = answer
    model.num_timesteps += model.n_envs
    answered = {"new_obs": new_obs, "rewards": rewards, "dones": dones, "infos": infos, "n_steps": step}
    member.callback.update_locals({**given, **answered})
    if not member.callback.on_step():
        return None
    model._update_info_buffer(infos, dones)
    if dones.any():
        _bootstrap(model, rewards, dones, infos)
    model.rollout_buffer.pos = step + 1
    model._last_obs = new_obs
    model._last_episode_starts = dones
    return rewards, dones


def _bootstrap(model: Any, rewards: Array, dones: Array, infos: list[dict[str, Any]]) -> None:
    """Where only a time limit ended an episode, the value of its last observation is part of the reward."""
    for index in np.flatnonzero(dones):
        last = infos[index].get("terminal_observation")
        if last is not None and infos[index].get("TimeLimit.truncated", False):
            with torch.no_grad():
                value = model.policy.predict_values(model.policy.obs_to_tensor(last)[0])[0]
            rewards[index] += model.gamma * value.item()


def _end(member: Member) -> None:
    """What happens between the last step of a rollout and its gradient steps."""
    model = member.model
    model.rollout_buffer.full = True
    member.callback.on_rollout_end()
    member.rounds += 1
    model._update_current_progress_remaining(model.num_timesteps, member.total)
    if member.log_interval is not None and member.rounds % member.log_interval == 0:
        model.dump_logs(member.rounds)
    model.policy.set_training_mode(True)
    model._update_learning_rate(model.policy.optimizer)
