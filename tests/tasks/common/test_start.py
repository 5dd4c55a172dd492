"""What is looked at before the data of a training are opened, in all tasks."""

from __future__ import annotations

import importlib

import pytest

from tasks.classification.recipes import ClassificationRecipe
from tasks.common.run_folder import open_run_folder
from tasks.common.start import check_start


def not_to_be_opened(recipe):
    raise AssertionError("the data were opened")


@pytest.mark.parametrize("option", ["--init-weights", "--backbone-weights"])
@pytest.mark.parametrize("task", ["classification", "detection", "segmentation"])
def test_missing_weights_are_told_before_the_data_are_opened(
    task, option, tmp_path, monkeypatch, capsys
):
    train = importlib.import_module(f"tasks.{task}.train")
    monkeypatch.setattr(train, "open_source", not_to_be_opened)
    words = ["--recipe", "shapes", "--no-zero-init-residual", "--run-dir", str(tmp_path / "run")]
    with pytest.raises(SystemExit) as ended:
        train.main([*words, option, str(tmp_path / "nothing.h5")])
    assert ended.value.code == 1
    assert "nothing.h5': no such file or checkpoint, nor the name of" in capsys.readouterr().err


def test_a_run_that_goes_on_may_do_without_them(tmp_path):
    """After its first phase a fine-tuning needs the weights of that, not those before."""
    recipe = ClassificationRecipe(init_weights=str(tmp_path / "nothing.h5"))
    with pytest.raises(ValueError, match="no such file"):
        check_start(tmp_path / "run", "classification", recipe)
    open_run_folder(tmp_path / "run", "classification", recipe)
    check_start(tmp_path / "run", "classification", recipe)
