"""From rows to tables, plots and TensorBoard; reads what an experiment stored, never trains."""

from pathlib import Path

from matplotlib.figure import Figure

from rl_tickets.tickets.archive import write_whole

from .curves import learning_curves
from .depths import layer_densities
from .facets import return_against_density
from .forest import forest
from .headline import headline
from .index import write_index
from .input_layer import input_layer
from .looks import save
from .markdown import markdown
from .results import Results
from .settling import Watch, settling
from .summary import Summary
from .table import terminal_table
from .tensorboard import write_level, write_summary
from .versus import compare_folders

__all__ = ["Summary", "compare_folders", "headline", "terminal_table", "write_index", "write_level", "write_report"]


def write_report(folder: Path) -> Summary:
    """Make report.md, its plots and the TensorBoard summary from a results folder's CSV files alone.

    The same files give the same bytes. Raises ValueError, in one sentence, where the folder holds no results.
    """
    results = Results.read(folder)
    summary = Summary.of(results)
    plots = _plots(results, summary)
    for name, (_, figure) in plots.items():
        if figure is None:
            (folder / name).unlink(missing_ok=True)  # of an older report
        else:
            save(figure, folder / name)
    text = markdown(summary, [(caption, name) for name, (caption, figure) in plots.items() if figure is not None])
    write_whole(folder / "report.md", text.encode())
    write_summary(folder / "tensorboard" / "summary", results.levels)
    return summary


def _plots(results: Results, summary: Summary) -> dict[str, tuple[str, Figure | None]]:
    """By file name: caption, and None where there is nothing to draw."""
    densities = {(row.run.label, row.run.level): row.density for row in results.levels}
    names = results.searches.first_controls_last
    curves = learning_curves(results.curves, names, densities, segment=int(results.settings.get("segment") or 0))
    return {
        "contrasts.png": ("What it returns more than its controls", forest(summary)),
        "return_vs_density.png": ("Return against density", return_against_density(summary)),
        "learning_curves.png": ("Learning curves", curves),
        "learning_speed.png": (
            "What it returns more while training",
            None if summary.training is None else forest(summary.training, " while training"),
        ),
        "input_layer.png": ("What tickets read of the observation", input_layer(summary.readings)),
        "layer_density.png": ("Density of each layer", layer_densities(results.layers, names)),
        "early_bird.png": (
            "Early-bird: when the mask settles",
            settling(
                results.distances, [*names, *results.searches.aside], Watch.all(results.settings), results.stopped
            ),
        ),
    }
