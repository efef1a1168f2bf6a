"""The measurement behind rewinding, on Acrobot-v1: A2C inside VecNormalize, whose statistics go back or stay.

Its learning rate is constant, so that learning-rate rewinding would be the same as fine-tuning. Down to a thirty-second
of the weights, where rewinding to the start is known to lose something.
"""

from dataclasses import replace

from acrobot import experiment as acrobot

import rl_tickets as rt

LATE = 12_000
experiment = replace(
    acrobot,
    name="rewinding_acrobot",
    densities=(1.0, 0.25, 0.0625, 0.03125),
    searches={
        "late": rt.IMP(rewind=rt.Rewind(at=LATE)),
        "to_initialisation": rt.IMP(rewind=rt.Rewind(at=0)),
        "early": rt.IMP(rewind=rt.Rewind(at=1_200)),
        "without_moments": rt.IMP(rewind=rt.Rewind(at=LATE, optimizer=False)),
        "without_statistics": rt.IMP(rewind=rt.Rewind(at=LATE, normalizer=False)),
        "without_weights": rt.IMP(rewind=rt.Rewind(at=LATE, weights=False)),
        "fine_tuning": rt.IMP(rewind=rt.FineTuning(at=LATE)),
    },
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__)
