"""Lottery tickets of PPO on CartPole-v1, down to where they end: below a hundredth of the weights, in small rounds."""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt

experiment = replace(
    cartpole,
    name="cartpole_sweep",
    densities=rt.geometric(keep=0.5, levels=8),
    seeds=20,
    dense_seeds=None,
    searches={name: cartpole.searches[name] for name in ("imp", "imp_late", "random_reinit", "connected_permuted_mask")}
    | {"early_bird": rt.IMP(early_bird=rt.EarlyBird(every=2_560))},
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
