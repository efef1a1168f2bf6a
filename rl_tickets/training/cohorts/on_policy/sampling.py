"""Sampling of actions from noise that was drawn beforehand, so that every member of a cohort has draws of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from stable_baselines3.common.distributions import (
    BernoulliDistribution,
    CategoricalDistribution,
    DiagGaussianDistribution,
    MultiCategoricalDistribution,
)

Noise = Sequence[torch.Tensor]


@dataclass(frozen=True)
class Sampler:
    """How one kind of action distribution turns noise into actions, draw for draw as torch itself does.

    Args:
        shapes: of the noise of one environment, for each of its tensors.
        draw: fills a tensor with noise in place.
        act: actions of a batch of environments, from the distribution and its noise.
    """

    shapes: tuple[tuple[int, ...], ...]
    draw: Callable[[torch.Tensor, torch.Generator], object]
    act: Callable[[Any, Noise], torch.Tensor]


def sampler_of(distribution: object) -> Sampler | None:
    """The sampler of one of SB3's distributions; None for a kind that is not known."""
    match distribution:
        case CategoricalDistribution():
            return Sampler(((distribution.action_dim,),), exponential, lambda d, q: _categorical(d.distribution, q[0]))
        case MultiCategoricalDistribution():
            return Sampler(tuple((n,) for n in distribution.action_dims), exponential, _multi_categorical)
        case BernoulliDistribution():
            return Sampler(((distribution.action_dims,),), uniform, _bernoulli)
        case DiagGaussianDistribution() if type(distribution) is DiagGaussianDistribution:
            return Sampler(((distribution.action_dim,),), normal, _gaussian)
        case _:
            return None


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


def _multi_categorical(distribution: Any, noise: Noise) -> torch.Tensor:
    return torch.stack([_categorical(d, q) for d, q in zip(distribution.distribution, noise, strict=True)], dim=1)


def _bernoulli(distribution: Any, noise: Noise) -> torch.Tensor:
    probs: torch.Tensor = distribution.distribution.probs
    return (noise[0] < probs).float()


def _gaussian(distribution: Any, noise: Noise) -> torch.Tensor:
    normal = distribution.distribution
    sampled: torch.Tensor = normal.mean + noise[0] * normal.stddev
    return sampled
