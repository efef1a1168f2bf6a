"""Training one level: from a request to a trained agent, with plain SB3."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import stable_baselines3
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback, CallbackList

from rl_tickets.agents import anatomy
from rl_tickets.agents.curve import Curve, CurvePoint
from rl_tickets.agents.early_bird import EarlyBird, EarlyBirdCallback, Sighting
from rl_tickets.agents.holding import hold
from rl_tickets.agents.rewind import RewindWarning
from rl_tickets.agents.schedules import retimed
from rl_tickets.agents.segments import Segments
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.mask import Mask, Prunable
from rl_tickets.tickets.ticket import Ticket

MakeModel = Callable[[int], BaseAlgorithm]


@dataclass(frozen=True)
class Training:
    """A search's request: train this ticket until that step.

    Args:
        level: 0 is dense.
        ticket: the ticket whose mask to hold, or None for a dense agent.
        start: parts to set in the fresh agent (the ticket's weights among them), or None to start at initialisation.
        until: environment step at which training ends; None: the experiment's budget.
        schedule_end: step at which the schedules (learning rate, exploration, clip range) end; None: `until`.
        keep_at: steps whose training state the search wants to have back.
        early_bird: when to stop before the end.
        prunable: as in `Mask.dense`, for the mask of a dense agent.
    """

    level: int
    ticket: Ticket | None = None
    start: TrainingState | None = None
    until: int | None = None
    schedule_end: int | None = None
    keep_at: tuple[int, ...] = ()
    early_bird: EarlyBird | None = None
    prunable: Prunable | None = None


@dataclass(frozen=True)
class Trained:
    """What a search receives back: the end of a level, as data that also survives on disk.

    Args:
        end: weights, normalizer and schedule position at the end of training.
        kept: the states the request asked to keep, by requested step.
        mask: the mask that was held; the full one for a dense agent.
        timesteps: environment steps trained at this level.
        diverged: whether a weight became NaN or infinite.
        copies: names in the policy's `state_dict` that repeat a prunable weight (shared extractors) or follow it
            (target networks), with the weight's name.
        provenance: plain data: algorithm, environment, seed, versions.
        curve: mean training return over the level.
        sightings: masks' distances that early-bird saw.
    """

    end: TrainingState
    kept: dict[int, TrainingState]
    mask: Mask
    timesteps: int
    diverged: bool
    copies: dict[str, str]
    provenance: dict[str, Any]
    curve: tuple[CurvePoint, ...] = ()
    sightings: tuple[Sighting, ...] = ()


@dataclass(frozen=True)
class Trainer:
    """Trains requests of one seed with plain SB3.

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

    def train(self, request: Training, resume: Progress | None = None) -> tuple[BaseAlgorithm, Trained]:
        """Trains one level; from a checkpoint of it, if one is given.

        Raises:
            ValueError: a rewind point at or beyond the end of the budget, or an agent that cannot be held.
            LeakError: a pruned weight moved.
        """
        until = self.total_timesteps if request.until is None else request.until
        if beyond := [step for step in request.keep_at if step >= until]:
            raise ValueError(f"rewind point {beyond[0]} is beyond the budget of {until} steps; choose an earlier one")
        model = fresh_agent(self.make_model, self.seed)
        # Once, so that `learn` does not do it behind our back.
        model._last_obs = model.get_env().reset()  # type: ignore[assignment, union-attr]
        if self.log is not None:
            self.log(model, request.level)
        start = resume.state if resume is not None else request.start
        if start is not None:
            start.restore(model)
        dense = Mask.dense(model, request.prunable)
        if request.ticket is not None:
            hold(model, request.ticket.mask)
        begin = request.start.timesteps if request.start is not None else 0
        recorder = _Recorder(self, model, request, begin, resume)
        diverged = False
        with retimed(model, begin, self.warmup, until, request.schedule_end):
            try:
                model.learn(
                    max(until - model.num_timesteps, 0),
                    callback=CallbackList(recorder.callbacks()),
                    reset_num_timesteps=False,
                    tb_log_name=f"level_{request.level:02d}",
                )
            except ValueError:
                # torch's distributions refuse the NaN that a diverged network gives them.
                if _finite(model):
                    raise
                diverged = True
        missing = [step for step in request.keep_at if step not in recorder.kept]
        if missing and not diverged:
            raise ValueError(
                f"rewind point {missing[0]} is beyond the last rollout that starts within the budget of {until} steps; "
                "choose an earlier one"
            )
        end = TrainingState.capture(model, replay_buffer=False)
        trained = Trained(
            end=end.only("weights", "normalizer", "schedule"),
            kept={step: recorder.kept[step] for step in request.keep_at if step in recorder.kept},
            mask=dense if request.ticket is None else request.ticket.mask,
            timesteps=model.num_timesteps - begin,
            diverged=diverged or not _finite(model),
            copies=anatomy.copies(model),
            provenance=provenance(model, self.seed),
            curve=recorder.curve.points(),
            sightings=recorder.sightings(),
        )
        return model, trained


@dataclass(frozen=True)
class Progress:
    """A level in the middle: all that is needed to go on as if nothing had happened."""

    state: TrainingState
    kept: dict[int, TrainingState]
    curve: dict[str, Any]
    early_bird: dict[str, Any] | None


class _Recorder:
    """What is written down while a level trains: states at rewind points, checkpoints, curve, sightings."""

    def __init__(
        self, trainer: Trainer, model: BaseAlgorithm, request: Training, begin: int, resume: Progress | None
    ) -> None:
        self._trainer, self._model, self._request = trainer, model, request
        self.kept: dict[int, TrainingState] = dict(resume.kept) if resume else {}
        self.curve = Curve()
        self._resumed = model.num_timesteps if resume is not None else -1
        self._begin = begin
        self._bird = request.early_bird and EarlyBirdCallback(request.early_bird, prunable=request.prunable)
        if resume is not None:
            self.curve.resume(resume.curve)
            if self._bird and resume.early_bird:
                self._bird.resume(resume.early_bird)

    def callbacks(self) -> list[BaseCallback]:
        """The level's SB3 callbacks, the user's last."""
        wanted = {*self._trainer.boundaries, *self._request.keep_at}
        if self._request.schedule_end is not None:
            # Fine-tuning goes on beyond the budget, in segments of the same length.
            wanted |= {self._request.schedule_end + step for step in self._trainer.boundaries}
        ahead = [step for step in wanted if step > self._resumed and step >= self._begin]
        found: list[BaseCallback] = [Segments(self._trainer.seed, ahead, self._at_boundary), self.curve]
        found += [self._bird] if self._bird else []
        found += [self._trainer.callback()] if self._trainer.callback else []
        return found

    def sightings(self) -> tuple[Sighting, ...]:
        """What early-bird saw, none without it."""
        return self._bird.sightings if self._bird else ()

    def _at_boundary(self, reached: Sequence[int]) -> None:
        wanted = [step for step in reached if step in self._request.keep_at]
        if not wanted and self._trainer.checkpoint is None:
            return
        state = TrainingState.capture(self._model)
        for step in wanted:
            if state.timesteps != step:
                warnings.warn(
                    f"rewind point {step} lies inside a rollout; the rollout's end at step {state.timesteps} is used",
                    RewindWarning,
                    stacklevel=2,
                )
            self.kept[step] = state
        if self._trainer.checkpoint is not None and state.timesteps > self._begin:
            bird = self._bird.progress() if self._bird else None
            self._trainer.checkpoint(Progress(state, dict(self.kept), self.curve.progress(), bird))


def fresh_agent(make_model: MakeModel, seed: int) -> BaseAlgorithm:
    """A new agent, if `make_model` gives what it should."""
    model = make_model(seed)
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"make_model(seed) must return an SB3 agent, got a {type(model).__name__}")
    if model.get_env() is None:
        raise ValueError("make_model(seed) returned an agent without an environment; give it one to train in")
    if model.num_timesteps:
        raise ValueError(
            "make_model(seed) returned an agent that has already trained; it must be a fresh one each time"
        )
    return model


def _finite(model: BaseAlgorithm) -> bool:
    return all(bool(torch.isfinite(p).all()) for p in model.policy.parameters())


def provenance(model: BaseAlgorithm, seed: int) -> dict[str, Any]:
    """Where a ticket comes from, as plain data."""
    return {
        "algorithm": type(model).__name__,
        "policy": type(model.policy).__name__,
        "environment": anatomy.environment_name(model),
        "seed": seed,
        "torch_threads": torch.get_num_threads(),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "stable_baselines3": str(stable_baselines3.__version__),
        },
    }
