"""The measurement behind rewinding, on LunarLander-v3, at a fifth of rl-zoo's budget: other steps, and fewer parts."""

from dataclasses import replace

from lunarlander import experiment as lunarlander

import rl_tickets as rt

LATE = 16_384
experiment = replace(
    lunarlander,
    name="rewinding_lunarlander",
    total_timesteps=196_608,
    dense_seeds=None,
    searches={
        "late": rt.IMP(rewind=rt.Rewind(at=LATE)),
        "to_initialisation": rt.IMP(rewind=rt.Rewind(at=0)),
        "without_moments": rt.IMP(rewind=rt.Rewind(at=LATE, optimizer=False)),
        "without_weights": rt.IMP(rewind=rt.Rewind(at=LATE, weights=False)),
        "learning_rate": rt.IMP(rewind=rt.Rewind.learning_rate(at=LATE)),
        "fine_tuning": rt.IMP(rewind=rt.FineTuning(at=LATE)),
    },
)

if __name__ == "__main__":
    rt.main(experiment, extra="box2d")
