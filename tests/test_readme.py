"""The README's code runs as it stands, at a budget of one or two rollouts."""

import re
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"


@pytest.mark.filterwarnings("ignore::rl_tickets.RewindWarning")
def test_python_blocks_run_one_after_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 4
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks:
        small = block.replace("50_000", "1_100").replace("4_096", "512").replace("2_000", "128")
        small = small.replace("levels=6", "levels=2").replace(
            "seeds=5,", "seeds=1, dense_seeds=1, episodes=3, random_episodes=20,"
        )
        small = small.replace("make_env(), seed=seed", "make_env(), seed=seed, n_steps=128, n_epochs=1")
        exec(compile(small, str(README), "exec"), names)
    assert (tmp_path / "cartpole.ticket").exists()
    assert (tmp_path / "sparse_agent.zip").exists()
    assert (tmp_path / "results" / "my_agent" / "report.md").exists()
