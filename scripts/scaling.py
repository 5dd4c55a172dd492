"""What long trainings cost on many accelerators, on paper: a model of a step, part by part.

    python scripts/scaling.py
    python scripts/scaling.py --images-per-second 3000 --gigabytes-per-second 12

A step takes as long as the slower of two things that run side by side, the network on each
accelerator and the input pipeline on each host, and then the exchange of the gradients, which is
counted in full although a part of it overlaps with the backward pass. Evaluations and checkpoints
come on top; what --sync-bn would add to a step is told aside. What was measured here (processor
time of the pipelines, sizes of checkpoints, the COCO evaluator) is in `JOBS` with the command that
measures it; what depends on the machines that one rents is an option. docs/scaling.md reads the
tables.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Sequence

from text_table import Table

from tasks.common.command_line import option

ACCELERATORS = (1, 8, 32, 256)


@dataclasses.dataclass(frozen=True)
class Job:
    """A training, and what was measured of it.

    Attributes:
        title: for the table.
        images: shown to the network in the whole training.
        batch_size: of all accelerators together, or None for `replica_batch` each.
        replica_batch: of one accelerator, where that is what a recipe fixes.
        largest_batch: beyond which the recipe is not known to reach its figure.
        parameters: that are trained; their gradients are float32.
        normalizations: layers of the network.
        input_ms: processor time of the input pipeline for an image, by
            `scripts/benchmark_input.py --no-step`.
        image_kilobytes: that the pipeline reads for an image.
        checkpoint_megabytes: 4 bytes for each parameter and each value of the optimizer.
        checkpoints: in the whole training.
        evaluations: in the whole training.
        evaluation_images: of one.
        evaluator_seconds: of one, by the process that counts, whatever the number of accelerators.
    """

    title: str
    images: int
    parameters: int
    normalizations: int
    input_ms: float
    image_kilobytes: float
    checkpoint_megabytes: float
    checkpoints: int
    evaluations: int
    evaluation_images: int
    evaluator_seconds: float
    largest_batch: int
    batch_size: int | None = None
    replica_batch: int | None = None


JOBS = (
    Job(
        title="SSDLite 320 on COCO, recipe coco_320: 400,000 steps of 512 images",
        images=400_000 * 512,
        batch_size=512,
        largest_batch=512,
        parameters=4_337_013,
        normalizations=76,
        input_ms=3.1,
        image_kilobytes=160,
        checkpoint_megabytes=35,
        checkpoints=800,
        evaluations=40,
        evaluation_images=5_000,
        evaluator_seconds=7,
    ),
    Job(
        title="MobileNetV2 1.0/224 on ImageNet, recipe imagenet_paper: 300 epochs, 96 a replica",
        images=300 * 1_281_167,
        replica_batch=96,
        largest_batch=8_192,
        parameters=3_504_872,
        normalizations=52,
        input_ms=2.4,
        image_kilobytes=110,
        checkpoint_megabytes=57,
        checkpoints=600,
        evaluations=300,
        evaluation_images=50_000,
        evaluator_seconds=1,
    ),
)


@dataclasses.dataclass(frozen=True)
class Machines:
    """What one rents."""

    images_per_second: float = option(2_000.0, "that one accelerator trains on")
    least_step_ms: float = option(15.0, "of an accelerator, however small its batch")
    accelerators_per_host: int = option(8, "that share the host's processor and network")
    cores_per_host: int = option(96, "for the input pipelines")
    gigabytes_per_second: float = option(3.0, "that a host sends and receives")
    hop_ms: float = option(0.05, "latency of a message between hosts")
    hop_in_host_ms: float = option(0.005, "latency of a message between accelerators of a host")
    disk_megabytes_per_second: float = option(200.0, "of writing checkpoints")


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a job takes on some accelerators; times of a step in milliseconds."""

    batch_size: int
    compute_ms: float
    input_ms: float
    exchange_ms: float
    synchronization_ms: float
    hours: float
    gigabytes_per_second: float
    aside: float

    @property
    def step_ms(self) -> float:
        return max(self.compute_ms, self.input_ms) + self.exchange_ms


def cost(job: Job, machines: Machines, accelerators: int) -> Cost:
    """The model of this file's first lines.

    Returns:
        Among others `hours` of the whole training, `gigabytes_per_second` that all pipelines
        together read, `aside`, the share of the time that is neither step nor exchange, and
        `synchronization_ms`, which --sync-bn would add to a step and none of the others counts.
    """
    batch_size = job.batch_size or job.replica_batch * accelerators
    each = batch_size / accelerators
    compute_ms = max(1e3 * each / machines.images_per_second, machines.least_step_ms)
    in_host = min(accelerators, machines.accelerators_per_host)
    # A single accelerator has its part of the host.
    cores = machines.cores_per_host * in_host / machines.accelerators_per_host
    input_ms = each * in_host * job.input_ms / cores
    hosts = math.ceil(accelerators / machines.accelerators_per_host)
    exchange_ms = 0.0
    between_hosts_ms = 2 * math.ceil(math.log2(hosts)) * machines.hop_ms
    if hosts > 1:
        # Within a host the links are so much faster that the exchange between hosts is what counts.
        sent = 2 * (hosts - 1) / hosts * 4 * job.parameters
        exchange_ms = 1e3 * sent / (1e9 * machines.gigabytes_per_second) + between_hosts_ms
    # Three sums a normalization and direction, one after the other, of next to no bytes.
    in_host_ms = 2 * math.ceil(math.log2(in_host)) * machines.hop_in_host_ms
    synchronization_ms = 6 * job.normalizations * (between_hosts_ms + in_host_ms)
    step_ms = max(compute_ms, input_ms) + exchange_ms
    steps = job.images / batch_size
    # The network alone is about three times as fast as a training step.
    evaluation = job.evaluation_images / (3 * machines.images_per_second * accelerators)
    checkpoint = job.checkpoint_megabytes / machines.disk_megabytes_per_second
    aside = job.evaluations * (evaluation + job.evaluator_seconds) + job.checkpoints * checkpoint
    seconds = steps * step_ms / 1e3 + aside
    return Cost(
        batch_size=batch_size,
        compute_ms=compute_ms,
        input_ms=input_ms,
        exchange_ms=exchange_ms,
        synchronization_ms=synchronization_ms,
        hours=seconds / 3600,
        gigabytes_per_second=batch_size * job.image_kilobytes / 1e6 / (step_ms / 1e3),
        aside=aside / seconds,
    )


def table(job: Job, machines: Machines) -> Table:
    """A row for each of `ACCELERATORS`."""
    alone = cost(job, machines, 1)
    rows = []
    for accelerators in ACCELERATORS:
        found = cost(job, machines, accelerators)
        faster = alone.hours / found.hours
        rows.append(
            (
                accelerators,
                f"{found.batch_size}{' (!)' if found.batch_size > job.largest_batch else ''}",
                f"{found.compute_ms:.1f}",
                f"{found.input_ms:.1f}",
                f"{found.exchange_ms:.1f}",
                f"{found.synchronization_ms:.0f}",
                f"{found.hours:.1f}",
                f"{faster:.1f}",
                f"{faster / accelerators:.0%}",
                f"{found.gigabytes_per_second:.2f}",
                f"{found.aside:.0%}",
            )
        )
    header = (
        *("accelerators", "batch", "network ms", "input ms", "exchange ms", "sync BN ms"),
        *("hours", "times as fast", "of ideal", "GB/s read", "aside"),
    )
    cores = machines.images_per_second * job.input_ms / 1e3
    notes = [
        f"an accelerator at full pace asks for {cores:.1f} cores of input",
        f"a step exchanges {4 * job.parameters / 1e6:.1f} MB of gradients",
        f"sync BN: what --sync-bn would add to it, {job.normalizations} times six waits",
        "aside: share of evaluations and checkpoints",
    ]
    if job.replica_batch:
        notes.append(f"(!): beyond {job.largest_batch}, more than linear scaling is known to bear")
    return Table(job.title, header, rows, notes)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for field in dataclasses.fields(Machines):
        parser.add_argument(
            f"--{field.name.replace('_', '-')}",
            type=type(field.default),
            default=field.default,
            help=f"{field.metadata['help']} [{field.default:g}]",
        )
    parser.add_argument("--markdown", action="store_true", help="print Markdown tables")
    options = vars(parser.parse_args(arguments))
    markdown = options.pop("markdown")
    for name, value in options.items():
        if not value > 0:
            parser.error(f"--{name.replace('_', '-')} must be above 0")
    print("\n\n".join(table(job, Machines(**options)).text(markdown) for job in JOBS))


if __name__ == "__main__":
    main()
