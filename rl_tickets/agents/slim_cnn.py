"""SB3's NatureCNN (Mnih et al. 2015) with any numbers of channels, for agents that lost some of theirs."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any

from gymnasium import spaces
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor, NatureCNN
from torch import nn


class SlimCNN(NatureCNN):
    """NatureCNN, whose channels are fixed in SB3, with the channels it is told.

    Its parameters have NatureCNN's names. A saved agent names this class in its `policy_kwargs`, so that whoever
    loads it needs rl_tickets installed.

    Args:
        observation_space: images, channels first.
        features_dim: features after the linear layer.
        normalized_image: as in NatureCNN.
        channels: of the three convolutions.

    Example:
        >>> extractor = SlimCNN(spaces.Box(0, 255, (1, 36, 36), "uint8"), features_dim=20, channels=(3, 5, 2))
        >>> [tuple(p.shape) for p in extractor.parameters() if p.ndim > 1]
        [(3, 1, 8, 8), (5, 3, 4, 4), (2, 5, 3, 3), (20, 2)]
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        features_dim: int = 512,
        normalized_image: bool = False,
        channels: Sequence[int] = (32, 64, 64),
    ) -> None:
        # NatureCNN draws a sample of the space, from a copy here: the environment's own generator stays as it is.
        super().__init__(deepcopy(observation_space), features_dim, normalized_image)
        self._observation_space = observation_space
        stock = [module for module in self.cnn if isinstance(module, nn.Conv2d)]
        inputs, pixels = stock[0].in_channels, self._flat_features // stock[-1].out_channels
        slim: list[nn.Module] = []
        for old, outputs in zip(stock, channels, strict=True):
            slim += [nn.Conv2d(inputs, outputs, old.kernel_size[0], old.stride[0]), nn.ReLU()]
            inputs = outputs
        self.cnn = nn.Sequential(*slim, nn.Flatten())
        self.linear = nn.Sequential(nn.Linear(inputs * pixels, features_dim), nn.ReLU())

    @property
    def _flat_features(self) -> int:
        first = self.linear[0]
        assert isinstance(first, nn.Linear)
        return first.in_features


def channels_of(extractor: BaseFeaturesExtractor) -> tuple[int, ...]:
    """The channels of each convolution of a NatureCNN, slim or not."""
    assert isinstance(extractor, NatureCNN)
    return tuple(module.out_channels for module in extractor.cnn if isinstance(module, nn.Conv2d))
