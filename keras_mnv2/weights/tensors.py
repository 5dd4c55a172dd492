"""What every reader returns: tensors by name, of which nothing is read before it is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

# A file cannot make us allocate more than this for one tensor. The largest one of the family is
# the classifier at alpha 1.4 with 1.8 million numbers.
MAX_TENSOR_ELEMENTS = 64 * 2**20
MAX_TENSORS = 20_000


class WeightsError(ValueError):
    """A weight file that cannot be read, or does not fit the model; says what to do."""


@dataclass(frozen=True)
class NamedTensors:
    """Tensors of a weight file by the names that the file gives them.

    Attributes:
        source: the path, for messages.
        format: what kind of file it is, for people.
        shapes: shape of every tensor.
        fetch: reads one tensor by its name.
        input_size: (height, width) of the network's input where the file tells it.
        output_stride: at which a frozen graph computes its backbone's features, else None.
        is_frozen: whether freezing chose between variables and their moving averages.
        close: releases the file.
    """

    source: str
    format: str
    shapes: Mapping[str, tuple[int, ...]]
    fetch: Callable[[str], np.ndarray]
    input_size: tuple[int, int] | None = None
    output_stride: int | None = None
    is_frozen: bool = False
    close: Callable[[], None] = lambda: None

    def __post_init__(self) -> None:
        if len(self.shapes) > MAX_TENSORS:
            raise WeightsError(f"{self.source}: holds {len(self.shapes)} tensors, far too many")

    def read(self, name: str) -> np.ndarray:
        """Returns tensor `name` as finite float32 numbers of the announced shape.

        Raises:
            WeightsError: if the file does not hold what its own directory announces.
        """
        shape = self.shapes[name]
        elements = math.prod(shape)
        if elements > MAX_TENSOR_ELEMENTS:
            raise WeightsError(
                f"{self.source}: {name} announces {elements:,} numbers, more than any network of "
                f"this family has (limit {MAX_TENSOR_ELEMENTS:,}); the file is damaged"
            )
        try:
            array = np.asarray(self.fetch(name), "float32")
        except WeightsError:
            raise
        except Exception as error:
            raise WeightsError(
                f"{self.source}: cannot read {name} ({_first_line(error)}); the file is damaged, "
                "get it again"
            ) from error
        if array.shape != shape:
            raise WeightsError(
                f"{self.source}: {name} announces the shape {shape} and has {array.shape}; the "
                "file is damaged, get it again"
            )
        if not np.isfinite(array).all():
            raise WeightsError(
                f"{self.source}: {name} holds numbers that are not finite; the file is damaged, "
                "or its training diverged"
            )
        return array


def _first_line(error: Exception) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
