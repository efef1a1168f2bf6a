"""The measurement behind rewinding, on CartPole-v1: the same search, going back to another step or with fewer parts.

Fine-tuning is not among them: the learning rate of rl-zoo's CartPole agents ends at 0.
"""

from dataclasses import replace

from cartpole import experiment as cartpole

import rl_tickets as rt

LATE = 10_240
experiment = replace(
    cartpole,
    name="rewinding_cartpole",
    seeds=20,
    dense_seeds=None,
    searches={
        "late": rt.IMP(rewind=rt.Rewind(at=LATE)),
        "to_initialisation": rt.IMP(rewind=rt.Rewind(at=0)),
        "early": rt.IMP(rewind=rt.Rewind(at=1_280)),
        "without_moments": rt.IMP(rewind=rt.Rewind(at=LATE, optimizer=False)),
        "without_schedule": rt.IMP(rewind=rt.Rewind(at=LATE, schedule=False)),
        "without_weights": rt.IMP(rewind=rt.Rewind(at=LATE, weights=False)),
        "learning_rate": rt.IMP(rewind=rt.Rewind.learning_rate(at=LATE)),
    },
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
