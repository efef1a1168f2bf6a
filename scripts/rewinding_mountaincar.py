"""The measurement behind rewinding, off-policy, on MountainCar-v0: DQN, going back to another step or with fewer parts.

Its networks are 2x64. The schedule that goes on, or begins again, is that of its exploration. Where the replay buffer
begins empty, updates begin with it, since the first steps without any are over. Returns while training are those of
exploring agents, and three searches explore otherwise: the final policies, played greedily, are what is compared.
"""

from dataclasses import replace
from functools import partial

from mountaincar import experiment as mountaincar
from mountaincar import make_model

import rl_tickets as rt

LATE = 12_000
experiment = replace(
    mountaincar,
    name="rewinding_mountaincar",
    make_model=partial(make_model, width=64),
    densities=rt.geometric(keep=0.25, levels=4),
    seeds=20,
    dense_seeds=60,
    searches={
        "late": rt.IMP(rewind=rt.Rewind(at=LATE)),
        "to_initialisation": rt.IMP(rewind=rt.Rewind(at=0)),
        "early": rt.IMP(rewind=rt.Rewind(at=3_008)),
        "without_moments": rt.IMP(rewind=rt.Rewind(at=LATE, optimizer=False)),
        "without_buffer": rt.IMP(rewind=rt.Rewind(at=LATE, replay_buffer=False)),
        "without_schedule": rt.IMP(rewind=rt.Rewind(at=LATE, schedule=False)),
        "without_exploration": rt.IMP(rewind=rt.Rewind(at=LATE, exploration=False)),
        "without_weights": rt.IMP(rewind=rt.Rewind(at=LATE, weights=False)),
        "learning_rate": rt.IMP(rewind=rt.Rewind.learning_rate(at=LATE)),
        "fine_tuning": rt.IMP(rewind=rt.FineTuning(at=LATE)),
    },
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
