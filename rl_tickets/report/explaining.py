"""What the tables of a report mean, and what their seeds could have shown."""

from rl_tickets.evaluation.failures import EXCESS

from .summary import Summary
from .wording import counted, number, percent

CONTRASTS = (
    "Contrasts: normalised return of a search less that of its control, or of another search, trained with the same "
    "seed; mean over seeds, with Student's 95 % interval and p. The mean over densities is taken seed by seed. Holm's "
    "p is adjusted over all controls, or over all other searches. *Sparsest typical*: the lowest of these densities at "
    "which the one, and the other, typically does as well as dense."
)
AT_EACH = (
    "The same at each density; in bold where Holm's p, adjusted over the densities of the column, is below 0.05 "
    "(from 5 seeds on)."
)


def levels(summary: Summary) -> str:
    """Scores, scale and verdicts of the table of levels."""
    scores = "the mean return of its final policy"
    if summary.episodes:
        scores += f" over {counted(summary.episodes, 'evaluation episode')}"
    if summary.sampled is not None:
        scores += (
            ", played greedily (*as trained*: the same episodes with its actions sampled, on a scale of their own)"
        )
    text = f"The score of a run is {scores}; IQM is the interquartile mean over training seeds."
    if summary.problem:
        return f"{text} Nothing is normalised or judged: {summary.problem}."
    dense = summary.dense
    return (
        f"{text} Normalised: 0 is a random policy ({number(summary.random_return or 0.0)}), 1 is dense "
        f"({number(dense.returned)}). Difference is the normalised IQM less dense's, with a one-sided 95 % lower bound "
        f"(Yuen and Welch; all {counted(len(dense.scores), 'dense run')}, not paired): *typical* where that is above "
        f"−{summary.margin:g}. A run has *failed* below {summary.failed_below:g} (normalised); *reliable* where a "
        f"one-sided 95 % upper bound (Newcombe) of failures beyond dense's lies under {100 * EXCESS:g} points; a "
        f"density *matches* if both hold. Bounds are each density's own; verdicts hold for all densities of a search "
        f"together (Holm), and give p where the bound alone would say yes. Where even a search without a failure could "
        f"not be shown reliable, there are too few seeds."
    )


def power(summary: Summary) -> str:
    """How often an agent exactly as good as dense would have been found to be."""
    found = summary.power
    if found is None:
        return ""
    among = f" at one of {found.densities} densities, all tested together," if found.densities > 1 else ""
    needed = (
        f"takes about {summary.seeds_needed} seeds, and five times as many dense"
        if summary.seeds_needed
        else "is out of reach: dense itself scatters too much"
    )
    return (
        f"Power, by resampling the dense runs: with {counted(found.seeds, 'seed')} against "
        f"{counted(found.dense_seeds, 'dense run')}, an agent exactly as good as dense{among} is found typical in "
        f"{percent(found.typical)} of experiments, reliable in {percent(found.reliable)}, and matching in "
        f"{percent(found.matches)}; 80 % {needed}."
    )
