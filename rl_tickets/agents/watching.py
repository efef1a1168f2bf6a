"""Watching: the gradient of the loss before it is masked, of the last minibatch that made an optimizer step."""

from collections.abc import Iterable, Mapping

import torch


class DenseGradient:
    """What one hold has seen since it was asked to watch."""

    def __init__(self) -> None:
        self._passing: dict[str, torch.Tensor] = {}
        self._stepped: dict[str, torch.Tensor] = {}

    def pass_by(self, name: str, gradient: torch.Tensor) -> None:
        """A backward pass reached a weight; whether its gradient is used will show."""
        self._passing[name] = gradient.detach().clone()

    def freeze(self, names: Iterable[str]) -> None:
        """The optimizer of these weights made a step: what reached them last is what it used."""
        self._stepped |= {name: self._passing[name] for name in names if name in self._passing}

    def take(self, gradient: Mapping[str, torch.Tensor]) -> None:
        """What a trainer that makes the steps itself used."""
        self._stepped |= gradient

    def so_far(self) -> dict[str, torch.Tensor]:
        """Copies of what there is."""
        return {name: gradient.clone() for name, gradient in self._stepped.items()}

    def of(self, names: Iterable[str]) -> dict[str, torch.Tensor]:
        """Copies, in this order.

        Raises:
            RuntimeError: a weight among them was not trained since watching began.
        """
        if missing := [name for name in names if name not in self._stepped]:
            raise RuntimeError(
                f"there is no gradient of {missing[0]!r} yet: no optimizer has stepped it since `watch()`; ask after "
                "an update (TRPO's actor, for one, never has an optimizer's step)"
            )
        return {name: self._stepped[name].clone() for name in names}
