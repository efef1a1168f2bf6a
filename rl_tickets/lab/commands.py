"""The command line of the package itself: what is in a ticket, how two experiments compare, one evaluated over,
a policy exported or filmed."""

import json
from collections.abc import Callable
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table

from rl_tickets.deploy.exporting import export as write_policy
from rl_tickets.deploy.shrinking import shrink
from rl_tickets.lab.evaluating import evaluate_over, experiment_of
from rl_tickets.lab.filming import film_results
from rl_tickets.lab.loading import agent_of
from rl_tickets.lab.user_errors import complain
from rl_tickets.report import compare_folders, terminal_table
from rl_tickets.tickets.ticket import Ticket


def show(ticket: tyro.conf.Positional[Path], /) -> None:
    """Prints a ticket's layers, density and provenance.

    Args:
        ticket: a ticket file.
    """
    found = Ticket.load(ticket)
    overall = "" if found.overall_density is None else f", density of all weights {found.overall_density:.4g}"
    table = Table(caption=f"density {found.density:.4g}, sparsity {1 - found.density:.4g}{overall}")
    for column in ("layer", "shape", "kept", "of", "density"):
        table.add_column(column, justify="left" if column in ("layer", "shape") else "right", overflow="fold")
    for name, count in found.mask.layers.items():
        shape = "x".join(map(str, found.mask[name].shape))
        table.add_row(name, shape, str(count.kept), str(count.total), f"{count.density:.4g}")
    console = Console()
    console.print(str(ticket), soft_wrap=True, markup=False)
    console.print(table)
    console.print("provenance", style="bold")
    console.print_json(json.dumps(found.provenance), indent=1)
    console.print(f"digest {found.digest}", soft_wrap=True)


def compare_results(a: tyro.conf.Positional[Path], b: tyro.conf.Positional[Path], /) -> None:
    """Compares two results folders, search by search and level by level.

    Args:
        a: a results folder.
        b: another results folder.
    """
    print(compare_folders(a, b))


def evaluate(
    folder: tyro.conf.Positional[Path], /, *, episodes: int, out: Path | None = None, script: Path | None = None
) -> None:
    """Lets the final policies of a finished experiment play other episodes; nothing is trained.

    Args:
        folder: a results folder that kept final weights.
        episodes: of every policy.
        out: the new results folder; by default beside the old one, named after the episodes.
        script: that made the folder; by default the one that its command names, which is run for its factories.
    """
    out = out or folder.with_name(f"{folder.name}_{episodes}_episodes")
    command = f"python -m rl_tickets evaluate {folder} --episodes {episodes}"
    summary = evaluate_over(folder, experiment_of(folder, script), episodes=episodes, out=out, command=command)
    console = Console()
    console.print(terminal_table(summary))
    console.print(f"Report {out / 'report.md'}", soft_wrap=True)


def export(
    file: tyro.conf.Positional[Path],
    out: tyro.conf.Positional[Path],
    /,
    *,
    algorithm: str | None = None,
    script: Path | None = None,
    small: bool = False,
) -> None:
    """Writes an agent's greedy policy for other programs, once it is shown to do what SB3's `predict` does.

    Args:
        file: an SB3 file (.zip), final weights of a results folder, or a ticket, which has the weights of its rewind
            point.
        out: .onnx, or .safetensors for numpy alone.
        algorithm: class that saved an SB3 file, such as PPO; of SB3 or sb3-contrib.
        script: whose experiment makes the agent of a ticket or of weights; by default the one that their results folder
            names.
        small: without units that are constant or that nobody reads.
    """
    model = agent_of(file, algorithm=algorithm, script=script)
    path = write_policy(shrink(model) if small else model, out)
    print(f"{path}: {path.stat().st_size:,} bytes")


def film(
    path: tyro.conf.Positional[Path],
    /,
    *,
    out: Path = Path("beside.gif"),
    script: Path | None = None,
    search: str | None = None,
    seed: int = 0,
    seconds: float = 20.0,
) -> None:
    """Films a sparse agent beside the dense one of its seed, both with the weights they ended with.

    Args:
        path: a results folder that kept final weights, whose sparsest agent is filmed; or a ticket in one.
        out: .gif or .webp.
        script: that made the folder; by default the one that its command names.
        search: of a folder, whose agent is filmed; by default the first.
        seed: of both agents' environments.
        seconds: after which the film ends, in the environment's own time.
    """
    print(film_results(path, out=out, script=script, search=search, seed=seed, seconds=seconds))


def main(arguments: list[str] | None = None) -> None:
    """Runs one of the commands; what a user can mend ends with one sentence and exit status 2, Ctrl-C with 130."""
    commands: dict[str, Callable[..., None]] = {
        "show": show,
        "compare": compare_results,
        "evaluate": evaluate,
        "export": export,
        "film": film,
    }
    try:
        tyro.extras.subcommand_cli_from_dict(commands, args=arguments, prog="python -m rl_tickets", description=__doc__)
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped before it was done.")
        raise SystemExit(130) from None
    except (ValueError, OSError, ImportError) as error:
        complain(error)
