"""How the command lines end when something can be mended by the user: one sentence, exit status 2."""

import errno
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import gymnasium as gym
from rich.console import Console
from rich.markup import escape


def complain(sentence: object) -> NoReturn:
    """Prints the sentence to stderr and exits; an OSError's is put together from what went wrong with which file."""
    if isinstance(sentence, OSError) and sentence.filename is not None:
        sentence = f"{sentence.filename}: {sentence.strerror}"
    Console(stderr=True, soft_wrap=True).print(f"[bold red]error:[/] {escape(str(sentence))}", highlight=False)
    raise SystemExit(2)


@contextmanager
def mendable(*, extra: str | None = None) -> Iterator[None]:
    """Around what goes on where it was when it is started again: what a user can mend ends with one sentence.

    Args:
        extra: the extra of this package that brings the environment.

    Raises:
        SystemExit: with status 2, or with 130 after Ctrl-C.
    """
    try:
        yield
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. What is finished is kept; the same command goes on from there.")
        raise SystemExit(130) from None
    except (ImportError, gym.error.DependencyNotInstalled) as error:
        ours = getattr(error, "name", None) == "ray"  # Which says itself what brings it.
        way_out = f"; the extra that brings it: pip install -c constraints.txt -e '.[{extra}]'"
        complain(f"{error}{way_out if extra and not ours else ''}")
    except gym.error.UnregisteredEnv as error:
        complain(
            f"{error} If it is one of your own, register it inside make_model and make_env, or at the top of the "
            "script: worker processes run nothing that stands under `if __name__ == '__main__':`"
        )
    except (ValueError, RuntimeError, OSError, gym.error.Error) as error:
        complain(error)


NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Names what could not be written where a library, such as TensorBoard's writer, does not say it.

    Raises:
        OSError: one sentence that names the path.
    """
    before = threading.excepthook

    def quiet(failure: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread; what fails there is raised again by the next write here.
        if not (isinstance(failure.exc_value, OSError) and failure.exc_value.errno in NO_SPACE):
            before(failure)

    threading.excepthook = quiet
    try:
        yield
    except OSError as error:
        if error.filename is not None or error.errno not in NO_SPACE:
            raise
        sentence = f"could not write ({error.strerror}); nothing finished was lost, free some space and run again"
        raise OSError(error.errno, sentence, str(path)) from error
    finally:
        threading.excepthook = before
