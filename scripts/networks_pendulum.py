"""Lottery tickets of SAC on Pendulum-v1 in its actor alone, its critics alone, the others dense, and in all.

The claim that is tested (Graesser et al. 2022, arXiv 2206.10369, of gradual pruning): an actor at a tenth of its
weights rarely costs return, a critic at a tenth or a fifth of its weights does. A density is that of what a search
prunes; a tenth of these 2x64 networks is a fifteenth of the weights of a tenth of theirs, 2x256.
"""

from dataclasses import replace

from networks_cartpole import NETWORKS
from pendulum import experiment as pendulum

import rl_tickets as rt

experiment = replace(pendulum, name="networks_pendulum", searches=NETWORKS)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
