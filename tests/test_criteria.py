"""Criteria: LAMP is the paper's, magnitude is magnitude, and random scores know their agent."""

from functools import partial

import numpy as np
import pytest
import torch

from rl_tickets.tickets.criteria import lamp, magnitude, random_scores
from rl_tickets.tickets.selecting import prune

Tensors = dict[str, torch.Tensor]


def draw(seed: int = 0) -> Tensors:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"conv.weight": (3, 2, 2, 2), "linear.weight": (5, 7), "head.weight": (2, 5)}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def naive_lamp(weight: torch.Tensor) -> list[float]:
    """Equation 4 of Lee et al. 2021 as it stands, in O(n²); of equal weights the earlier counts as the larger."""
    flat = [float(value) for value in weight.flatten()]
    ranks = {place: (abs(value), -place) for place, value in enumerate(flat)}
    return [
        flat[u] ** 2 / below if (below := sum(flat[v] ** 2 for v in ranks if ranks[v] >= ranks[u])) else 0.0
        for u in ranks
    ]


def test_magnitude_is_the_absolute_value_and_leaves_the_weights_alone() -> None:
    weights = draw()
    before = {name: weight.clone() for name, weight in weights.items()}
    scores = magnitude(weights, {})
    assert all(torch.equal(scores[name], before[name].abs()) for name in before)
    assert all(torch.equal(weights[name], before[name]) for name in before)


@pytest.mark.parametrize("seed", range(3))
def test_lamp_is_the_papers_formula(seed: int) -> None:
    weights = draw(seed)
    weights["linear.weight"][1:3] = 0
    weights["linear.weight"][3] = weights["linear.weight"][4]
    weights["head.weight"][:] = -0.25
    scores = lamp(weights, {})
    for name, weight in weights.items():
        assert scores[name].shape == weight.shape
        np.testing.assert_allclose(scores[name].flatten(), naive_lamp(weight), rtol=1e-12)


@pytest.mark.parametrize("scale", [2.0**-100, 1e-3, 7.0, 1e30])
def test_lamp_does_not_see_the_scale_of_a_layer(scale: float) -> None:
    weights = {name: weight.double() for name, weight in draw().items()}
    scaled = weights | {"linear.weight": weights["linear.weight"] * scale}
    for name, scores in lamp(scaled, {}).items():
        np.testing.assert_allclose(scores, lamp(weights, {})[name], rtol=1e-12)
    assert prune(scaled, 0.4, criterion=lamp).mask == prune(weights, 0.4, criterion=lamp).mask


def test_lamps_largest_weight_of_every_layer_alone_scores_one() -> None:
    weights = {**draw(), "equal.weight": torch.full((4, 4), 0.5), "tiny.weight": torch.full((3, 1), 1e-30)}
    for scores in lamp(weights, {}).values():
        assert int((scores == 1).sum()) == 1
        assert float(scores.max()) == 1


def test_lamp_orders_a_layer_as_magnitude_does() -> None:
    weight = torch.randn(200, 100, generator=torch.Generator().manual_seed(5))
    weight[50:60] = weight[:10]
    orders = [
        torch.sort(criterion({"w": weight}, {})["w"].flatten(), descending=True, stable=True).indices
        for criterion in (magnitude, lamp)
    ]
    assert torch.equal(*orders)


def test_pruned_weights_do_not_count_in_lamp() -> None:
    weights = draw()
    mask = prune(weights, 0.5, criterion=lamp).mask
    scores = lamp(mask.apply(weights), {})
    for name, kept in mask.items():
        np.testing.assert_allclose(scores[name][kept], lamp({"w": weights[name][kept]}, {})["w"], rtol=1e-12)
        assert not scores[name][~kept].any()


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("criterion", [magnitude, lamp])
def test_diverged_weights_do_not_pass_for_unimportant_ones(bad: float, criterion: object) -> None:
    weights = draw()
    weights["linear.weight"][0, 0] = bad
    with pytest.raises(ValueError, match=r"scores for 'linear\.weight' are not finite; did the weights diverge\?"):
        prune(weights, 0.5, criterion=criterion)  # type: ignore[arg-type]


def test_random_scores_are_uniform_and_the_same_again() -> None:
    weights = {"w": torch.zeros(100, 100)}
    scores = random_scores(weights, weights)["w"].flatten().sort().values.double()
    # Kolmogorov and Smirnov's distance; its 99.9 % quantile is 1.95 / sqrt(n).
    assert float((scores - torch.linspace(0, 1, 10_000)).abs().max()) < 1.95 / 100
    assert torch.equal(random_scores(weights, weights)["w"], random_scores(weights, weights)["w"])


def test_random_scores_depend_on_seed_and_rewind_point_but_not_on_trained_weights() -> None:
    start, trained = draw(0), draw(1)
    scores = random_scores(start, start)
    for other, same in (
        (random_scores(trained, start), True),
        (random_scores(start, trained), False),
        (random_scores(start, start, seed=1), False),
    ):
        assert all(torch.equal(scores[name], other[name]) is same for name in scores)


def test_random_scores_leave_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    random_scores(draw(), draw())
    assert torch.equal(torch.get_rng_state(), before)


def test_random_masks_of_one_search_nest() -> None:
    start, within = draw(), None
    criterion = partial(random_scores, seed=3)
    for level, density in enumerate((0.8, 0.5, 0.2, 0.1)):
        free = prune(draw(level), density, criterion=criterion, start=start).mask
        within = prune(draw(level), density, criterion=criterion, start=start, within=within).mask
        assert free == within, "they nest even where nothing makes them"
