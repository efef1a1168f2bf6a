"""From rows to tables, plots and TensorBoard; reads what an experiment stored, never trains."""

from pathlib import Path

from rl_tickets.tickets.archive import write_whole

from .headline import headline
from .markdown import markdown
from .plots import distance_matrix, layer_densities, learning_curves, return_against_density, save
from .results import Results
from .summary import Summary
from .table import terminal_table
from .tensorboard import write_level, write_summary
from .versus import compare_folders

__all__ = ["Summary", "compare_folders", "headline", "terminal_table", "write_level", "write_report"]


def write_report(folder: Path) -> Summary:
    """Make report.md, its plots and the TensorBoard summary from a results folder's CSV files alone.

    The same files give the same bytes. Raises ValueError, in one sentence, where the folder holds no results.
    """
    results = Results.read(folder)
    summary = Summary.of(results)
    densities = {(row.search, row.level): row.density for row in results.levels}
    plots = {"Return against density": ("return_vs_density.png", return_against_density(summary))}
    if results.curves:
        plots["Learning curves"] = ("learning_curves.png", learning_curves(results.curves, densities))
    if any(row.level > 0 for row in results.layers):
        plots["Density of each layer"] = ("layer_density.png", layer_densities(results.layers))
    if results.distances:
        plots["Early-bird mask distances"] = ("early_bird.png", distance_matrix(results.distances))
    for name, figure in plots.values():
        save(figure, folder / name)
    text = markdown(summary, [(caption, name) for caption, (name, _) in plots.items()])
    write_whole(folder / "report.md", text.encode())
    write_summary(folder / "tensorboard" / "summary", results.levels)
    return summary
