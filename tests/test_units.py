"""Units: weights that are kept or dropped together; literal scores in, literal mask out; exact counts; masks nest."""

import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch

from rl_tickets.tickets.competing import compete
from rl_tickets.tickets.criteria import magnitude
from rl_tickets.tickets.mask import Mask
from rl_tickets.tickets.scopes import Scope, erk
from rl_tickets.tickets.selecting import LayerCollapseWarning, Pruned, prune, select
from rl_tickets.tickets.units import Unit, Units, incoming, outgoing

SHAPES = {"actor.0": (6, 3), "actor.1": (5, 6), "actor.2": (2, 5), "critic.0": (7, 3), "critic.1": (1, 7)}


def neurons(shapes: dict[str, tuple[int, int]] = SHAPES) -> Units:
    """The hidden neurons of two perceptrons."""
    grids = {name: torch.arange(rows * columns).reshape(rows, columns) for name, (rows, columns) in shapes.items()}
    return Units(
        Unit(layer, i, {layer: grids[layer][i]}, {after: grids[after][:, i]})
        for layer, after in pairwise(shapes)
        if layer.split(".")[0] == after.split(".")[0]
        for i in range(shapes[layer][0])
    )


def draw(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(shape, generator=generator) for name, shape in SHAPES.items()}


SMALL = {"a": (3, 2), "b": (2, 3), "c": (1, 2)}
SCORES = {
    "a": torch.tensor([[1.0, 1.0], [4.0, 4.0], [2.0, 2.0]]),  # rows: 2, 8, 4
    "b": torch.tensor([[5.0, 0.0, 1.0], [5.0, 1.0, 1.0]]),  # columns: 10, 1, 2; rows: 6, 7
    "c": torch.tensor([[3.0, 1.0]]),
}


def small() -> Units:
    grids = {name: torch.arange(rows * columns).reshape(rows, columns) for name, (rows, columns) in SMALL.items()}
    first = [Unit("a", i, {"a": grids["a"][i]}, {"b": grids["b"][:, i]}) for i in range(3)]
    return Units(first + [Unit("b", i, {"b": grids["b"][i]}, {"c": grids["c"][:, i]}) for i in range(2)])


def rows(pruned: Pruned) -> dict[str, list[list[int]]]:
    return {name: kept.int().tolist() for name, kept in pruned.mask.items()}


# --- literal scores in, literal mask out -----------------------------------------------------------------


def test_whole_neurons_go_by_the_sum_of_their_weights_scores() -> None:
    """Sums are 12, 9, 6 in a, and 9, 8 in b."""
    assert rows(select(SCORES, 0.6, units=small())) == {
        "a": [[1, 1], [1, 1], [0, 0]],
        "b": [[1, 1, 0], [0, 0, 0]],
        "c": [[1, 0]],
    }


def test_layer_scope_lets_units_compete_within_the_layer_they_are_named_for() -> None:
    scores = {**SCORES, "c": torch.tensor([[30.0, 30.0]])}
    with pytest.warns(LayerCollapseWarning, match="level 0: a lost the last unit at density 0.4; its best unit was"):
        assert rows(select(scores, 0.4, units=small()))["a"] == [[1, 1], [0, 0], [0, 0]]
    assert rows(select(scores, 0.6, units=small(), scope="layer"))["a"] == [[1, 1], [1, 1], [0, 0]]


def test_network_scope_gives_each_network_of_the_units_layers_its_budget() -> None:
    mask = select(draw(), 0.5, units=neurons(), scope="network").mask
    alive = dict(zip([(unit.layer, unit.index) for unit in neurons()], neurons().alive(mask), strict=True))
    assert sum(lives for (layer, _), lives in alive.items() if layer.startswith("actor")) == 6, "of 11"
    assert sum(alive.values()) == round(0.5 * 18)


def test_a_users_scope_is_told_how_many_units_there_are() -> None:
    seen = []

    def scope(shapes: object, density: float) -> dict[str, float]:
        seen.append(shapes)
        return {"a": 1.0, "b": 0.5}

    assert rows(select(SCORES, 0.8, units=small(), scope=scope))["c"] == [[1, 0]]
    assert seen == [{"a": (3,), "b": (2,)}]


def test_incoming_outgoing_or_a_function_of_ones_own_score_units() -> None:
    """Incoming sums are 2, 8, 4 and 6, 7; outgoing ones 10, 1, 2 and 3, 1."""
    assert rows(select(SCORES, 0.6, units=small().scored_by(incoming)))["a"] == [[0, 0], [1, 1], [0, 0]]
    assert rows(select(SCORES, 0.6, units=small().scored_by(outgoing)))["a"] == [[1, 1], [0, 0], [1, 1]]
    activity = {"a": [0.0, 0.0, 9.0], "b": [5.0, 0.0]}
    units = small().scored_by(lambda unit, scores: activity[unit.layer][unit.index])
    assert rows(select(SCORES, 0.4, units=units)) == {
        "a": [[0, 0], [0, 0], [1, 1]],
        "b": [[0, 0, 1], [0, 0, 0]],
        "c": [[1, 0]],
    }


def test_ties_go_to_the_earlier_unit() -> None:
    alike = {name: torch.ones(6, 2) for name in "a"}
    units = Units(Unit("a", i, {"a": [2 * i, 2 * i + 1]}, {}) for i in (4, 1, 0, 2, 3, 5))
    kept = select(alike, 0.5, units=units).mask["a"]
    assert kept[:, 0].tolist() == [True, True, False, False, True, False], "earlier in the sequence, not by index"


def test_a_weight_of_no_unit_stays_and_one_of_two_units_needs_both() -> None:
    units = Units([Unit("w", 0, {"w": [0, 1]}, {}), Unit("w", 1, {"w": [1, 2]}, {})])
    scores = {"w": torch.tensor([1.0, 1.0, 5.0, 0.0]), "loose": torch.tensor([-9.0])}
    mask = select(scores, 0.5, units=units).mask
    assert mask["w"].tolist() == [False, False, True, True]
    assert mask["loose"].tolist() == [True]


def test_bool_masks_and_flat_indices_name_the_same_weights() -> None:
    one = Unit("w", 0, {"w": torch.tensor([[False, True], [False, True]])}, {"w": [3], "v": torch.tensor([2])})
    assert {name: indices.tolist() for name, indices in one.weights.items()} == {"w": [1, 3], "v": [2]}


def test_a_unit_is_scored_by_the_weights_it_still_has() -> None:
    units = Units(Unit("w", i, {"w": [2 * i, 2 * i + 1]}, {}) for i in range(2))
    scores = {"w": torch.tensor([[float("nan"), 1.0], [1.0, 0.5]])}
    within = Mask({"w": torch.tensor([[False, True], [True, True]])})
    assert select(scores, 0.5, units=units, within=within).mask["w"].tolist() == [[False, False], [True, True]]


def test_prune_is_a_criterion_and_select() -> None:
    weights = {name: -scores for name, scores in draw().items()}
    for units in (None, neurons()):
        chosen = select(magnitude(weights, weights), 0.4, units=units)
        assert prune(weights, 0.4, criterion=magnitude, units=units) == chosen


# --- theory ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scope", ["global", "network", "layer", erk])
def test_counts_of_units_are_exact_masks_nest_and_every_layer_keeps_one(scope: Scope) -> None:
    units, masks = neurons(), [Mask.full(draw())]
    dead: set[int] = set()
    for level, density in enumerate((1.0, 0.8, 0.6, 0.45, 0.3, 3 / 18)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", LayerCollapseWarning)
            mask = select(draw(level), density, units=units, scope=scope, within=masks[-1]).mask
        alive = units.alive(mask)
        assert sum(alive) == round(density * len(units))
        assert {unit.layer for unit, lives in zip(units, alive, strict=True) if lives} == set(units.layers)
        assert not dead & {i for i, lives in enumerate(alive) if lives}
        dead = {i for i, lives in enumerate(alive) if not lives}
        assert mask == units.keep(alive, Mask.full(draw())), "a weight is kept exactly where all its units are"
        masks.append(mask)
    assert all(later.is_within(earlier) for earlier, later in pairwise(masks))


def test_what_a_mask_of_single_weights_dropped_stays_dropped_in_kept_units() -> None:
    within = prune(draw(), 0.5, criterion=magnitude).mask
    mask = select(draw(1), 0.7, units=neurons(), within=within).mask
    assert mask.is_within(within)
    assert sum(neurons().alive(mask)) == round(0.7 * 18)


def test_an_emptied_layer_is_told_with_its_level_and_stays_empty() -> None:
    units = small().scored_by(lambda unit, scores: float(unit.layer == "b") + unit.index / 10)
    with pytest.warns(LayerCollapseWarning) as told:
        pruned = select(SCORES, 0.4, units=units, keep_last=False, level=2)
    assert str(told[0].message) == "level 2: a lost the last unit at density 0.4; the layer is empty from here on"
    assert told[0].filename == __file__
    assert pruned.collapsed == ("a",)
    assert rows(pruned) == {"a": [[0, 0]] * 3, "b": [[0] * 3] * 2, "c": [[1, 1]]}
    assert units.alive(pruned.mask) == [False, False, False, True, True]
    again = select(SCORES, 0.2, units=units, within=pruned.mask)
    assert again.collapsed == ()
    assert rows(again)["c"] == [[0, 1]]


def test_units_are_a_sequence_that_travels() -> None:
    units = small()
    assert (len(units), len(units[1:3]), units[-1].index) == (5, 2, 1)
    again = pickle.loads(pickle.dumps(units))
    assert select(SCORES, 0.6, units=again) == select(SCORES, 0.6, units=units)


def test_a_competition_keeps_what_is_gone_gone() -> None:
    kept, collapsed = compete(
        {"a": np.array([-np.inf, 1.0, 2.0])},
        1 / 3,
        scope="global",
        shapes={"a": (3,)},
        network_of=str,
        keep_last=True,
    )
    assert (kept["a"].tolist(), collapsed) == ([False, False, True], ())


# --- refusals --------------------------------------------------------------------------------------------


def test_no_units_and_the_same_unit_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="there are no units; to prune single weights leave `units` out"):
        Units([])
    with pytest.raises(ValueError, match="unit 0 of 'a' is there 2 times; give each unit an index of its own"):
        Units([Unit("a", 0, {"a": [0]}, {}), Unit("a", 0, {"a": [1]}, {})])


def test_a_unit_without_weights_is_refused() -> None:
    with pytest.raises(ValueError, match="unit 3 of 'a' has no weights"):
        Unit("a", 3, {"a": torch.zeros(2, 2, dtype=torch.bool)}, {})


@pytest.mark.parametrize("weights", [{"v": [0]}, {"w": [4]}, {"w": [-1]}])
def test_units_of_another_mask_are_refused_by_layer(weights: dict[str, list[int]]) -> None:
    sentence = r"unit 0 of 'a' has weights in '[vw]' that the mask does not cover; find units and mask with the same"
    with pytest.raises(ValueError, match=sentence):
        select({"w": torch.ones(4)}, 1.0, units=Units([Unit("a", 0, weights, {})]))


def test_impossible_densities_of_units_say_units() -> None:
    with pytest.raises(ValueError, match=r"density 0\.01 keeps none of 5 units; the lowest is 0\.2"):
        select(SCORES, 0.01, units=small())
    with pytest.raises(ValueError, match=r"density 0\.2 keeps 1 units, fewer than the 2 layers; .* is 0\.4"):
        select(SCORES, 0.2, units=small())
    within = select(SCORES, 0.6, units=small()).mask
    with pytest.raises(ValueError, match=r"density 0\.8 is above the mask's 0\.6: pruned units never return"):
        select(SCORES, 0.8, units=small(), within=within)


def test_a_units_score_must_be_finite() -> None:
    units = small().scored_by(lambda unit, scores: float("nan"))
    with pytest.raises(ValueError, match=r"the score of unit 0 of 'a' is not finite; did the weights diverge\?"):
        select(SCORES, 0.6, units=units)
