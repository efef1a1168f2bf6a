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
from rl_tickets.agents.generators import Draws
from rl_tickets.agents.holding import held_mask, hold, hold_of
from rl_tickets.agents.making import MakeModel, fresh_agent, provenance
from rl_tickets.agents.schedules import retimed
from rl_tickets.agents.segments import SeedDraws, Segments
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask
from rl_tickets.training.curve import LearningCurve
from rl_tickets.training.during import During
from rl_tickets.training.learners import usual_log_interval
from rl_tickets.training.requests import Progress, Trained, Training
from rl_tickets.training.rewinding import RewindWarning


@dataclass(frozen=True)
class Setting:
    """What all levels of one seed have in common.

    Args:
        make_model: a fresh dense agent for a seed, where a request brings no other; the agent brings its environment.
        seed: training seed.
        total_timesteps: budget of a level in environment steps.
        boundaries: steps at which every level's training is cut into segments.
        warmup: environment steps over which the learning rate rises linearly from 0 at the start of every level.
        callback: makes SB3 callbacks for a level, or None.
        log: gives a fresh agent its logger before a training, or None.
        checkpoint: called with a training's progress at every boundary, to make a kill cheap, or None.
    """

    make_model: MakeModel
    seed: int
    total_timesteps: int
    boundaries: tuple[int, ...] = (0,)
    warmup: int = 0
    callback: Callable[[], BaseCallback] | None = None
    log: Callable[[BaseAlgorithm], None] | None = None
    checkpoint: Callable[[Progress], None] | None = None


class TrainingRun:
    """A fresh agent with a level's start set and its mask held, ready to `learn`; afterwards, what came of it.

    `model` is what trains and plays; `whole` is the agent whose weights and mask are told: the same, but for requests
    that trim.

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
        self.whole = model = fresh_agent(request.make_model or setting.make_model, setting.seed)
        # Once, so that `learn` does not do it behind our back.
        model._last_obs = model.get_env().reset()  # type: ignore[assignment, union-attr]
        if setting.log is not None:
            setting.log(model)
        if request.start is not None and (resume is None or request.trim is not None):
            request.start.restore(model)
        # Not `Mask.dense`: what it has to say was said before the first level.
        self._full = Mask.full(anatomy.prunable_weights(model, request.prunable))
        mask = request.ticket.mask if request.ticket is not None else None
        self._trimmed = None if request.trim is None or mask is None else request.trim(model, mask)
        if self._trimmed is not None:
            model, mask = self._trimmed.model, self._trimmed.mask
        self.model = model
        if resume is not None:
            resume.state.restore(model)
        if (mask := mask if resume is None else resume.mask) is not None:
            held = hold(model, mask)
            if resume is not None and resume.gradient is not None:
                held.watch()
                held.take_gradient(resume.gradient)
        self._begin = request.begins_at()
        self._resumed = model.num_timesteps if resume is not None else -1
        self._kept: dict[int, TrainingState] = dict(resume.kept) if resume else {}
        watching: list[During] = [LearningCurve(), *request.during]
        self._observers = {each.table: each.observer(request.prunable) for each in watching}
        for table, progress in (resume.observers if resume else {}).items():
            self._observers[table].resume(progress)
        self.problem = ""
        """What training raised once the run had diverged, or empty."""

    @property
    def mask(self) -> Mask:
        """The mask that is held now; the full one for a dense agent."""
        return held_mask(self.model) or self._full

    @property
    def steps_left(self) -> int:
        """Environment steps still to train."""
        return max(self._until - self.model.num_timesteps, 0)

    @property
    def from_zero(self) -> bool:
        """See `Learner`: no level begins anew, even the dense one's environment is reset already."""
        return False

    @property
    def log_interval(self) -> int | None:
        """See `Learner`."""
        return usual_log_interval(self.model)

    @property
    def draws(self) -> Draws | None:
        """See `Learner`: segments seed them."""
        return None

    @property
    def tb_log_name(self) -> str:
        """What SB3 is to call the run where it makes the logger itself."""
        return str(self.request.name).replace("-", "_")

    @property
    def finite(self) -> bool:
        """Whether all weights are numbers; where not, the run has diverged."""
        return all(bool(torch.isfinite(p).all()) for p in self.model.policy.parameters())

    def failed(self, error: Exception) -> None:
        """Keeps what training raised once the run had diverged."""
        self.problem = " ".join(f"{type(error).__name__}: {error}".split())

    def retimed(self) -> AbstractContextManager[None]:
        """The agent's schedules as this level needs them, while it learns."""
        request = self.request
        return retimed(
            self.model,
            self._begin,
            self._setting.warmup,
            self._until,
            request.schedule_end,
            request.exploration_rate,
        )

    def callbacks(self, seed_draws: SeedDraws) -> list[BaseCallback]:
        """SB3 callbacks that `learn` must be given, the user's last.

        Args:
            seed_draws: seeds the generators that the agent draws from.
        """
        setting, request = self._setting, self.request
        cuts = {*setting.boundaries}
        if request.schedule_end is not None:
            # Fine-tuning goes on beyond the budget, in segments of the same length.
            cuts |= {request.schedule_end + step for step in setting.boundaries}
        ahead = [step for step in cuts if step > self._resumed and step >= self._begin]
        seed = setting.seed if request.draws is None else request.draws
        keeping = _Keeping([step for step in request.keep_at if step not in self._kept], self._keep)
        found: list[BaseCallback] = [keeping, Segments(seed, ahead, self._at_cut, seed_draws)]
        found += self._observers.values()
        # SB3's `learn` takes one, or several in a list.
        asked: BaseCallback | list[BaseCallback] = setting.callback() if setting.callback else []
        found += asked if isinstance(asked, list) else [asked]
        return found

    def finish(self) -> Trained:
        """What the search receives.

        Raises:
            ValueError: a rewind point that no rollout began at or after.
        """
        model, finite = self.model, self.finite
        missing = [step for step in self.request.keep_at if step not in self._kept]
        if missing and finite and model.num_timesteps < self._until:
            raise ValueError(
                f"the callback ended training at step {model.num_timesteps}, before rewind point {missing[0]}; let it "
                "go on, or choose an earlier one"
            )
        if missing and finite:
            raise ValueError(
                f"rewind point {missing[0]} is beyond the last rollout that starts within the budget of {self._until} "
                "steps; choose an earlier one"
            )
        end = TrainingState.capture(model, replay_buffer=False).only("weights", "normalizer", "schedule")
        mask = self.mask
        if self._trimmed is not None:
            end, mask = end.with_policy(self._trimmed.whole(end.policy)), self._trimmed.whole_mask(mask)
        return Trained(
            end=end,
            kept={step: self._kept[step] for step in self.request.keep_at if step in self._kept},
            mask=mask,
            timesteps=model.num_timesteps - self._begin,
            diverged=not finite,
            copies=anatomy.copies(self.whole),
            provenance=provenance(self.whole, self._setting.seed),
            observed={table: tuple(map(tuple, observer.rows())) for table, observer in self._observers.items()},
            problem=self.problem,
        )

    def _keep(self, reached: Sequence[int]) -> None:
        state = TrainingState.capture(self.model)
        for step in reached:
            if state.timesteps != step:
                warnings.warn(
                    f"rewind point {step} lies inside a rollout; the rollout's end at step {state.timesteps} is used",
                    RewindWarning,
                    stacklevel=2,
                )
            self._kept[step] = state

    def _at_cut(self) -> None:
        if self._setting.checkpoint is None or self.model.num_timesteps <= self._begin:
            return
        observers = {table: observer.progress() for table, observer in self._observers.items()}
        state, held = TrainingState.capture(self.model), hold_of(self.model)
        mask, gradient = (held.mask, held.seen) if held is not None else (None, None)
        self._setting.checkpoint(Progress(state, dict(self._kept), mask, gradient, observers))


class _Keeping(BaseCallback):
    """Calls at the first rollout that starts at or after each of the steps."""

    def __init__(self, steps: Sequence[int], keep: Callable[[Sequence[int]], None]) -> None:
        super().__init__()
        self._ahead, self._keep = list(steps), keep

    def _on_rollout_start(self) -> None:
        if reached := [step for step in self._ahead if step <= self.model.num_timesteps]:
            self._ahead = [step for step in self._ahead if step not in reached]
            self._keep(reached)

    def _on_step(self) -> bool:
        return True
