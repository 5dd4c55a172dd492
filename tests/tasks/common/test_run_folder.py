"""Run folders belong to one configuration, and files in them are whole."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.common import run_folder
from tasks.common.atomic_write import write_atomically, write_json
from tasks.common.recipe import TrainingRecipe
from tasks.common.run_folder import (
    RunFolderError,
    check_run_folder,
    load_recipe,
    open_run_folder,
    read_json,
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    steps: int = 10
    rates: tuple[int, ...] | None = (6, 12)

    def __post_init__(self):
        if self.steps < 1:
            raise ValueError(f"steps={self.steps} must be at least 1")


def test_same_configuration_takes_the_run_up(tmp_path):
    folder = tmp_path / "runs" / "one"
    for _ in range(2):
        open_run_folder(folder, "detection", Recipe())
    assert load_recipe(folder, "detection", Recipe) == Recipe()


def test_another_configuration_is_refused_with_what_differs(tmp_path):
    open_run_folder(tmp_path / "a", "detection", Recipe())
    with pytest.raises(RunFolderError, match="steps: 10 there, 20 asked for.*--run-dir"):
        open_run_folder(tmp_path / "a", "detection", Recipe(steps=20))
    with pytest.raises(RunFolderError, match="task: 'detection' there"):
        open_run_folder(tmp_path / "a", "segmentation", Recipe())
    with pytest.raises(RunFolderError, match="task 'detection'"):
        load_recipe(tmp_path / "a", "segmentation", Recipe)


def test_workers_that_share_the_files_stay_as_many(tmp_path, monkeypatch):
    recipe = TrainingRecipe(shard_files=True)
    for number in (2, 3):
        monkeypatch.setattr(run_folder, "num_workers", lambda number=number: number)
        if number == 2:
            open_run_folder(tmp_path, "classification", recipe)
            open_run_folder(tmp_path, "classification", recipe)
        else:
            with pytest.raises(RunFolderError, match="parts_of_data: 2 there, 3 asked for"):
                check_run_folder(tmp_path, "classification", recipe)
    assert load_recipe(tmp_path, "classification", TrainingRecipe) == recipe


def test_a_folder_of_other_files_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(RunFolderError, match="no empty folder"):
        open_run_folder(tmp_path, "detection", Recipe())
    with pytest.raises(RunFolderError, match="no empty folder"):
        check_run_folder(tmp_path / "thesis.tex", "detection", Recipe())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_checking_creates_nothing(tmp_path):
    check_run_folder(tmp_path / "new", "detection", Recipe())
    assert not (tmp_path / "new").exists()


def test_damaged_and_missing_configurations_are_named(tmp_path):
    with pytest.raises(RunFolderError, match="config.json is missing"):
        load_recipe(tmp_path, "detection", Recipe)
    (tmp_path / "config.json").write_text('{"task": "detec')
    with pytest.raises(RunFolderError, match="config.json is not valid JSON"):
        load_recipe(tmp_path, "detection", Recipe)
    for content, message in (
        ({"task": "detection", "newer_field": 1}, "newer_field"),
        ({"task": "detection", "steps": 0}, "steps=0"),
        (["task", "detection"], "not the configuration"),
    ):
        write_json(tmp_path / "config.json", content)
        with pytest.raises(RunFolderError, match=message):
            load_recipe(tmp_path, "detection", Recipe)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "metrics.json"
    write_json(path, {"AP": 0.5})

    def fails(temporary):
        temporary.write_text("half")
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        write_atomically(path, fails)
    assert read_json(path) == {"AP": 0.5}
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]
