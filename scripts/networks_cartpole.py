"""Lottery tickets of PPO on CartPole-v1 in its actor alone, its critic alone, the other dense, and in both.

The claim that is tested (Graesser et al. 2022, arXiv 2206.10369, of gradual pruning): an actor at a tenth of its
weights rarely costs return, a critic at a tenth or a fifth of its weights does. A density is that of what a search
prunes.
"""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt

NETWORKS = {"actor": rt.IMP(network="actor"), "critic": rt.IMP(network="critic"), "both": rt.IMP()}

experiment = replace(
    cartpole,
    name="networks_cartpole",
    densities=rt.geometric(keep=0.5, levels=7),
    seeds=20,
    dense_seeds=100,
    searches=NETWORKS,
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
