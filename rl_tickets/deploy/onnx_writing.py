"""Writing a policy as ONNX, following SB3's documented pattern, with all that its `predict` does inside the graph."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.greedy import Greedy
from rl_tickets.agents.validation import unvalidated
from rl_tickets.tickets.archive import write_whole

Array = npt.NDArray[Any]
INPUT, OUTPUT = "observation", "action"


def write_onnx(model: BaseAlgorithm, path: Path) -> None:
    """Writes the agent's greedy policy: input `observation`, shape (batch, ...), output `action`, shape (batch, ...).

    Raises:
        ImportError: the extra `export` is not installed; it is named.
        WiringError: a recurrent policy, or observations of several parts.
    """
    demand_onnx()
    greedy = Greedy(model)
    space = greedy.incoming.space
    example = torch.as_tensor(np.zeros((2, *(space.shape or ())), dtype=space.dtype))
    with _quiet(), torch.no_grad(), unvalidated(), torch.random.fork_rng(devices=[]):
        program = torch.onnx.export(
            greedy,
            (example,),
            dynamo=True,
            verbose=False,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )
    assert program is not None
    write_whole(path, _bare(program.model_proto))


def ort_session(path: Path) -> Any:
    """An onnxruntime session on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def read_onnx(path: Path) -> Callable[[Array], Array]:
    """What a file answers: `read_onnx(path)(observations) -> actions`."""
    session = ort_session(path)
    return lambda observations: session.run([OUTPUT], {INPUT: observations})[0]


def demand_onnx() -> None:
    """Refuses to begin without the extra `export`."""
    try:
        for name in ("onnx", "onnxruntime", "onnxscript"):
            import_module(name)
    except ImportError as error:
        way_out = "a policy as ONNX needs onnx, onnxruntime, onnxscript: pip install -c constraints.txt -e '.[export]'"
        raise ImportError(way_out, name=error.name) from error


def _bare(proto: Any) -> bytes:
    """Without the traces of this machine's files that torch writes at every node."""
    graph = proto.graph
    for part in (proto, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")
    found: bytes = proto.SerializeToString(deterministic=True)
    return found


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what torch says about its own exporter."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)
