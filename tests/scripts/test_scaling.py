"""The model of a step on many accelerators: its limits are what can be counted by hand."""

from __future__ import annotations

import dataclasses

import pytest
import scaling
from scaling import JOBS, Machines, cost, table

COCO, IMAGENET = JOBS


def test_one_accelerator_exchanges_nothing():
    found = cost(COCO, Machines(images_per_second=1000), 1)
    assert found.exchange_ms == 0
    assert found.compute_ms == pytest.approx(512)
    steps = 400_000
    assert found.hours * (1 - found.aside) == pytest.approx(steps * 0.512 / 3600)


def test_a_ring_of_two_hosts_sends_all_gradients_once():
    machines = Machines(accelerators_per_host=1, gigabytes_per_second=1, hop_ms=0)
    assert cost(COCO, machines, 2).exchange_ms == pytest.approx(4 * 4.337013)
    assert cost(COCO, machines, 256).exchange_ms == pytest.approx(8 * 4.337013, rel=0.01)


def test_synchronized_statistics_wait_for_every_hop():
    machines = Machines(accelerators_per_host=4, hop_ms=1, hop_in_host_ms=0.25)
    assert cost(COCO, machines, 1).synchronization_ms == 0
    # To the last of four and back are four hops, to the last of eight hosts and back six.
    assert cost(COCO, machines, 4).synchronization_ms == 6 * 76 * 4 * 0.25
    assert cost(COCO, machines, 32).synchronization_ms == 6 * 76 * (4 * 0.25 + 6)


def test_few_cores_make_the_input_the_slower_part():
    machines = Machines(cores_per_host=8)
    found = cost(IMAGENET, machines, 8)
    assert found.input_ms == pytest.approx(96 * IMAGENET.input_ms)
    assert found.step_ms == found.input_ms > found.compute_ms


def test_a_batch_per_replica_grows_and_one_of_all_is_shared():
    assert [cost(IMAGENET, Machines(), n).batch_size for n in (1, 8)] == [96, 768]
    assert [cost(COCO, Machines(), n).batch_size for n in (1, 8)] == [512, 512]
    # Until steps cannot get shorter.
    assert cost(COCO, Machines(least_step_ms=20), 256).compute_ms == 20


def test_slow_disks_cost_time():
    fast = cost(COCO, Machines(), 8)
    slow = cost(COCO, Machines(disk_megabytes_per_second=1), 8)
    extra = COCO.checkpoints * COCO.checkpoint_megabytes * (1 - 1 / 200) / 3600
    assert slow.hours - fast.hours == pytest.approx(extra)


def test_the_table_marks_batches_beyond_what_is_known():
    rows = table(IMAGENET, Machines()).rows
    assert [str(row[1]).endswith("(!)") for row in rows] == [False, False, False, True]
    assert rows[0][7:9] == ("1.0", "100%")


def test_the_command(capsys):
    scaling.main(["--images-per-second", "500", "--gigabytes-per-second", "0.3", "--markdown"])
    text = capsys.readouterr().out
    assert text.count("| 256 ") == 2 and "1.6 cores of input" in text
    with pytest.raises(SystemExit):
        scaling.main(["--hop-ms", "0"])
    assert "--hop-ms must be above 0" in capsys.readouterr().err


def test_the_counts_are_those_of_the_networks():
    import keras

    import keras_mnv2

    for job, model in ((COCO, keras_mnv2.SSDLite()), (IMAGENET, keras_mnv2.MobileNetV2())):
        trained = sum(int(v.shape.num_elements()) for v in model.trainable_variables)
        assert dataclasses.asdict(job)["parameters"] == trained
        kind = keras.layers.BatchNormalization
        assert sum(isinstance(layer, kind) for layer in model.layers) == job.normalizations
