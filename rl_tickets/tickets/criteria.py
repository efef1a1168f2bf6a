"""Criteria score weights; the lowest scores are pruned.

A criterion is any function `(weights, start) -> scores`, each a map from layer name to tensor: the trained
weights, the weights at the rewind point, and scores of the same shapes, of which the highest are kept. Scores may
be NumPy arrays.
"""

import hashlib
from collections.abc import Callable, Mapping

import torch

Weights = Mapping[str, torch.Tensor]
Criterion = Callable[[Weights, Weights], Weights]


def demand_criterion(criterion: object) -> None:
    """Raises TypeError for what is no criterion, before anything is trained for it."""
    if not callable(criterion):
        raise TypeError(
            f"criterion must be a function `(weights, start) -> scores` such as rt.lamp, not {criterion!r}: give the "
            "function itself"
        )


def magnitude(weights: Weights, start: Weights) -> Weights:
    """|w|, the criterion of iterative magnitude pruning (Han et al. 2015, arXiv 1506.02626).

    Example:
        >>> magnitude({"w": torch.tensor([-2.0, 1.0])}, {})["w"].tolist()
        [2.0, 1.0]
    """
    return {name: weight.abs() for name, weight in weights.items()}


def lamp(weights: Weights, start: Weights) -> Weights:
    """w² over the sum of the squares in its layer from it upwards (Lee et al. 2021, LAMP, arXiv 2010.07611).

    The largest weight of every layer scores 1, so layers compete on equal terms and none empties first. Of equal
    weights the earlier counts as the larger.

    Example:
        >>> lamp({"w": torch.tensor([1.0, 2.0])}, {})["w"].tolist()
        [0.2, 1.0]
    """
    return {name: _lamp_layer(weight) for name, weight in weights.items()}


def _lamp_layer(weight: torch.Tensor) -> torch.Tensor:
    magnitudes, order = weight.flatten().abs().sort(descending=True, stable=True)
    # float64: squares of small float32 weights vanish, and close scores would become ties.
    squares = magnitudes.double().square()
    scores = torch.empty_like(squares)
    # Clamped, so that pruned weights score 0 and not 0 / 0; weights that diverged go on to score NaN.
    scores[order] = squares / squares.cumsum(0).clamp(min=torch.finfo(torch.float64).tiny)
    return scores.reshape(weight.shape)


def random_scores(weights: Weights, start: Weights, *, seed: int = 0) -> Weights:
    """Uniform random scores, the floor every other criterion must beat.

    Drawn from the seed and the rewind-point weights: agents of different training seeds get different scores,
    and the levels of one search get the same, so that their masks nest.

    Example:
        another_draw = partial(random_scores, seed=1)
    """
    digest = hashlib.sha256(str(seed).encode())
    for name, weight in start.items():
        digest.update(name.encode() + weight.detach().cpu().numpy().tobytes())
    generator = torch.Generator().manual_seed(int.from_bytes(digest.digest()[:8], "big") >> 1)
    return {name: torch.rand(weight.shape, generator=generator) for name, weight in weights.items()}
