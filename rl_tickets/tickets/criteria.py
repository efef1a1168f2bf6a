"""Criteria score weights; the lowest scores are pruned.

A criterion is any function `(weights, start) -> scores`, each a map from layer name to tensor: the trained
weights, the weights at the rewind point, and scores of the same shapes, of which the highest are kept.
"""

import hashlib
from collections.abc import Callable, Mapping

import torch

Weights = Mapping[str, torch.Tensor]
Criterion = Callable[[Weights, Weights], Weights]


def magnitude(weights: Weights, start: Weights) -> Weights:
    """|w|, the criterion of iterative magnitude pruning (Han et al. 2015, arXiv 1506.02626).

    Example:
        >>> magnitude({"w": torch.tensor([-2.0, 1.0])}, {})["w"].tolist()
        [2.0, 1.0]
    """
    return {name: weight.abs() for name, weight in weights.items()}


def lamp(weights: Weights, start: Weights) -> Weights:
    """w² over the sum of all squares in its layer that are at least as large (Lee et al. 2021, arXiv 2010.07611).

    The largest weight of every layer scores 1, so layers compete on equal terms and none empties first.

    Example:
        >>> lamp({"w": torch.tensor([1.0, 2.0])}, {})["w"].tolist()
        [0.20000000298023224, 1.0]
    """
    return {name: _lamp_layer(weight) for name, weight in weights.items()}


def _lamp_layer(weight: torch.Tensor) -> torch.Tensor:
    squares = weight.flatten().double().square()
    ascending, order = squares.sort(stable=True)
    remaining = ascending.flip(0).cumsum(0).flip(0)
    scores = torch.empty_like(squares)
    scores[order] = torch.where(remaining > 0, ascending / remaining, torch.zeros_like(remaining))
    return scores.reshape(weight.shape).to(weight.dtype)


def random_scores(weights: Weights, start: Weights, *, seed: int = 0) -> Weights:
    """Uniform random scores, the floor every other criterion must beat.

    Drawn from the seed and the rewind-point weights: agents of different training seeds get different scores,
    and the levels of one search get the same, so that their masks nest. Another draw: `partial(random_scores, seed=1)`.
    """
    digest = hashlib.sha256(str(seed).encode())
    for name, weight in start.items():
        digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    generator = torch.Generator().manual_seed(int.from_bytes(digest.digest()[:8], "big") >> 1)
    return {name: torch.rand(weight.shape, generator=generator) for name, weight in weights.items()}
