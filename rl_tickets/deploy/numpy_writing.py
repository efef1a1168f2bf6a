"""Writing a policy for `numpy_policy`: steps as JSON, arrays as safetensors, sparse rows where few weights are left."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from safetensors.numpy import save
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.preprocessing import is_image_space
from torch import nn

from rl_tickets.agents.greedy import chain
from rl_tickets.agents.incoming import Incoming, incoming
from rl_tickets.agents.layers import WiringError
from rl_tickets.deploy.numpy_policy import MODULES
from rl_tickets.tickets.archive import write_whole

Array = npt.NDArray[Any]
Step = dict[str, Any]


def write_numpy(model: BaseAlgorithm, path: Path) -> None:
    """Writes the agent's greedy policy for `NumpyPolicy`.

    Raises:
        WiringError: it has convolutions, or modules that `numpy_policy` does not know.
    """
    way, found = incoming(model), chain(model)
    arrays: dict[str, Array] = {}
    steps = _seeing(model, way, arrays)
    for module in found.modules:
        if isinstance(module, nn.Linear):
            steps.append(_linear(module, f"layer{len(steps)}", arrays))
        elif isinstance(module, nn.Hardtanh):
            steps.append({"do": "clip", "low": module.min_val, "high": module.max_val})
        elif not isinstance(module, nn.Flatten | nn.Identity):
            steps.append({"do": _known(module)})
    about = {
        "observation": list(way.space.shape or ()),
        "action": list(model.action_space.shape or ()),
        "decide": found.decide,
        "groups": list(found.groups),
        "steps": steps,
    }
    if isinstance(model.action_space, spaces.Box):
        arrays |= {"low": model.action_space.low, "high": model.action_space.high}
        steps += [{"do": "Tanh"}] * (found.decide == "tanh")
        about["decide"] = "unscale" if model.policy.squash_output else "clip"
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write_whole(path, save(contiguous, metadata={"policy": json.dumps(about)}))


def _seeing(model: BaseAlgorithm, way: Incoming, arrays: dict[str, Array]) -> list[Step]:
    """What happens to an observation before the first layer, SB3's own preprocessing included."""
    space, steps = model.observation_space, list[Step]()
    if way.mean is not None:
        assert way.scale is not None
        arrays |= {"mean": way.mean, "scale": way.scale}
        steps.append({"do": "normalize", "clip": way.clip})
    if way.transposed:
        steps.append({"do": "channels_first"})
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        sizes = [space.n] if isinstance(space, spaces.Discrete) else space.nvec.flatten()
        steps.append({"do": "one_hot", "sizes": [int(size) for size in sizes]})
    elif is_image_space(space) and model.policy.normalize_images:
        steps.append({"do": "divide", "by": 255})
    return [*steps, {"do": "columns"}]


def _linear(module: nn.Linear, name: str, arrays: dict[str, Array]) -> Step:
    weight = module.weight.detach().cpu().numpy()
    rows, columns = weight.nonzero()
    small = np.uint16 if weight.shape[1] <= np.iinfo(np.uint16).max else np.int32
    if len(rows) * (4 + np.dtype(small).itemsize) + 4 * len(weight) < weight.nbytes:
        starts = np.searchsorted(rows, np.arange(len(weight) + 1)).astype(np.int32)
        arrays |= {f"{name}.values": weight[rows, columns], f"{name}.columns": columns.astype(small)}
        arrays[f"{name}.starts"] = starts
    else:
        arrays[name] = weight
    bias = np.zeros(len(weight), np.float32) if module.bias is None else module.bias.detach().cpu().numpy()
    arrays[f"{name}.bias"] = bias
    return {"do": "linear", "name": name, "shape": list(weight.shape)}


def _known(module: nn.Module) -> str:
    name, stock = type(module).__name__, getattr(nn, type(module).__name__, None)
    if name in MODULES and type(module) is stock and str(module) == str(stock()):
        return name
    raise WiringError(f"{module} is not among what a numpy policy does ({', '.join(MODULES)}); export it to .onnx")
