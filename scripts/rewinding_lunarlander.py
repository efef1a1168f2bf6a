"""The measurement behind rewinding, on LunarLander-v3 at its whole budget: other steps, and fewer parts.

Its learning rate is constant, so that learning-rate rewinding would be the same as fine-tuning.
"""

from dataclasses import replace

from lunarlander import experiment as lunarlander

import rl_tickets as rt

LATE = 98_304
experiment = replace(
    lunarlander,
    name="rewinding_lunarlander",
    densities=(1.0, 0.25, 0.0625),
    seeds=10,
    dense_seeds=30,
    searches={
        "late": rt.IMP(rewind=rt.Rewind(at=LATE)),
        "to_initialisation": rt.IMP(rewind=rt.Rewind(at=0)),
        "early": rt.IMP(rewind=rt.Rewind(at=16_384)),
        "without_moments": rt.IMP(rewind=rt.Rewind(at=LATE, optimizer=False)),
        "fine_tuning": rt.IMP(rewind=rt.FineTuning(at=LATE)),
    },
)

if __name__ == "__main__":
    rt.main(experiment, description=__doc__, extra="box2d")
