"""Rewinding: what of the training state goes back to an earlier step before a pruned agent trains again.

Frankle et al. 2020 (arXiv 1912.05671) rewind weights to step k; Renda et al. 2020 (arXiv 2003.02389) rewind only the
learning-rate schedule, or nothing at all (fine-tuning).
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.exploration import exploration_rate, explores, explores_by_rate, exploring_as
from rl_tickets.agents.state import TrainingState
from rl_tickets.tickets.identity import ADDED_LATER

_CALLED = {
    "normalizer": "VecNormalize",
    "replay_buffer": "a replay buffer",
    "exploration": "exploration that training changes",
}


def whole_step(at: float) -> int:
    """An environment step as it can be stored: no float that happens to be whole, and no NumPy number.

    Raises:
        ValueError: it is no whole number.

    Example:
        >>> whole_step(2e3)
        2000
    """
    if at != int(at):
        raise ValueError(f"an environment step is a whole number, got {at}")
    return int(at)


class RewindWarning(UserWarning):
    """A rewind point was moved: to the end of its rollout, or to where training is cut."""


@dataclass(frozen=True)
class Rewind:
    """Where a pruned agent starts its next level: a fresh agent of `make_model`, with these parts set.

    Args:
        at: the rewind point k in environment steps; one inside a rollout is rounded up to the rollout's end.
        weights: True sets the weights of step k; False keeps the trained ones.
        optimizer: True sets the moments of step k; False starts with empty ones.
        normalizer: True sets VecNormalize's statistics of step k; False keeps the trained ones.
        replay_buffer: True sets the buffer of step k; False starts with an empty one. An agent without one, or without
            VecNormalize, has nothing to leave behind: the search raises ValueError, unless weights stay trained too.
        schedule: True goes on at step k of the schedules (learning rate, exploration, clip range) and trains the
            remaining steps; False runs the schedules from their start over as many steps.
        counters: True also sets every other counter of step k.
        exploration: True lets exploration go where the part that holds it goes: DQN's epsilon is a schedule, `log_std`
            and SAC's entropy coefficient are weights; False goes on as the trained agent explores, and holds its
            epsilon. Refused, as above, where training changes no exploration (TD3, discrete PPO), and of an epsilon at
            which training would end early.

    Raises:
        ValueError: `at` is negative, or no whole number.

    Example:
        >>> Rewind(at=2_000, optimizer=False).parts
        ('weights', 'normalizer', 'replay_buffer', 'schedule', 'exploration')
    """

    at: int
    weights: bool = True
    optimizer: bool = True
    normalizer: bool = True
    replay_buffer: bool = True
    schedule: bool = True
    counters: bool = False
    exploration: bool = field(default=True, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        if self.at < 0:
            raise ValueError(f"a rewind point is an environment step from 0 on, got {self.at}")
        object.__setattr__(self, "at", whole_step(self.at))

    @classmethod
    def exact(cls, at: int) -> Rewind:
        """Restores everything: with a full mask the rewound run ends bit-identical to the dense run."""
        return cls(at=at, counters=True)

    @classmethod
    def learning_rate(cls, at: int) -> Rewind:
        """Learning-rate rewinding: weights stay trained, the schedule rewinds (Renda et al. 2020)."""
        return cls(at=at, weights=False, optimizer=False, normalizer=False, replay_buffer=False)

    def check_agent(self, model: BaseAlgorithm) -> None:
        """Raises ValueError where a part that the agent does not have would stay behind: nothing would differ."""
        if not self.weights:
            return  # What stays trained keeps whatever there is.
        found = {
            "normalizer": model.get_vec_normalize_env() is not None,
            "replay_buffer": getattr(model, "replay_buffer", None) is not None,
            "exploration": explores(model),
        }
        for part, has in found.items():
            if not has and part not in self.parts:
                raise ValueError(
                    f"Rewind({part}=False) is Rewind() to an agent without {_CALLED[part]}, as this "
                    f"{type(model).__name__} is: leave it out"
                )

    def check_shortened(self, model: BaseAlgorithm) -> None:
        """Raises ValueError where trainings that end early would leave an epsilon to hold that is hardly trained."""
        if not self.exploration and explores_by_rate(model):
            raise ValueError(
                f"Rewind(exploration=False) holds the epsilon at which training ended, and this {type(model).__name__} "
                "would still explore where it ends early: leave out the one or the other"
            )

    @property
    def needs_cut(self) -> bool:
        """Whether the run that it rewinds must itself be cut into segments at the rewind point."""
        return self.counters

    def on_grid(self, grid: Sequence[int]) -> Rewind:
        """With a rewind point at which training is cut, where it needs that; told if it had to be moved.

        Args:
            grid: steps at which training is cut, ascending.

        Raises:
            ValueError: no cut follows.
        """
        if not self.needs_cut or self.at in grid:
            return self
        later = next((step for step in grid if step >= self.at), None)
        if later is None:
            raise ValueError(
                f"exact rewinding to step {self.at} needs a cut of training there, and the last is at step {grid[-1]}; "
                "choose Experiment(segment=...) so that one follows"
            )
        warnings.warn(
            f"exact rewinding to step {self.at} needs a cut of training there; the next one, at step {later}, is used: "
            "Experiment(segment=...) chooses where the cuts are",
            RewindWarning,
            stacklevel=2,
        )
        return replace(self, at=later)

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the parts that go back."""
        flags = ("weights", "optimizer", "normalizer", "replay_buffer", "schedule", "counters", "exploration")
        return tuple(name for name in flags if getattr(self, name))

    def start(self, point: TrainingState, trained: TrainingState) -> TrainingState:
        """The state a level starts from, of the rewind point's state and the trained one's."""
        start = TrainingState(
            weights=(point if self.weights else trained).weights,
            optimizers=point.optimizers if self.optimizer else None,
            normalizer=(point if self.normalizer else trained).normalizer,
            replay_buffer=point.replay_buffer if self.replay_buffer else None,
            schedule=point.schedule if self.schedule else None,
            counters=point.counters if self.counters else None,
        )
        return start if self.exploration else exploring_as(start, trained)

    def held_exploration_rate(self, trained: TrainingState) -> float | None:
        """The epsilon that a level holds in place of its schedule; None: the schedule goes on."""
        return None if self.exploration else exploration_rate(trained)

    def budget(self, total_timesteps: int, point: TrainingState, start: TrainingState) -> tuple[int, int]:
        """Steps at which the level ends and at which its schedules end, counted as the agent counts them."""
        end = total_timesteps if self.schedule else total_timesteps - point.timesteps
        return end, end


@dataclass(frozen=True)
class FineTuning(Rewind):
    """Training on after pruning, the traditional way: nothing rewinds, the schedules stay where they ended.

    Args:
        at: as in `Rewind`; fine-tuning trains `total_timesteps - at` steps, as long as rewinding to `at` would. The
            other parts have nothing to say here.

    Raises:
        ValueError: as in `Rewind`, or another part is chosen.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        for part in fields(self):
            if part.name != "at" and (chosen := getattr(self, part.name)) != part.default:
                raise ValueError(
                    f"FineTuning rewinds nothing, and starts with empty moments and buffer: leave {part.name}={chosen} "
                    "out"
                )

    @property
    def parts(self) -> tuple[str, ...]:
        """None."""
        return ()

    def check_agent(self, model: BaseAlgorithm) -> None:
        """Fits every agent."""

    def start(self, point: TrainingState, trained: TrainingState) -> TrainingState:
        """The trained state with empty moments and buffer, at the end of its schedules."""
        assert trained.schedule is not None
        return replace(trained, optimizers=None, replay_buffer=None, counters=None)

    def budget(self, total_timesteps: int, point: TrainingState, start: TrainingState) -> tuple[int, int]:
        """Ends `total_timesteps - k` steps after the level before, whose end is also that of the schedules."""
        return start.timesteps + total_timesteps - point.timesteps, start.timesteps
