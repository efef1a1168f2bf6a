"""Pruning: literal scores in, literal mask out; exact counts; masks nest; no layer dies unannounced."""

import warnings
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import pytest
import torch

from rl_tickets.tickets.criteria import Criterion, Weights, lamp, magnitude, random_scores
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.scopes import Scope, erk
from rl_tickets.tickets.selecting import LayerCollapseWarning, prune, select

SHAPES = {
    "actor.0.weight": (16, 4),
    "actor.1.weight": (2, 16),
    "critic.0.weight": (24, 4),
    "critic.1.weight": (1, 24),
    "features.weight": (4, 1, 3, 3),
}


def reciprocal(weights: Weights, start: Weights) -> Weights:
    """A user's criterion: the smallest weights are kept, and scores are integers."""
    return {name: (1 / weight.abs().clamp(min=1e-9)).long() for name, weight in weights.items()}


CRITERIA: list[Criterion] = [magnitude, lamp, random_scores, reciprocal]
SCOPES: list[Scope] = ["global", "network", "layer", erk]


def draw(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def scored(**layers: object) -> tuple[dict[str, torch.Tensor], Criterion]:
    """Weights that are all alike, and a criterion that gives the scores literally."""
    scores = {name: torch.tensor(rows, dtype=torch.float32) for name, rows in layers.items()}
    return {name: torch.ones_like(rows) for name, rows in scores.items()}, lambda weights, start: scores


def rows(mask: Mask) -> dict[str, list[object]]:
    return {name: kept.int().tolist() for name, kept in mask.items()}


# --- literal scores in, literal mask out -----------------------------------------------------------------


def test_global_scope_keeps_the_highest_of_all() -> None:
    weights, criterion = scored(a=[[9.0, 1.0], [2.0, 8.0]], b=[[3.0, 7.0, 0.0]])
    assert rows(prune(weights, 3 / 7, criterion=criterion).mask) == {"a": [[1, 0], [0, 1]], "b": [[0, 1, 0]]}


def test_layer_scope_keeps_the_highest_of_each_layer() -> None:
    weights, criterion = scored(a=[[9.0, 6.0], [5.0, 8.0]], b=[[3.0, 4.0]])
    mask = prune(weights, 0.5, criterion=criterion, scope="layer").mask
    assert rows(mask) == {"a": [[1, 0], [0, 1]], "b": [[0, 1]]}


def test_network_scope_gives_each_network_its_own_budget() -> None:
    layers = {"actor.0": [9.0, 8.0], "actor.1": [7.0, 6.0], "critic.0": [1.0, 2.0, 3.0, 4.0]}
    weights, criterion = scored(**layers)
    with pytest.warns(LayerCollapseWarning, match=r"actor\.1"):
        alone = prune(weights, 0.5, criterion=criterion, scope="network", keep_last=False)
    assert rows(alone.mask) == {"actor.0": [1, 1], "actor.1": [0, 0], "critic.0": [0, 0, 1, 1]}
    halves = {"actor.0": "one", "actor.1": "two", "critic.0": "two"}
    mask = prune(weights, 0.5, criterion=criterion, scope="network", network_of=halves.__getitem__).mask
    assert rows(mask) == {"actor.0": [1, 0], "actor.1": [1, 1], "critic.0": [0, 0, 0, 1]}


def test_a_users_scope_gives_each_layer_its_density() -> None:
    weights, criterion = scored(a=[1.0, 2.0, 3.0, 4.0], b=[1.0, 2.0, 3.0, 4.0])
    mask = prune(weights, 0.5, criterion=criterion, scope=lambda shapes, density: {"a": 0.25, "b": 0.75}).mask
    assert rows(mask) == {"a": [0, 0, 0, 1], "b": [0, 1, 1, 1]}


def test_a_users_scope_is_told_shapes_and_density_and_its_sum_is_set_right() -> None:
    seen = []

    def greedy(shapes: Mapping[str, tuple[int, ...]], density: float) -> dict[str, float]:
        seen.append((dict(shapes), density))
        return {"a": 0.9, "b": 0.3}

    weights, criterion = scored(a=[[1.0, 2.0, 3.0, 4.0]], b=[1.0, 2.0, 3.0, 4.0])
    mask = prune(weights, 0.5, criterion=criterion, scope=greedy).mask
    assert seen == [({"a": (1, 4), "b": (4,)}, 0.5)]
    assert rows(mask) == {"a": [[0, 1, 1, 1]], "b": [0, 0, 0, 1]}


def test_ties_go_to_the_earlier_weight() -> None:
    weights, criterion = scored(a=[1.0, 1.0, 1.0], b=[[1.0, 2.0], [1.0, 1.0]])
    assert rows(prune(weights, 4 / 7, criterion=criterion).mask) == {"a": [1, 1, 1], "b": [[0, 1], [0, 0]]}


@pytest.mark.parametrize("criterion", [magnitude, lamp])
def test_equal_magnitudes_go_to_the_earlier_weight(criterion: Criterion) -> None:
    weights = {"a": torch.tensor([0.5, -0.5, 0.5, -0.5])}
    assert rows(prune(weights, 0.5, criterion=criterion).mask) == {"a": [1, 1, 0, 0]}


def test_dropped_weights_never_come_back_however_high_they_score() -> None:
    weights, criterion = scored(a=[9.0, 1.0, 2.0, 3.0])
    within = Mask({"a": torch.tensor([False, True, True, True])})
    assert rows(prune(weights, 0.5, criterion=criterion, within=within).mask) == {"a": [0, 0, 1, 1]}


def test_criteria_see_pruned_weights_as_zeros_and_the_rewind_point_whole() -> None:
    weights, start = draw(1), draw(2)
    within = prune(weights, 0.5, scope="layer").mask
    seen: list[Weights] = []

    def curious(weights: Weights, start: Weights) -> Weights:
        seen.extend((weights, start))
        return magnitude(weights, start)

    prune({**weights, "bias": torch.ones(3)}, 0.3, criterion=curious, within=within, start=start, scope="layer")
    applied = within.apply(weights)
    assert list(seen[0]) == list(seen[1]) == list(SHAPES)
    assert all(torch.equal(seen[0][name], applied[name]) for name in SHAPES)
    assert all(torch.equal(seen[1][name], start[name]) for name in SHAPES)


# --- theory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_counts_are_exact_masks_nest_and_are_the_same_again(criterion: Criterion, scope: Scope) -> None:
    total = sum(int(np.prod(shape)) for shape in SHAPES.values())
    densities = (1.0, 0.8, 0.64, 0.5, 0.37, 0.2, 0.111, 0.05, 0.03, 5 / total)
    masks = [Mask.full(draw())]
    for level, density in enumerate(densities):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapseWarning)
            again = [
                prune(draw(level), density, criterion=criterion, scope=scope, within=masks[-1], start=draw()).mask
                for _ in range(2)
            ]
        assert again[0] == again[1]
        assert again[0].kept == round(density * total)
        assert all(count.kept for count in again[0].layers.values())
        masks.append(again[0])
    assert all(later.is_within(earlier) for earlier, later in pairwise(masks))


def networks(mask: Mask) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for name, count in mask.layers.items():
        kept, total = found.get(name.split(".")[0], (0, 0))
        found[name.split(".")[0]] = kept + count.kept, total + count.total
    return found


@pytest.mark.parametrize("density", [0.8, 0.5, 0.111])
def test_every_layer_or_network_has_its_density_to_within_a_weight(density: float) -> None:
    layer = prune(draw(), density, scope="layer").mask
    assert all(abs(count.kept - density * count.total) <= 1 for count in layer.layers.values())
    network = prune(draw(), density, scope="network").mask
    assert all(abs(kept - density * total) <= 1 for kept, total in networks(network).values())
    kernel = prune(draw(), density, scope=erk).mask
    wanted = erk(SHAPES, density)
    assert all(abs(count.kept - wanted[name] * count.total) <= 1 for name, count in kernel.layers.items())


def test_scopes_differ_where_layers_have_different_scales() -> None:
    weights = draw()
    weights["critic.0.weight"] *= 3
    masks = [prune(weights, 0.5, scope=scope).mask for scope in SCOPES]
    assert len({mask.digest for mask in masks}) == len(SCOPES)


def test_dense_keeps_everything_and_half_floats_are_pruned_too() -> None:
    assert prune(draw(), 1.0).mask == Mask.full(draw())
    brief = {name: weight.bfloat16().requires_grad_() for name, weight in draw().items()}
    assert prune(brief, 0.5, criterion=lamp).mask.density == 0.5


@pytest.mark.parametrize("scope", SCOPES)
@pytest.mark.parametrize("criterion", CRITERIA)
def test_a_criterion_and_select_are_prune(criterion: Criterion, scope: Scope) -> None:
    within = prune(draw(1), 0.7, scope="layer").mask
    scores = criterion(within.apply(draw()), {name: draw(2)[name] for name in SHAPES})
    alone = select(scores, 0.3, scope=scope, within=within)
    assert alone == prune(draw(), 0.3, criterion=criterion, scope=scope, within=within, start=draw(2))


def test_scores_of_any_float_are_selected_by_exactly() -> None:
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        scores = {"a": torch.tensor([[1.0, -2.0], [3.0, 3.0]], dtype=dtype, requires_grad=True)}
        assert rows(select(scores, 0.25).mask) == {"a": [[0, 0], [1, 0]]}
    close = {"a": torch.tensor([1.0, 1.0 + 1e-12], dtype=torch.float64)}
    assert rows(select(close, 0.5).mask) == {"a": [0, 1]}


def test_select_tells_a_collapse_where_it_was_called() -> None:
    scores = {"a": torch.tensor([5.0, 6.0, 7.0]), "b": torch.tensor([0.1])}
    with pytest.warns(LayerCollapseWarning, match="level 4: b lost the last weight at density 0.5; its best") as told:
        assert select(scores, 0.5, level=4).collapsed == ("b",)
    assert told[0].filename == __file__


# --- layer collapse --------------------------------------------------------------------------------------


def test_a_collapse_is_prevented_and_told_once_with_layers_and_level() -> None:
    weights, criterion = scored(a=[5.0, 6.0, 7.0, 8.0], b=[0.1, 0.3], c=[0.2, 0.1])
    with pytest.warns(LayerCollapseWarning) as told:
        pruned = prune(weights, 0.5, criterion=criterion, level=3)
    sentence = "level 3: b, c lost the last weight at density 0.5; its best weight was kept"
    assert [str(warning.message) for warning in told] == [sentence]
    assert told[0].filename == __file__
    assert pruned.collapsed == ("b", "c")
    assert rows(pruned.mask) == {"a": [0, 0, 1, 1], "b": [0, 1], "c": [1, 0]}


def test_a_collapse_is_possible_when_it_is_wanted_and_then_stays() -> None:
    weights, criterion = scored(a=[5.0, 6.0, 7.0, 8.0], b=[0.1, 0.3], c=[0.2, 0.1])
    with pytest.warns(LayerCollapseWarning, match="level 1: b, c lost .*; the layer is empty from here on"):
        pruned = prune(weights, 0.5, criterion=criterion, level=1, keep_last=False)
    assert pruned.collapsed == ("b", "c")
    assert rows(pruned.mask) == {"a": [1, 1, 1, 1], "b": [0, 0], "c": [0, 0]}
    again = prune(weights, 0.25, criterion=criterion, level=2, within=pruned.mask)
    assert again.collapsed == (), "an empty layer does not lose its last weight again"
    assert again.mask.kept == 2
    assert prune(weights, 0.125, criterion=criterion, within=pruned.mask).mask.kept == 1, "empty layers need none"


def test_the_later_of_equally_low_weights_makes_room() -> None:
    weights, criterion = scored(a=[5.0, 5.0, 5.0], b=[1.0], c=[5.0, 5.0])
    with pytest.warns(LayerCollapseWarning):
        pruned = prune(weights, 5 / 6, criterion=criterion)
    assert rows(pruned.mask) == {"a": [1, 1, 1], "b": [1], "c": [1, 0]}


def test_room_is_made_in_the_layers_own_network() -> None:
    layers = {"actor.0": [7.0, 8.0, 9.0], "actor.1": [1.0], "critic.0": [0.1, 0.2, 0.3, 0.4]}
    weights, criterion = scored(**layers)
    with pytest.warns(LayerCollapseWarning, match=r"actor\.1"):
        pruned = prune(weights, 0.5, criterion=criterion, scope="network")
    assert rows(pruned.mask) == {"actor.0": [0, 0, 1], "actor.1": [1], "critic.0": [0, 0, 1, 1]}


def test_no_collapse_no_warning() -> None:
    assert prune(draw(), 0.5, criterion=lamp).collapsed == ()


# --- refusals --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("density", [0.0, -1, 1.5, float("nan"), "half"])
def test_impossible_densities_are_refused(density: float) -> None:
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got "):
        prune(draw(), density)


def test_a_density_below_one_weight_or_one_per_layer_says_which_is_the_lowest() -> None:
    weights = {"a": torch.ones(50), "b": torch.ones(50)}
    with pytest.raises(ValueError, match=r"density 0\.001 keeps none of 100 weights; the lowest is 0\.01"):
        prune(weights, 0.001)
    sentence = r"density 0\.01 keeps 1 weights, fewer than the 2 layers; the lowest that leaves each layer one is 0\.02"
    with pytest.raises(ValueError, match=sentence):
        prune(weights, 0.01)
    with pytest.warns(LayerCollapseWarning):
        assert prune(weights, 0.01, keep_last=False).mask.kept == 1


def test_a_mask_never_grows() -> None:
    within = prune(draw(), 0.5).mask
    with pytest.raises(ValueError, match=r"density 0\.8 is above the mask's 0\.5: pruned weights never return"):
        prune(draw(), 0.8, within=within)
    assert prune(draw(), 0.5, within=within).mask == within


def test_an_unknown_scope_is_named() -> None:
    with pytest.raises(
        ValueError, match=r'must be "global", "network", "layer" or a function such as erk, got \'erk\''
    ):
        prune(draw(), 0.5, scope="erk")  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", [{"a": 1.0}, {"a": 1.0, "b": float("nan")}, {"a": 1.0, "b": -0.1}])
def test_a_scope_that_gives_no_density_is_refused_by_layer(answer: dict[str, float]) -> None:
    weights = {"a": torch.ones(4), "b": torch.ones(4)}
    with pytest.raises(ValueError, match=r"the scope gave 'b' the density .*, which is none"):
        prune(weights, 0.5, scope=lambda shapes, density: answer)


@pytest.mark.parametrize("scores", [{}, {"w": torch.ones(3)}, {"w": torch.ones(2, 2, 1)}])
def test_missing_or_misshapen_scores_are_refused_by_layer(scores: dict[str, torch.Tensor]) -> None:
    with pytest.raises(ValueError, match=r"the criterion gave no scores of shape \(2, 2\) for 'w'"):
        prune({"w": torch.ones(2, 2)}, 0.5, criterion=lambda weights, start: scores)


def test_scores_must_be_finite_where_it_matters() -> None:
    weights, criterion = scored(w=[1.0, float("nan"), 2.0, float("-inf")])
    with pytest.raises(ValueError, match=r"scores for 'w' are not finite; did the weights diverge\?"):
        prune(weights, 0.5, criterion=criterion)
    within = Mask({"w": torch.tensor([True, False, True, False])})
    assert rows(prune(weights, 0.25, criterion=criterion, within=within).mask) == {"w": [0, 0, 1, 0]}


def test_weights_of_another_architecture_are_refused_by_layer() -> None:
    within = Mask.full({"w": torch.ones(2, 2)})
    for weights in ({"v": torch.ones(2, 2)}, {"w": torch.ones(4)}):
        with pytest.raises(ValueError, match=r"the mask covers 'w' of shape \(2, 2\), the weights given do not"):
            prune(weights, 0.5, within=within)


# --- speed -----------------------------------------------------------------------------------------------
