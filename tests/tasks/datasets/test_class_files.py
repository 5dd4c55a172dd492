"""Class folders, class names and lists: what is read and how bad ones are refused."""

from __future__ import annotations

import pytest

from tasks.datasets.class_files import (
    ClassDirectoryError,
    LabelledFile,
    check_same_classes,
    find_class_files,
    find_classes,
    raise_any,
    read_class_names,
    read_list,
)


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def test_class_folders(tmp_path):
    """Sorted as Python sorts; hidden files and files beside the folders do not count."""
    touch(tmp_path, "dog/2.jpg", "dog/10.png", "cat/a.webp", "Zebra/z", "README.txt")
    touch(tmp_path, "dog/.DS_Store", ".hidden/x.jpg")
    found = find_class_files(tmp_path)
    assert found == {
        "Zebra": ["Zebra/z"],
        "cat": ["cat/a.webp"],
        "dog": ["dog/10.png", "dog/2.jpg"],
    }
    assert tuple(found) == find_classes(tmp_path) == ("Zebra", "cat", "dog")


def test_no_class_folders(tmp_path):
    with pytest.raises(ClassDirectoryError, match="no class folders; put the pictures of each"):
        find_class_files(touch(tmp_path, "a.jpg"))
    with pytest.raises(ClassDirectoryError, match="absent: cannot read the folder .*check the"):
        find_class_files(tmp_path / "absent")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (["dog/.hidden"], "'dog' is empty; add pictures or remove the folder"),
        (["train/cat/1.jpg", "train/dog/2.jpg"], "'train' holds the folders 'cat', 'dog'; a class"),
        (["dog/1.jpg", "dog/more/2.jpg"], "'dog' holds the folder 'more'; a class holds pictures"),
        ([" dog/1.jpg"], "' dog' cannot be the name of a class; rename"),
        (["do\ng/1.jpg"], r"'do\\ng' cannot be the name of a class; rename"),
    ],
)
def test_unusable_class_folders(tmp_path, files, message):
    touch(tmp_path, "cat/1.jpg", *files)
    with pytest.raises(ClassDirectoryError, match=rf"unusable class folders \(1\):\n  {message}"):
        find_class_files(tmp_path)


def test_missing_classes():
    check_same_classes({"one": ["a", "b"], "two": ["b", "a"]})
    check_same_classes({"one": ["a", "b"]})
    many = [f"class{number:02}" for number in range(12)]
    with pytest.raises(ClassDirectoryError) as error:
        check_same_classes({"one": ["a", *many], "two": ["a", "b"]})
    first, second, third = str(error.value).splitlines()
    assert first.startswith("train and validation must have the same classes")
    assert second == "  one lacks 'b'"
    assert third.startswith("  two lacks 'class00', 'class01', ")
    assert third.endswith(", 'class09' and 2 more")


def test_ten_problems_are_shown():
    raise_any("nothing", [])
    with pytest.raises(ClassDirectoryError) as error:
        raise_any("bad things", [f"thing {number}" for number in range(12)])
    lines = str(error.value).splitlines()
    assert lines[0] == "bad things (12):" and lines[-1] == "  ... and 2 more"
    assert lines[1:-1] == [f"  thing {number}" for number in range(10)]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("tench\ngreat white shark\n\n", ("tench", "great white shark")),
        ("0\ttench\n1\tshark, white\n", ("tench", "shark, white")),
        ("0\tn1\ttench\n1\tn2\tshark\n", ("tench", "shark")),
        ("0\tn1\tcrane\n1\tn2\tcrane\n2\tn3\tshark", ("crane (n1)", "crane (n2)", "shark")),
        ("\ufefftench\r\nshark\r\n", ("tench", "shark")),
    ],
)
def test_class_names(tmp_path, text, names):
    path = tmp_path / "names.txt"
    path.write_bytes(text.encode())
    assert read_class_names(path) == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"tench\n\nshark\n", "line 2 is empty; it must name class 1"),
        (b"1\ttench\n2\tshark\n", "line 1 has index '1'; it must be 0"),
        (b"n1\ttench\n", "line 1 has index 'n1'; it must be 0"),
        (b"tench\nshark\ntench\n", r"more than once; make them unique \(1\):\n  'tench'"),
        (b"0\tcrane\n1\tcrane\n", "more than once"),
        (b"\n\n", "the file is empty"),
        (b"t\xe9nch\n", "not a text in UTF-8"),
    ],
)
def test_unusable_class_names(tmp_path, content, message):
    path = tmp_path / "names.txt"
    path.write_bytes(content)
    with pytest.raises(ClassDirectoryError, match=message):
        read_class_names(path)


def test_absent_text(tmp_path):
    with pytest.raises(ClassDirectoryError, match=r"absent.txt: cannot read the file .*check"):
        read_class_names(tmp_path / "absent.txt")
    with pytest.raises(ClassDirectoryError, match=r"absent.txt: cannot read the file .*check"):
        read_list(tmp_path / "absent.txt", tmp_path, 3)


def read(folder, text, num_classes=3):
    path = folder / "labels.txt"
    path.write_text(text)
    return read_list(path, folder, num_classes)


def test_lists(tmp_path):
    expected = [LabelledFile("a/1.jpg", 0), LabelledFile("b/it's 2.jpg", 2)]
    assert read(tmp_path, "a/1.jpg 0\nb/it's 2.jpg 2\n\n") == expected
    assert read(tmp_path, "a/1.jpg\t0\nb/it's 2.jpg\t2\n") == expected
    columns = "a/1.jpg\t0\tn1\tone, two\nb/it's 2.jpg\t2\tn2\tthree"
    assert read(tmp_path, columns) == expected
    assert read(tmp_path, f"path\tclass_index_0_999\twnid\tlabel\n{columns}") == expected
    assert read(tmp_path, f"path label\n{columns}") == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg 0\nb.jpg 3\n", r"line 2 has class index 3, but there are 3 classes \(0..2\)"),
        ("a.jpg 0\nb.jpg -1\n", "line 2 has class index -1, but there are 3 classes"),
        ("a.jpg 0\nb.jpg dog\n", "line 2 is 'b.jpg dog'; it must be a path, a tab or space"),
        ("there.jpg dog\na.jpg 0\n", "line 1 is 'there.jpg dog'"),  # no line of titles
        ("a.jpg 0\nb.jpg\n", "line 2 is 'b.jpg'"),
        ("a.jpg 0\n\nb.jpg 1\n", "line 2 is empty; remove it"),
        ("a.jpg 0\n./a.jpg 1\n", "line 2 repeats './a.jpg'; list each picture once"),
        ("a.jpg 0\n/b.jpg 1\n", "line 2 has the path '/b.jpg'; it must be relative to"),
        ("a.jpg 0\nc/../../b.jpg 1\n", "line 2 has the path .* and lie inside"),
        ("path\tlabel\n", "the list names no pictures"),
        ("", "the file is empty"),
    ],
)
def test_unusable_lists(tmp_path, text, message):
    touch(tmp_path, "there.jpg")
    with pytest.raises(ClassDirectoryError, match=message):
        read(tmp_path, text)


def test_all_unusable_lines_are_told(tmp_path):
    lines = [f"{number}.jpg {number}" for number in range(20)]
    with pytest.raises(ClassDirectoryError) as error:
        read(tmp_path, "\n".join(lines))
    told = str(error.value).splitlines()
    assert told[0].endswith("labels.txt: unusable lines (17):")
    assert told[1].startswith("  line 4 has class index 3") and told[-1] == "  ... and 7 more"
