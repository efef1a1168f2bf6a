"""Collecting: what every member plays between two updates, as `OffPolicyAlgorithm.collect_rollouts` goes through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from stable_baselines3.common.utils import should_collect_more_steps

from rl_tickets.training.cohorts.classes import classes_of, demand_classes
from rl_tickets.training.cohorts.member import Member
from rl_tickets.training.cohorts.normalizing import Normalizing
from rl_tickets.training.cohorts.off_policy.acting import Acting
from rl_tickets.training.cohorts.off_policy.blueprint import Blueprint
from rl_tickets.training.cohorts.off_policy.exploring import drawn
from rl_tickets.training.cohorts.stack import Stack
from rl_tickets.training.cohorts.stepping import Answer, Array
from rl_tickets.training.observing import as_shown


@dataclass
class Playing:
    """A member, and how far it is in its rollout."""

    member: Member
    steps: int = 0
    episodes: int = 0

    @property
    def goes_on(self) -> bool:
        """Whether SB3 would take another step."""
        return should_collect_more_steps(self.member.model.train_freq, self.steps, self.episodes)


class Collecting:
    """The members' environments, and what is played in them.

    Args:
        policy: a copy of any member's; its weights do not matter.
        blueprint: what the members have in common.
        stack: their weights.
        model: any member's agent.
    """

    def __init__(self, policy: Any, blueprint: Blueprint, stack: Stack, model: Any) -> None:
        self._stack, self._algorithm = stack, blueprint.algorithm
        space = model.observation_space
        self._classes = classes_of(space)
        self._now = np.zeros((stack.members, model.n_envs, *space.shape), as_shown(space.dtype))
        normalization = blueprint.normalization
        self._normalizing = None if normalization is None else Normalizing(normalization, self._now)
        self.acting = Acting(policy, blueprint.algorithm, stack, self._now, model.replay_buffer.action_dim)

    def release(self, member: Member) -> None:
        """Nothing of a member stays here, and its environment is its own again."""
        self._now[member.slot] = 0
        if self._normalizing is not None:
            self._normalizing.release(member.model.env)

    def begin(self, members: list[Member]) -> None:
        """What happens before the first step of a rollout."""
        for member in members:
            model, slot = member.model, member.slot
            member.callback.on_rollout_start()
            self._stack.adopt(slot, model)
            self._now[slot] = model._last_obs
            if self._normalizing is not None:
                self._normalizing.lend(slot, model.env)

    def rollout(self, members: list[Member]) -> list[Playing]:
        """Those members that stay, and how long they have played; those whose callbacks end training leave."""
        everyone = [Playing(member) for member in members]
        left: list[Playing] = []
        while playing := [each for each in everyone if each not in left and each.goes_on]:
            left += self._step(playing)
        staying = [each for each in everyone if each not in left]
        for each in staying:
            each.member.callback.on_rollout_end()
            each.member.rounds += 1
        return staying

    def _step(self, playing: list[Playing]) -> list[Playing]:
        """Those who leave."""
        chosen = list(self._choose([each.member for each in playing]))
        leaving = []
        answers = self._simulate([each.member for each in playing], [actions for actions, _ in chosen])
        for each, (actions, kept), answer in zip(playing, chosen, answers, strict=True):
            if _answered(each, actions, kept, answer):
                seen = each.member.model._last_obs
                demand_classes(self._classes, seen)
                self._now[each.member.slot] = seen
            else:
                each.member.leave()
                leaving.append(each)
        return leaving

    def _choose(self, members: list[Member]) -> Iterator[tuple[Array, Array]]:
        """Of each, actions for its environments and for its replay buffer: see `_sample_action`."""
        thinking = []
        for member in members:
            model, slot = member.model, member.slot
            warming_up = model.num_timesteps < model.learning_starts
            if not (warming_up or self._algorithm.wanders(model, member.streams.numpy)):
                self.acting.draw(slot, member.streams.torch)
                thinking.append(slot)
        thought = self.acting.act() if thinking else None
        for member in members:
            model, slot = member.model, member.slot
            if thought is None or slot not in thinking:
                found = np.array([model.action_space.sample() for _ in range(model.n_envs)])
            else:
                found = thought[slot]
                if isinstance(model.action_space, spaces.Box):
                    found = model.policy.unscale_action(found)
            yield _explored(member, found)

    def _simulate(self, members: list[Member], actions: list[Array]) -> list[Answer]:
        """One step of all members' environments; those in processes of their own step at the same time."""
        envs = [member.model.env for member in members]
        stepped = envs if self._normalizing is None else [env.venv for env in envs]
        for env, chosen in zip(stepped, actions, strict=True):
            env.step_async(chosen)
        answers: list[Answer] = [env.step_wait() for env in stepped]
        if self._normalizing is None:
            return answers
        return self._normalizing.apply([member.slot for member in members], envs, answers)


def _explored(member: Member, found: Array) -> tuple[Array, Array]:
    """Actions for environments and buffer, of what an agent would do without noise."""
    model = member.model
    if not isinstance(model.action_space, spaces.Box):
        return found, found
    scaled = model.policy.scale_action(found)
    if model.action_noise is not None:
        scaled = np.clip(scaled + drawn(model.action_noise, member.streams.numpy), -1, 1)
    return model.policy.unscale_action(scaled), scaled


def _answered(playing: Playing, actions: Array, kept: Array, answer: Answer) -> bool:
    """What follows a step of a member's environments; False if a callback ended training.

    Args:
        playing: the member.
        actions: of its environments.
        kept: the same, as its replay buffer keeps them.
        answer: of its environments.
    """
    member = playing.member
    model = member.model
    new_obs, rewards, dones, infos = answer
    model.num_timesteps += model.n_envs
    playing.steps += 1
    answered = {"actions": actions, "buffer_actions": kept, "new_obs": new_obs, "rewards": rewards, "dones": dones}
    counted = {"num_collected_steps": playing.steps, "num_collected_episodes": playing.episodes}
    member.callback.update_locals({**answered, "infos": infos, **counted})
    if not member.callback.on_step():
        return False
    model._update_info_buffer(infos, dones)
    model._store_transition(model.replay_buffer, kept, new_obs, rewards, dones, infos)
    model._update_current_progress_remaining(model.num_timesteps, model._total_timesteps)
    model._on_step()
    for index in np.flatnonzero(dones):
        playing.episodes += 1
        model._episode_num += 1
        if (noise := model.action_noise) is not None:
            noise.reset(**({"indices": [index]} if model.n_envs > 1 else {}))
        if member.log_interval is not None and model._episode_num % member.log_interval == 0:
            model.dump_logs()
    return True
