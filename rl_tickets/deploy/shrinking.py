"""Shrinking: the same policy without its inactive units, as an ordinary, smaller SB3 agent."""

from typing import TypeVar

from stable_baselines3.common.base_class import BaseAlgorithm

from rl_tickets.agents.exact import Observations
from rl_tickets.agents.holding import hold, hold_of
from rl_tickets.agents.observations import drawn, recorded
from rl_tickets.agents.rebuilding import rebuilt
from rl_tickets.agents.trimming import Trim, sized
from rl_tickets.agents.widths import resized
from rl_tickets.agents.wiring import wiring
from rl_tickets.deploy.dissecting import Dissected
from rl_tickets.deploy.inactive import inactive
from rl_tickets.deploy.proving import demand_equivalent
from rl_tickets.tickets.mask import Mask

Model = TypeVar("Model", bound=BaseAlgorithm)


def shrink(model: Model, *, observations: Observations | None = None, states: int = 10_000, seed: int = 0) -> Model:
    """The same agent without the units that its zero weights leave inactive: narrower layers, the same outputs.

    Units without inputs are constant: what they add goes into the biases of those who read them. Units that nobody
    reads are dropped, of an LSTM also those that are zero for ever. Heads keep all their outputs, observations all
    their dimensions, a layer at least one unit, and layers that SB3 makes equally wide (twin critics, the LSTMs, the
    CNNs of actor and critic) stay as wide as the widest of them. Layers of a features extractor of one's own stay
    whole, and with gSDE the layer that exploration noise reads.

    The new agent is plain SB3: its `policy_kwargs` say how narrow it is, `save` and `load` work as ever (a narrower
    CNN is loaded as `rl_tickets.agents.slim_cnn.SlimCNN`), and `learn` trains on, from the same optimizer moments.
    If the agent was held to a mask, the new one is held to what is left of it. Environment, replay buffer, noise and
    logger are shared, so train only one of the two.

    Args:
        model: any torch agent of SB3 or sb3-contrib whose policy wiring understands; it stays as it is.
        observations: that the agent met, as its policy sees them (normalised), shape (rows, ...); by default those
            that its buffers hold.
        states: drawn around them, or from the observation space, on which both agents must act alike.
        seed: of the draws.

    Raises:
        TypeError: `model` is no SB3 agent.
        WiringError: the policy is not understood, or is not built by its `policy_kwargs`.
        EquivalenceError: distribution parameters or values would differ by more than 1e-5 (of the largest, where that
            is above 1), or a greedy action would; that it is the same agent is shown each time.

    Example:
        >>> from stable_baselines3 import PPO
        >>> model = PPO("MlpPolicy", "CartPole-v1", policy_kwargs={"net_arch": [64]}, seed=0, device="cpu")
        >>> _ = model.policy.mlp_extractor.policy_net[0].weight.data[:48].zero_()
        >>> shrink(model).policy_kwargs["net_arch"]
        {'pi': [16], 'vf': [64]}
    """
    if not isinstance(model, BaseAlgorithm):
        raise TypeError(f"what is shrunk is an SB3 agent, not a {type(model).__name__}")
    found = wiring(model)
    seen = observations if observations is not None else recorded(model, 1_000, seed)
    beside = drawn(model, states, seed, seen)
    agent = Dissected(model, found, beside if seen is None else seen)
    gone = inactive(found, agent.connections, agent.zero)
    kept, sizes = sized(agent.widths, gone.kept)
    trim = Trim(found, kept, agent.copies)
    weights = {name: trim.cut(name, value) for name, value in agent.folded(gone).items()}
    new = rebuilt(model, resized(model, found, sizes), weights, trim.cut)
    held = hold_of(model)
    if held is not None:
        hold(new, Mask({name: trim.cut(name, bits) for name, bits in held.mask.items()}))
    demand_equivalent(model, new, agent.heads, [beside] if seen is None else [seen, beside], seed)
    return new
