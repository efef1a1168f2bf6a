"""Rows and their tables: no digit lost, one line per run, the same bytes in any order of arrival, old folders read."""

import itertools
import json
import math
import random
import struct

import pytest

from rl_tickets.report import write_report
from rl_tickets.report.columns import decode, encode
from rl_tickets.report.old_lines import total
from rl_tickets.report.results import Results
from rl_tickets.report.rows import LayerRow, LevelRow, Run, Series, TimingRow, from_plain, to_plain
from rl_tickets.report.tables import append_rows, read_layers, read_levels, read_series, read_timings, settle, tables


def level(run, mean=1.0, **other):
    values = {
        "density": 0.1 + 0.2,
        "mean_return": mean,
        "timesteps": 10,
        "start": 0,
        "mask_distance": 0.0,
        "diverged": False,
        "problem": "",
        "collapsed": "",
        "ticket": "",
    }
    return LevelRow(run, **{**values, **other})


def returns(run, *values):
    return Series("returns", run, {"returns": values, "lengths": [10] * len(values)})


def bits(value):
    return struct.pack("<d", value)


# -- columns -------------------------------------------------------------------------------------------------


def any_float(source):
    """Any bit pattern, so all sizes, infinities and zeros; NaN in its usual form alone."""
    value = struct.unpack("<d", source.randbytes(8))[0]
    return math.nan if math.isnan(value) else value


@pytest.mark.parametrize("seed", range(20))
def test_columns_come_back_to_the_last_bit(seed):
    source = random.Random(seed)
    special = [0.0, -0.0, math.inf, -math.inf, math.nan, 1e15, 1e16, 1e17, -1e300, 5e-324, 0.1, 500.0, -500.0, 2.0**53]
    values = [source.choice(special) if source.random() < 0.6 else any_float(source) for _ in range(200)]
    values = [value for value in values for _ in range(source.choice((1, 1, 2, 5)))]
    found = decode(encode(values))
    assert [bits(value) for value in found] == [bits(value) for value in values]
    assert encode(found) == encode(values)


def test_integers_of_any_size_stay_integers():
    values = [0, -1, 2**70, -(10**40), 7, 7]
    assert decode(encode(values)) == tuple(values)
    assert all(isinstance(value, int) for value in decode(encode(values)))


def test_columns_are_written_as_people_read_them():
    values = [500.0] * 97 + [341.0, 12.5, -0.0, 0.0, math.nan, math.nan, -math.inf, 1e16]
    assert encode(values) == "500x97 341 12.5 -0.0 0 nanx2 -inf 1e+16"
    assert encode([]) == ""
    assert decode("") == ()


@pytest.mark.parametrize("text", ["500x", "500x1", "500x-3", "500x2.5", "x3", "five", "1 2 3,4"])
def test_what_encode_never_writes_is_refused(text):
    with pytest.raises(ValueError, match=r"repeats|could not convert"):
        decode(text)


# -- tables --------------------------------------------------------------------------------------------------


def rows_of(run, layers):
    step = run.seed / 3
    return [
        level(
            run, mean=step, problem='weights, said "once"\nand twice' if run.seed == 2 else "", diverged=run.seed == 2
        ),
        TimingRow(run, 0.25, "host"),
        LayerRow(run, layers),
        returns(run, step),
        Series("mine", run, {"step": [1, 2, 3], "gain": [step, -0.0, math.inf]}),
    ]


def all_rows():
    small = {"a.weight": (3, 8), "b/c.weight": (1, 4)}
    large = {"first": (1, 2), "a.weight": (8, 8), "between": (5, 9), "b/c.weight": (4, 4)}
    runs = [Run("imp", 2, 1), Run("imp", 10, 1), Run("imp", 2, 10), Run("dense", 0, 0), Run("imp", 2, 1, "b")]
    return [rows_of(run, large if run.seed == 10 else small) for run in runs]


def test_rows_come_back_sorted_by_numbers(tmp_path):
    groups = all_rows()
    for group in groups:
        append_rows(tmp_path, group)
    settle(tmp_path)
    assert tables(tmp_path) == ("layers", "levels", "mine", "returns", "timings")
    runs = [Run("dense", 0, 0), Run("imp", 2, 1), Run("imp", 2, 1, "b"), Run("imp", 2, 10), Run("imp", 10, 1)]
    groups.sort(key=lambda group: runs.index(group[0].run))
    read = (
        read_levels,
        read_timings,
        read_layers,
        *(lambda folder, t=t: read_series(folder, t) for t in ("returns", "mine")),
    )
    for place, found in enumerate(read):
        assert found(tmp_path) == [group[place] for group in groups]
    gain = read_series(tmp_path, "mine")[0].columns["gain"]
    assert bits(gain[1]) == bits(-0.0)
    assert len((tmp_path / "levels.csv").read_text().splitlines()) == 1 + len(runs)  # one line each, problems too


def test_layers_stand_side_by_side_in_the_order_of_each_network(tmp_path):
    append_rows(tmp_path, itertools.chain(*all_rows()))
    settle(tmp_path)
    lines = (tmp_path / "layers.csv").read_text().splitlines()
    assert lines[0] == "search,seed,level,variant,a.weight/8,b/c.weight/4,first/2,between/9"
    assert lines[1] == "dense,0,0,,3,1,,"
    assert lines[-1] == "imp,10,1,,8,4,1,5"


def test_the_order_of_arrival_leaves_no_trace(tmp_path):
    found = set()
    for number, order in enumerate(itertools.permutations(all_rows(), 5)):
        if number % 15 == 0:
            folder = tmp_path / str(number)
            for group in order:
                append_rows(folder, group)
            settle(folder)
            found.add(tuple((path.name, path.read_bytes()) for path in sorted(folder.iterdir())))
    assert len(found) == 1


def test_the_later_of_two_lines_of_a_run_stays(tmp_path):
    run = Run("imp", 0, 1)
    append_rows(tmp_path, [level(run, 1.0), level(Run("dense", 0, 0))])
    append_rows(tmp_path, [level(run, 2.0)])
    assert [row.mean_return for row in read_levels(tmp_path)] == [1.0, 1.0, 2.0]  # until it is settled
    settle(tmp_path)
    assert {row.run: row.mean_return for row in read_levels(tmp_path)} == {Run("dense", 0, 0): 1.0, run: 2.0}


def test_settled_tables_are_not_written_again(tmp_path):
    append_rows(tmp_path, itertools.chain(*all_rows()))
    settle(tmp_path)
    before = {path: path.stat().st_ino for path in tmp_path.iterdir()}
    settle(tmp_path)
    assert {path: path.stat().st_ino for path in tmp_path.iterdir()} == before


def test_appending_leaves_older_lines_as_they_are(tmp_path):
    append_rows(tmp_path, [level(Run("imp", 0, 1))])
    path = tmp_path / "levels.csv"
    path.write_text(path.read_text() + "damaged\n")
    append_rows(tmp_path, [level(Run("imp", 1, 1))])
    assert path.read_text().splitlines()[2] == "damaged"
    with pytest.raises(ValueError, match=r"levels\.csv, line 3: not a row of levels"):
        settle(tmp_path)


def test_a_series_without_numbers_leaves_no_line(tmp_path):
    append_rows(tmp_path, [Series("curves", Run("imp", 0, 1), {"timesteps": (), "episodes": ()})])
    assert read_series(tmp_path, "curves") == []
    assert not list(tmp_path.iterdir())


def test_other_peoples_files_stay_as_they_are(tmp_path):
    (tmp_path / "notes.csv").write_text("b,a\n2,1\n1,2\n")
    append_rows(tmp_path, [level(Run("imp", 0, 1))])
    settle(tmp_path)
    assert tables(tmp_path) == ("levels",)
    assert (tmp_path / "notes.csv").read_text() == "b,a\n2,1\n1,2\n"


def test_a_cell_may_be_longer_than_csv_expects(tmp_path):
    values = [index + 0.123456789 for index in range(20_000)]
    append_rows(tmp_path, [returns(Run("imp", 0, 1), *values)])
    (found,) = read_series(tmp_path, "returns")
    assert list(found.columns["returns"]) == values


@pytest.mark.parametrize(
    ("table", "columns", "words"),
    [
        ("levels", {"a": [1]}, "cannot be called 'levels'"),
        ("../mine", {"a": [1]}, "cannot be called '../mine'"),
        ("mine", {"a": [1], "b": [1, 2]}, "one length"),
        ("mine", {}, "one length"),
        ("mine", {"": [1]}, "have names"),
        ("mine", {"seed": [1]}, "cannot be called search, seed, level, variant"),
    ],
)
def test_series_that_could_not_be_read_again_are_refused(table, columns, words):
    with pytest.raises(ValueError, match=words):
        Series(table, Run("imp", 0, 1), columns)


def test_rows_as_json():
    for row in itertools.chain(*all_rows()):
        assert from_plain(json.loads(json.dumps(to_plain(row)))) == row


# -- folders of format 1 -------------------------------------------------------------------------------------

OLD = {
    "levels": (
        "search,seed,level,density,mean_return,timesteps,start,mask_distance,diverged,collapsed,ticket",
        "dense,0,0,1.0,200.0,1000,0,0.0,False,,tickets/a",
        "eb,0,0,1.0,10.0,100,0,0.0,False,,",
        "full,0,1,0.5,150.16666666666666,1000,0,0.25,True,a b,",
        "twin,0,1,0.5,-0.1,1000,0,0.25,False,,",
    ),
    "timings": ("search,seed,level,seconds,host", "full,0,1,4.25,vm"),
    "layers": (
        "search,seed,level,position,layer,kept,total",
        "full,0,1,1,a.first,1,8",
        "full,0,1,0,b.second,7,8",
    ),
    "returns": (
        "search,seed,level,density,episode,episode_return,length",
        "dense,0,0,1.0,0,200.0,20",
        "eb,0,0,1.0,0,10.0,1",
        "full,0,1,0.5,1,100.5,11",
        "full,0,1,0.5,0,100.0,10",
        "full,0,1,0.5,2,250.0,25",
        "twin,0,1,0.5,0,-0.1,9",
    ),
    "curves": (
        "search,seed,level,timesteps,mean_return,episodes",
        "full,0,1,2048,-183.37153129411766,17",
        "full,0,1,1024,-410.1666666666667,6",
    ),
    "distances": (
        "search,seed,step,other_step,distance,chance",
        "eb,0,200,100,0.0625,0.5",
        "eb,0,100,0,0.125,0.5",
        "eb,0,200,0,0.25,0.5",
    ),
}


@pytest.fixture
def old(tmp_path):
    searches = {
        "twin": "Spoiled(random_reinit, of='full')",
        "eb": "IMP(lamp, global, Rewind(at=0), early_bird=(every=100))",
        "full": "IMP(lamp, global, Rewind(at=0))",
    }
    described = {"name": "old", "settings": {"random_return": 0.0, "searches": searches}}
    (tmp_path / "experiment.json").write_text(json.dumps(described))
    for table, lines in OLD.items():
        (tmp_path / f"{table}.csv").write_text("\n".join(lines) + "\n")
    return tmp_path


def test_old_folders_are_read(old):
    results = Results.read(old)
    full = Run("full", 0, 1)
    assert next(row for row in results.levels if row.run == full) == level(
        full, 450.5 / 3, density=0.5, timesteps=1000, mask_distance=0.25, diverged=True, collapsed="a b"
    )
    assert read_timings(old) == [TimingRow(full, 4.25, "vm")]
    (layers,) = results.layers
    assert list(layers.counts.items()) == [("b.second", (7, 8)), ("a.first", (1, 8))]  # in the network's order
    assert read_series(old, "returns")[2] == Series(
        "returns", full, {"returns": (100, 100.5, 250), "lengths": (10, 11, 25)}
    )
    columns = {"timesteps": (1024, 2048), "total_return": (-2461, -3117.316032), "episodes": (6, 17)}
    assert results.curves == (Series("curves", full, columns),)
    assert -3117.316032 / 17 == -183.37153129411766
    (distances,) = results.distances
    assert (distances.run, distances.columns["step"]) == (Run("eb", 0, 0), (100, 200, 200))
    assert (distances.columns["other_step"], distances.columns["distance"]) == ((0, 0, 100), (0.125, 0.25, 0.0625))
    assert results.searches.labels == ["twin", "eb", "full"]
    assert results.searches.first_controls_last == ["eb", "full", "twin"]
    assert results.searches.described["twin"].settings == "Control(random_reinit, of='full')"


def test_old_folders_are_reported_the_same_before_and_after_they_are_settled(old):
    summary = write_report(old)
    assert [(each.search, each.full) for each in summary.savings] == [("eb", "full")]
    before = (old / "report.md").read_bytes()
    settle(old)
    assert (old / "levels.csv").read_text().startswith("search,seed,level,variant,density,")
    assert len((old / "returns.csv").read_text().splitlines()) == 5
    write_report(old)
    assert (old / "report.md").read_bytes() == before


def test_rows_may_be_added_to_an_old_table(old):
    append_rows(old, [returns(Run("full", 1, 1), 5.0)])
    assert [row.run.seed for row in read_series(old, "returns")] == [0, 0, 0, 0, 1]
    assert "\nfull,1,1,,5,10\n" in (old / "returns.csv").read_text()


@pytest.mark.parametrize(("table", "wrong"), [("returns", "100.5"), ("layers", "full,0,1,1"), ("levels", "False")])
def test_errors_in_old_tables_name_file_and_line(old, table, wrong):
    path = old / f"{table}.csv"
    lines = path.read_text().splitlines()
    place = next(number for number, line in enumerate(lines, start=1) if wrong in line)
    path.write_text(path.read_text().replace(wrong, "what?", 1))
    with pytest.raises(ValueError, match=rf"{table}\.csv, line {place}: .*restore the file"):
        Results.read(old)


@pytest.mark.parametrize("seed", range(5))
def test_sums_are_found_again_from_means(seed):
    source = random.Random(seed)
    for _ in range(2000):
        values = [round(source.uniform(-500, 500), source.choice((0, 6))) for _ in range(source.randint(1, 60))]
        mean = sum(values) / len(values)
        assert total(mean, len(values)) / len(values) == mean
