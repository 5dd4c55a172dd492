"""The training command by two worker processes, against one process."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys

import pytest
from loopback_cluster import cluster
from recipe_arguments import as_arguments

from tasks.classification import train
from tasks.classification.recipes import RECIPES
from tasks.common.run_folder import read_json as read


def test_two_workers_train_as_one_process(tiny_recipe, tmp_path):
    # What is compared grows with every step, and with the learning rate: see
    # scripts/compare_workers.py. The validation images do not divide by two.
    recipe = dataclasses.replace(
        tiny_recipe,
        sync_bn=True,
        optimizer="sgd",
        learning_rate=1e-6,
        train_steps=4,
        evaluate_every=2,
        validation_split="validation[:7]",
        evaluation_batch_size=2,
    )
    words = as_arguments(recipe, "shapes", RECIPES["shapes"])
    program = "from tasks.classification.train import main; main()"
    command = [sys.executable, "-c", program, *words, "--strategy", "multi_worker"]
    folders = [tmp_path / "chief", tmp_path / "other"]
    processes = [
        subprocess.Popen(
            [*command, "--run-dir", str(folder)],
            env={**os.environ, "TF_CONFIG": text},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for folder, text in zip(folders, cluster(2), strict=True)
    ]
    train.main([*words, "--run-dir", str(tmp_path / "one")])
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)

    assert not folders[1].exists()  # all that the other worker could have written
    names = {path.name for path in (tmp_path / "one").iterdir()}
    assert {path.name for path in folders[0].iterdir()} == names
    assert read(folders[0] / "config.json") == read(tmp_path / "one" / "config.json")
    one, two = (read(folder / "history.json") for folder in (tmp_path / "one", folders[0]))
    assert [row["step"] for row in two] == [2, 4]
    for row, row_of_two in zip(one, two, strict=True):
        assert row_of_two["loss"] == pytest.approx(row["loss"], rel=1e-3)
        assert row_of_two["cross_entropy"] == pytest.approx(row["cross_entropy"], rel=1e-3)
        assert row_of_two["num_examples"] == row["num_examples"]
    assert "step 4 of 4" in outputs[0] and "step 4 of 4" not in outputs[1]
