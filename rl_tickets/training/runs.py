"""A run: one level of one seed in training, from a request to a trained agent, whoever drives it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback

from rl_tickets.agents import anatomy
from rl_tickets.agents.holding import held_mask, hold
from rl_tickets.agents.schedules import retimed
from rl_tickets.agents.segments import SeedDraws, Segments
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.curve import Curve
from rl_tickets.training.early_bird import EarlyBirdCallback, Sighting
from rl_tickets.training.requests import MakeModel, Progress, Trained, Training, fresh_agent, provenance
from rl_tickets.training.rewinding import RewindWarning


@dataclass(frozen=True)
class Setting:
    """What all levels of one seed have in common.

    Args:
        make_model: a fresh dense agent for a seed; the agent brings its own environment.
        seed: training seed.
        total_timesteps: budget of a level in environment steps.
        boundaries: steps at which every level's training is cut into segments, rewind points included.
        warmup: environment steps over which the learning rate rises linearly from 0 at the start of every level.
        callback: makes SB3 callbacks for a level, or None.
        log: gives a fresh agent its logger before a level, or None.
        checkpoint: called with the state and the curve at every boundary, to make a kill cheap, or None.
    """

    make_model: MakeModel
    seed: int
    total_timesteps: int
    boundaries: tuple[int, ...] = (0,)
    warmup: int = 0
    callback: Callable[[], BaseCallback] | None = None
    log: Callable[[BaseAlgorithm, int], None] | None = None
    checkpoint: Callable[[Progress], None] | None = None


class Run:
    """A fresh agent with a level's start set and its mask held, ready to `learn`; afterwards, what came of it.

    Args:
        setting: of the seed.
        request: of a search.
        resume: a checkpoint of this level to go on from.

    Raises:
        ValueError: a rewind point at or beyond the end of the budget, or an agent that cannot be held.
    """

    def __init__(self, setting: Setting, request: Training, resume: Progress | None = None) -> None:
        self._setting, self.request = setting, request
        self._until = setting.total_timesteps if request.until is None else request.until
        if beyond := [step for step in request.keep_at if step >= self._until]:
            raise ValueError(
                f"rewind point {beyond[0]} is beyond the budget of {self._until} steps; choose an earlier one"
            )
        self.model = model = fresh_agent(setting.make_model, setting.seed)
        # Once, so that `learn` does not do it behind our back.
        model._last_obs = model.get_env().reset()  # type: ignore[assignment, union-attr]
        if setting.log is not None:
            setting.log(model, request.level)
        start = resume.state if resume is not None else request.start
        if start is not None:
            start.restore(model)
        if request.ticket is not None:
            hold(model, request.ticket.mask)
        self.problem = ""
        """The error with which training ended after the weights had diverged, if it did."""
        self._begin = request.start.timesteps if request.start is not None else 0
        self._resumed = model.num_timesteps if resume is not None else -1
        self._kept: dict[int, TrainingState] = dict(resume.kept) if resume else {}
        self._curve = Curve()
        self._bird = request.early_bird and EarlyBirdCallback(request.early_bird, prunable=request.prunable)
        if resume is not None:
            self._curve.resume(resume.curve)
            if self._bird and resume.early_bird:
                self._bird.resume(resume.early_bird)

    @property
    def mask(self) -> Mask:
        """The mask that is held now; the full one for an agent that is not held."""
        held = held_mask(self.model)
        return Mask.dense(self.model, self.request.prunable) if held is None else held

    @property
    def steps_left(self) -> int:
        """Environment steps still to train."""
        return max(self._until - self.model.num_timesteps, 0)

    @property
    def tb_log_name(self) -> str:
        """What SB3 is to call the run where it makes the logger itself."""
        return f"level_{self.request.level:02d}"

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers; where not, the run has diverged."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.policy.parameters())

    def retimed(self) -> AbstractContextManager[None]:
        """The agent's schedules as this level needs them, while it learns."""
        return retimed(self.model, self._begin, self._setting.warmup, self._until, self.request.schedule_end)

    def callbacks(self, seed_draws: SeedDraws) -> list[BaseCallback]:
        """SB3 callbacks that `learn` must be given, the user's last.

        Args:
            seed_draws: seeds the generators that the agent draws from.
        """
        setting = self._setting
        wanted = {*setting.boundaries, *self.request.keep_at}
        if self.request.schedule_end is not None:
            # Fine-tuning goes on beyond the budget, in segments of the same length.
            wanted |= {self.request.schedule_end + step for step in setting.boundaries}
        ahead = [step for step in wanted if step > self._resumed and step >= self._begin]
        found: list[BaseCallback] = [Segments(setting.seed, ahead, self._at_boundary, seed_draws), self._curve]
        found += [self._bird] if self._bird else []
        found += [setting.callback()] if setting.callback else []
        return found

    def finish(self) -> Trained:
        """What the search receives.

        Raises:
            ValueError: a rewind point that no rollout began at or after.
        """
        model, finite = self.model, self.finite
        missing = [step for step in self.request.keep_at if step not in self._kept]
        if missing and finite:
            raise ValueError(
                f"rewind point {missing[0]} is beyond the last rollout that starts within the budget of {self._until} "
                "steps; choose an earlier one"
            )
        end = TrainingState.capture(model, replay_buffer=False)
        sightings: tuple[Sighting, ...] = self._bird.sightings if self._bird else ()
        return Trained(
            end=end.only("weights", "normalizer", "schedule"),
            kept={step: self._kept[step] for step in self.request.keep_at if step in self._kept},
            mask=self.mask,
            timesteps=model.num_timesteps - self._begin,
            diverged=not finite,
            copies=anatomy.copies(model),
            provenance=provenance(model, self._setting.seed),
            curve=self._curve.points(),
            sightings=sightings,
        )

    def _at_boundary(self, reached: Sequence[int]) -> None:
        wanted = [step for step in reached if step in self.request.keep_at]
        checkpoint = self._setting.checkpoint
        if not wanted and checkpoint is None:
            return
        state = TrainingState.capture(self.model)
        for step in wanted:
            if state.timesteps != step:
                warnings.warn(
                    f"rewind point {step} lies inside a rollout; the rollout's end at step {state.timesteps} is used",
                    RewindWarning,
                    stacklevel=2,
                )
            self._kept[step] = state
        if checkpoint is not None and state.timesteps > self._begin:
            bird = self._bird.progress() if self._bird else None
            checkpoint(Progress(state, dict(self._kept), self._curve.progress(), bird))
