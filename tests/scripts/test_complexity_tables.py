"""scripts/complexity_tables.py: the golden numbers, and what it prints."""

from __future__ import annotations

import complexity_tables
import pytest
from text_table import format_table

# slim's columns: variant, multiply-adds (millions, cut off), parameters without batch norm.
SLIM = """
1.4_224 582 6.06  1.3_224 509 5.34
1.0_224 300 3.47  1.0_192 221 3.47  1.0_160 154 3.47  1.0_128 99 3.47  1.0_96 56 3.47
0.75_224 209 2.61  0.75_192 153 2.61  0.75_160 107 2.61  0.75_128 69 2.61  0.75_96 39 2.61
0.5_224 97 1.95  0.5_192 71 1.95  0.5_160 50 1.95  0.5_128 32 1.95  0.5_96 18 1.95
0.35_224 59 1.66  0.35_192 43 1.66  0.35_160 30 1.66  0.35_128 20 1.66  0.35_96 11 1.66
"""


@pytest.fixture(scope="module")
def table():
    """Function from the name of a table to the table, counted once."""
    made = {}

    def make(name):
        if name not in made:
            made[name] = complexity_tables.TABLES[name]()
        return made[name]

    return make


def number(cell):
    return int(cell.replace(",", ""))


def test_every_layer_of_table_2_is_the_papers(table):
    rows = table("2").rows
    for paper_input, _, t, c, n, s, ours_input, *ours, _, _ in rows[:-1]:
        assert (paper_input, t, c, n, s) == (ours_input, *map(str, ours))
    outputs = [row[-2] for row in rows]
    inputs = [row[0] for row in rows]
    assert outputs == [*inputs[1:], "1^2 x 1000"]
    assert sum(number(row[-1]) for row in rows if row[-1] != "-") == 300_774_272


def test_table_3(table):
    *sides, largest = table("3").rows
    assert [row[2] for row in sides] == ["16/401", "24/151", "32/50", "96/38", "320/31", "1280/3"]
    assert largest[1:4] == ("400K", "401K", "2408K")


def test_other_networks_have_their_published_figures(table):
    """arXiv 1801.04381; of ours there is nothing beside them."""
    assert [row[4:] for row in table("3").rows][2:4] == [
        ("256/400", "400/600K"),
        ("512/200", "800/310"),
    ]
    *others, first, second = table("4").rows
    assert [row[0] for row in (*others, first, second)] == [
        *("MobileNetV1", "ShuffleNet (1.5)", "ShuffleNet (x2)", "NasNet-A"),
        *("MobileNetV2", "MobileNetV2 (1.4)"),
    ]
    assert others[3][1:] == ("-", "5.3M", "-", "-", "564M", "-", "74.0", "183ms")
    *others, _ = table("6").rows
    assert others[2] == ("YOLOv2", "-", "50.7M", "-", "-", "17.5B", "-", "21.6", "-")
    *_, last = table("7").rows
    marks, costs = ("x", "x"), ("-", "58.16M", "-", "-", "-", "4870.6B", "-", "82.70")
    assert last == ("ResNet-101", 8, *marks, *costs)
    lengths = {len(row) == len(table(name).header) for name in "234567" for row in table(name).rows}
    assert lengths == {True}


def test_table_4(table):
    rows = table("4").rows[-2:]
    assert [(row[1], row[4]) for row in rows] == [
        ("3,504,872", "300,774,272"),
        ("6,108,776", "582,195,824"),
    ]
    assert [(row[3], row[6]) for row in rows] == [("+3.1%", "+0.3%"), ("-11.5%", "-0.5%")]


def test_tables_5_and_6(table):
    assert [(row[1], row[4]) for row in (*table("5").rows, table("6").rows[-1])] == [
        ("14,776,629", "1,259,068,672"),
        ("2,113,141", "177,617,344"),
        ("4,337,013", "788,830,144"),
    ]


def test_table_7(table):
    rows = {(row[1], row[2]): row for row in table("7").rows if row[0] == "MNet V2*"}
    expected = {
        (16, "x"): (4_523_541, 5_363_508_928, 5.8286),
        (8, "x"): (4_523_541, 19_001_546_432, 387.5439),
        (16, ""): (2_113_557, 2_740_709_056, 2.7480),
        (8, ""): (2_113_557, 8_825_853_632, 152.5918),
    }
    assert rows.keys() == expected.keys()
    for key, (parameters, one_pass, billions) in expected.items():
        row = rows[key]
        assert (number(row[4]), number(row[7])) == (parameters, one_pass)
        assert number(row[8]) / 1e9 == pytest.approx(billions, abs=5e-5)
        assert abs(float(row[10].rstrip("%"))) <= 0.5


def test_the_released_variants(table):
    words = SLIM.split()
    columns = zip(words[::3], words[1::3], words[2::3], strict=True)
    released = {name: (int(millions), size) for name, millions, size in columns}
    found = {
        row[0]: (number(row[5]) // 1_000_000, f"{number(row[2]) / 1e6:.2f}")
        for row in table("slim").rows
    }
    assert len(found) == 22
    assert found == released
    # What stands beside ours is what slim prints.
    for row in table("slim").rows:
        assert (f"{released[row[0]][0]}M", f"{released[row[0]][1]}M") == (row[6], row[3])


def test_what_is_printed(table, monkeypatch, capsys):
    counted = {name: (lambda name=name: table(name)) for name in complexity_tables.TABLES}
    monkeypatch.setattr(complexity_tables, "TABLES", counted)
    complexity_tables.main([])
    printed = capsys.readouterr().out
    for name in counted:
        assert table(name).title in printed
        for note in table(name).notes:
            assert f"* {note}" in printed
    complexity_tables.main(["--table", "6", "--markdown"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"### {table('6').title}"
    assert "4,337,013 |" in lines[8] and "788,830,144 |" in lines[8]
    assert lines[10].startswith("- ")
    with pytest.raises(SystemExit):
        complexity_tables.main(["--table", "1"])
    assert "'slim'" in capsys.readouterr().err


def test_alignment():
    rows = [("a", 1), ("bcd", 1000)]
    assert format_table(("", "sum"), rows) == "      sum\na       1\nbcd  1000"
    assert format_table(("", "n"), rows, markdown=True).splitlines() == [
        "|     |    n |",
        "| --- | ---: |",
        "| a   |    1 |",
        "| bcd | 1000 |",
    ]


@pytest.mark.parametrize(
    ("ours", "published", "expected"),
    [(3_504_872, "3.4M", "+3.1%"), (2_750_100_000, "2.75B", "0.0%"), (99, "100M", "-100.0%")],
)
def test_difference(ours, published, expected):
    assert complexity_tables.difference(ours, published) == expected
