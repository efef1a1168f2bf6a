"""Sampling of actions from noise that was drawn beforehand, so that every member of a cohort has draws of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
    StateDependentNoiseDistribution,
)

Noise = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Sampler:
    """How one kind of action distribution turns noise into actions, draw for draw as torch itself does.

    Args:
        shapes: of the noise of one environment, for each of its tensors.
        draw: fills a tensor with noise in place.
        act: actions of a batch of environments, from the distribution and its noise.
        kept: fills it, in place of `draw`, with noise that SB3's own distribution keeps for several steps.
    """

    shapes: tuple[tuple[int, ...], ...]
    draw: Callable[[torch.Tensor, torch.Generator], object]
    act: Callable[[Any, Noise], torch.Tensor]
    kept: Callable[[Any, torch.Tensor], object] | None = None


def sampler_of(distribution: Any) -> Sampler | None:
    """The sampler of one of SB3's distributions; None for a kind that is not known."""
    match distribution:
        case CategoricalDistribution():
            return _one_of(distribution.action_dim)
        case MultiCategoricalDistribution():
            return _several_of(distribution.action_dims, attrgetter("distribution"))
        case BernoulliDistribution():
            return Sampler(((distribution.action_dims,),), uniform, _bernoulli)
        case DiagGaussianDistribution() if type(distribution) is DiagGaussianDistribution:
            return Sampler(((distribution.action_dim,),), normal, _gaussian)
        case StateDependentNoiseDistribution():
            shape = (distribution.latent_sde_dim or 0, distribution.action_dim)
            return Sampler((shape,), normal, _state_dependent, _exploring)
        # sb3-contrib's, which need not be installed.
        case _ if hasattr(distribution, "apply_masking") and hasattr(distribution, "action_dims"):
            return _several_of(distribution.action_dims, attrgetter("distributions"))
        case _ if hasattr(distribution, "apply_masking"):
            return _one_of(distribution.action_dim)
        case _:
            return None


def _one_of(classes: int) -> Sampler:
    return Sampler(((classes,),), exponential, lambda d, q: _categorical(d.distribution, q[0]))


def _several_of(classes: Sequence[int], parts: Callable[[Any], Sequence[Any]]) -> Sampler:
    """With where the distribution keeps that of each choice."""

    def act(distribution: Any, noise: Noise) -> torch.Tensor:
        return torch.stack([_categorical(d, q) for d, q in zip(parts(distribution), noise, strict=True)], dim=1)

    return Sampler(tuple((count,) for count in classes), exponential, act)


def exponential(noise: torch.Tensor, generator: torch.Generator) -> object:
    """Of a race, which is how torch draws one of several classes."""
    return noise.exponential_(1, generator=generator)


def uniform(noise: torch.Tensor, generator: torch.Generator) -> object:
    """In [0, 1)."""
    return noise.uniform_(generator=generator)


def normal(noise: torch.Tensor, generator: torch.Generator) -> object:
    """Of mean 0 and variance 1."""
    return noise.normal_(generator=generator)


def _categorical(distribution: Any, noise: torch.Tensor) -> torch.Tensor:
    """An exponential race, which is how `torch.multinomial` draws a single sample."""
    chosen: torch.Tensor = (distribution.probs / noise).argmax(dim=-1)
    return chosen


def _bernoulli(distribution: Any, noise: Noise) -> torch.Tensor:
    probs: torch.Tensor = distribution.distribution.probs
    return (noise[0] < probs).float()


def _gaussian(distribution: Any, noise: Noise) -> torch.Tensor:
    normal = distribution.distribution
    sampled: torch.Tensor = normal.mean + noise[0] * normal.stddev
    return sampled


def _state_dependent(distribution: Any, noise: Noise) -> torch.Tensor:
    """Noise is a matrix for each environment, which what the policy makes of the state is multiplied by."""
    found: torch.Tensor = (distribution._latent_sde.unsqueeze(1) @ noise[0]).squeeze(1)
    actions: torch.Tensor = distribution.distribution.mean + found
    return actions


def _exploring(distribution: Any, noise: torch.Tensor) -> object:
    """SB3 draws a matrix for one environment apart from those for several."""
    matrices = distribution.exploration_matrices
    several = len(noise) == len(matrices) > 1
    return noise.copy_((matrices if several else distribution.exploration_mat).detach())
