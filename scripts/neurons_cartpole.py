"""Lottery tickets of whole neurons of PPO on CartPole-v1, by what a neuron scores: its weights, or what it says."""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt

SCORES = {
    "lamp": rt.lamp,
    "incoming": rt.incoming_magnitude,
    "outgoing": rt.outgoing_magnitude,
    "paths": rt.path_magnitude,
    "activation": rt.activation,
}

experiment = replace(
    cartpole,
    name="neurons_cartpole",
    densities=rt.geometric(keep=0.5, levels=6),
    seeds=20,
    dense_seeds=None,
    searches={
        **{name: rt.IMP(units=rt.neurons, criterion=score, scope="layer") for name, score in SCORES.items()},
        "shrinking": rt.ShrinkingIMP(criterion=rt.activation, scope="layer"),
        "other_neurons": rt.Control(rt.permuted_neurons, of="activation"),
    },
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
