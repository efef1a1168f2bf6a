"""Masks: nothing changes one, they nest, and their distances agree with chance."""

import copy
import pickle

import numpy as np
import pytest
import torch

from rl_tickets.tickets.mask import LayerCount, Mask, kept_count

SHAPES = {"actor.0.weight": (30, 40), "actor.1.weight": (2, 30), "critic.weight": (50, 10)}


def random_mask(density: float, seed: int) -> Mask:
    """Exactly round(density * n) weights, drawn uniformly over all layers."""
    sizes = [int(np.prod(shape)) for shape in SHAPES.values()]
    flat = torch.zeros(sum(sizes), dtype=torch.bool)
    order = torch.randperm(sum(sizes), generator=torch.Generator().manual_seed(seed))
    flat[order[: round(density * sum(sizes))]] = True
    parts = torch.split(flat, sizes)
    return Mask({n: part.reshape(s) for (n, s), part in zip(SHAPES.items(), parts, strict=True)})


def bits(*kept: bool) -> torch.Tensor:
    return torch.tensor(kept)


# --- a mask stays what it is -----------------------------------------------------------------------------


def test_changing_what_a_mask_was_made_of_does_not_change_it() -> None:
    source = {"w": bits(True, False)}
    mask = Mask(source)
    source["w"][1] = True
    source["other"] = bits(True)
    assert dict(mask).keys() == {"w"}
    assert mask["w"].tolist() == [True, False]


def test_changing_what_a_look_up_gave_does_not_change_the_mask() -> None:
    mask = random_mask(0.3, seed=0)
    digest = mask.digest
    for given in (mask[name] for name in mask):
        given.logical_not_()
    for given in mask.values():
        given.logical_not_()
    for _, given in mask.items():
        given.fill_(True)
    for given in dict(mask).values():
        given.fill_(True)
    mask.layers.clear()
    assert mask.digest == digest
    assert mask == random_mask(0.3, seed=0)


def test_a_mask_refuses_assignment() -> None:
    mask = random_mask(0.3, seed=0)
    with pytest.raises(TypeError, match="item assignment"):
        mask["critic.weight"] = torch.ones(50, 10, dtype=torch.bool)  # type: ignore[index]
    with pytest.raises(AttributeError):
        mask.density = 1.0  # type: ignore[misc]


def test_a_mask_survives_copying_and_pickling_as_worker_processes_do() -> None:
    mask = random_mask(0.3, seed=0)
    assert pickle.loads(pickle.dumps(mask)) == mask
    assert copy.deepcopy(mask) == mask


def test_masks_are_equal_by_names_shapes_and_bits() -> None:
    mask = Mask({"a": bits(True, False), "b": bits(True)})
    same = Mask({"a": bits(True, False), "b": bits(True)})
    assert mask == same
    assert hash(mask) == hash(same)
    others = [
        Mask({"a": bits(True, True), "b": bits(True)}),
        Mask({"a": bits(True, False), "c": bits(True)}),
        Mask({"a": bits(True, False)[None], "b": bits(True)}),
        Mask({"a": bits(True, False)}),
    ]
    assert all(mask != other and mask.digest != other.digest for other in others)
    assert mask != {"a": bits(True, False), "b": bits(True)}


# --- counts ----------------------------------------------------------------------------------------------


def test_counts_and_densities_of_a_mask_and_its_layers() -> None:
    mask = Mask({"a": torch.tensor([[True, False], [True, True]]), "b": bits(False, False)})
    assert (mask.kept, mask.total, mask.density) == (3, 6, 0.5)
    assert mask.layers == {"a": LayerCount(3, 4), "b": LayerCount(0, 2)}
    assert [count.density for count in mask.layers.values()] == [0.75, 0.0]
    assert repr(mask) == "Mask(density=0.5, kept=3, total=6, layers=2)"
    assert list(mask) == ["a", "b"]


def test_a_full_mask_keeps_everything_whatever_the_weights_are() -> None:
    mask = Mask.full({"w": torch.full((2, 3), torch.nan), "half": torch.zeros(4, dtype=torch.float16)})
    assert mask.density == 1
    assert mask["w"].shape == (2, 3)


def test_applying_gives_copies_with_exact_zeros() -> None:
    weights = {"w": torch.tensor([1.0, -2.0, -3.0]), "bias": torch.tensor([5.0])}
    applied = Mask({"w": bits(True, False, True)}).apply(weights)
    assert applied["w"].tolist() == [1.0, 0.0, -3.0]
    applied["w"].zero_()
    applied["bias"].zero_()
    assert weights["w"].tolist() == [1.0, -2.0, -3.0]
    assert weights["bias"].tolist() == [5.0]


def test_applying_gives_zeros_even_where_weights_diverged() -> None:
    diverged = {"w": torch.tensor([torch.nan, torch.inf, -1.0, 2.0])}
    applied = Mask({"w": bits(False, False, False, True)}).apply(diverged)["w"]
    assert applied.tolist() == [0.0, 0.0, 0.0, 2.0]
    assert not applied.signbit().any(), "minus zero is not the zero of a file compared byte for byte"


# --- nesting and distances -------------------------------------------------------------------------------


def test_nesting() -> None:
    small = Mask({"w": bits(True, False, False)})
    large = Mask({"w": bits(True, True, False)})
    aside = Mask({"w": bits(False, False, True)})
    assert small.is_within(large)
    assert small.is_within(small)
    assert not large.is_within(small)
    assert not aside.is_within(large)


def test_distances_by_hand() -> None:
    one = Mask({"a": bits(True, True, False), "b": bits(True)})
    two = Mask({"a": bits(True, False, True), "b": bits(False)})
    assert one.distance(two) == two.distance(one) == 3 / 4
    assert one.kept_distance(two) == two.kept_distance(one) == 3 / 5
    assert one.distance(one) == one.kept_distance(one) == 0


def test_disjoint_masks_are_one_apart_in_kept_weights_however_sparse() -> None:
    one, two = (Mask({"w": torch.arange(1000) == place}) for place in (3, 4))
    assert one.kept_distance(two) == 1
    assert one.distance(two) == 2 / 1000


def test_empty_masks_have_distances() -> None:
    none = Mask({"w": bits(False, False)})
    assert none.kept_distance(none) == none.chance_kept_distance(none) == 0


@pytest.mark.parametrize(("first", "second"), [(0.5, 0.5), (0.2, 0.2), (0.8, 0.1), (1.0, 0.3), (0.05, 0.05)])
def test_distances_of_random_masks_are_the_stated_chance(first: float, second: float) -> None:
    pairs = [(random_mask(first, 2 * draw), random_mask(second, 2 * draw + 1)) for draw in range(60)]
    for distance, chance in (
        (Mask.distance, Mask.chance_distance),
        (Mask.kept_distance, Mask.chance_kept_distance),
    ):
        found = [distance(one, two) for one, two in pairs]
        error = max(np.std(found) / np.sqrt(len(found)), 1e-12)
        assert abs(np.mean(found) - chance(*pairs[0])) < 4 * error
        assert chance(*pairs[0]) == pytest.approx(chance(*pairs[0][::-1]))


def test_masks_of_other_architectures_do_not_compare() -> None:
    mask = Mask({"w": bits(True, False)})
    for other in (Mask({"v": bits(True, False)}), Mask({"w": bits(True)})):
        for compare in (Mask.distance, Mask.kept_distance, Mask.is_within):
            with pytest.raises(ValueError, match="different architectures: their layers differ"):
                compare(mask, other)


# --- refusals --------------------------------------------------------------------------------------------


def test_a_mask_must_be_bool_and_have_a_layer() -> None:
    with pytest.raises(ValueError, match=r"the mask of 'w' must be bool, not torch\.float32"):
        Mask({"w": torch.ones(2)})
    with pytest.raises(ValueError, match="at least one prunable layer"):
        Mask({})
    with pytest.raises(KeyError, match="nowhere"):
        Mask({"w": bits(True)})["nowhere"]


@pytest.mark.parametrize("density", [0, -0.1, 1.0001, float("nan"), float("inf"), "0.5", None])
def test_impossible_densities_are_named(density: object) -> None:
    with pytest.raises(ValueError, match=r"density must be in \(0, 1\], got "):
        kept_count(density, 100)  # type: ignore[arg-type]


def test_a_density_that_keeps_nothing_says_which_is_the_lowest() -> None:
    with pytest.raises(ValueError, match=r"density 0\.001 keeps none of 100 weights; the lowest is 0\.01"):
        kept_count(0.001, 100)


@pytest.mark.parametrize("density", [1, 1.0, 0.64, np.float32(0.64), np.float64(0.64)])
def test_kept_count_is_the_rounded_product(density: float) -> None:
    assert kept_count(density, 1234) == round(float(density) * 1234)
    assert isinstance(kept_count(density, 1234), int)
