"""The way of an observation from the environment to the policy, through the agent's own VecEnv wrappers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import (
    VecCheckNan,
    VecEnvWrapper,
    VecMonitor,
    VecNormalize,
    VecTransposeImage,
    VecVideoRecorder,
)

from rl_tickets.agents.layers import WiringError

Array = npt.NDArray[Any]
PASSING = (VecCheckNan, VecMonitor, VecVideoRecorder)
"""Wrappers that hand on observations as they are."""


@dataclass(frozen=True, eq=False)
class Incoming:
    """Normalisation and order of channels between environment and policy.

    Args:
        space: of observations as the environment gives them.
        mean, scale: of VecNormalize, the scale being the root of variance and epsilon; None without it.
        clip: of VecNormalize.
        transposed: whether the environment's images have their channels last, and the policy's first.
    """

    space: spaces.Space[Any]
    mean: Array | None = None
    scale: Array | None = None
    clip: float = np.inf
    transposed: bool = False

    def see(self, raw: Array) -> Array:
        """What the policy sees of observations of shape (rows, ...), to the last bit."""
        if self.mean is not None:
            raw = np.clip((raw - self.mean) / self.scale, -self.clip, self.clip).astype(np.float32)
        return np.moveaxis(raw, -1, 1) if self.transposed else raw

    def raw(self, seen: Array) -> Array:
        """Observations of which the policy sees these, up to what clipping and the space's precision take."""
        seen = np.moveaxis(seen, 1, -1) if self.transposed else seen
        if self.mean is not None:
            seen = seen * self.scale + self.mean
        return seen.astype(self.space.dtype)


def incoming(model: BaseAlgorithm) -> Incoming:
    """What the agent's environment gives, and what its wrappers do to it.

    An agent without an environment, as SB3's `load` alone gives it, has no statistics of VecNormalize either: it is
    given what its policy sees.

    Raises:
        WiringError: observations in parts, two normalising wrappers, or one of another kind after a normalising one.

    Example:
        >>> from stable_baselines3 import PPO
        >>> incoming(PPO("MlpPolicy", "CartPole-v1")).mean is None
        True
    """
    if isinstance(model.observation_space, spaces.Dict):
        raise WiringError("observations of several parts (Dict) have no one array that a policy file could be given")
    found, other = Incoming(model.observation_space), None
    env: Any = model.get_env()
    while isinstance(env, VecEnvWrapper):
        changes = isinstance(env, VecNormalize | VecTransposeImage)
        changes &= not (isinstance(env, VecTransposeImage) and env.skip)
        changes &= not (isinstance(env, VecNormalize) and not env.norm_obs)
        if changes and other:
            raise WiringError(
                f"{type(env).__name__} comes before {other}, which changes observations in a way of its own; put "
                f"{other} innermost, or export the agent without an environment"
            )
        if changes and isinstance(env, VecNormalize):
            found = _normalized(found, env)
        elif changes and isinstance(env, VecTransposeImage):
            found = _transposed(found, env)
        elif not isinstance(env, (*PASSING, VecNormalize, VecTransposeImage)):
            other = type(env).__name__
        env = env.venv
    return found


def _normalized(found: Incoming, env: VecNormalize) -> Incoming:
    if found.mean is not None:
        raise WiringError("two VecNormalize around each other are more than a policy file does; take one away")
    assert isinstance(env.obs_rms, RunningMeanStd)
    scale = np.sqrt(env.obs_rms.var + env.epsilon)
    return Incoming(env.venv.observation_space, env.obs_rms.mean.copy(), scale, env.clip_obs, found.transposed)


def _transposed(found: Incoming, env: VecTransposeImage) -> Incoming:
    """A VecNormalize around it has statistics with their channels first; they become those of the environment's."""
    mean, scale = (None if part is None else np.moveaxis(part, 0, -1) for part in (found.mean, found.scale))
    return Incoming(env.venv.observation_space, mean, scale, found.clip, transposed=True)


def through_wrappers(env: Any, raw: Any) -> Any:
    """What SB3's own wrappers make of observations that the environment gave, shape (rows, ...)."""
    if isinstance(env, VecNormalize):
        return env.normalize_obs(through_wrappers(env.venv, raw))
    if isinstance(env, VecTransposeImage):
        return env.transpose_observations(through_wrappers(env.venv, raw))
    return through_wrappers(env.venv, raw) if isinstance(env, PASSING) else raw
