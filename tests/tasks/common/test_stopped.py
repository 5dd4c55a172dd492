"""The line of an error that a person wants to read."""

from __future__ import annotations

import pytest

from tasks.common.stopped import first_line

INSIDE_FIT = """Graph execution error:

Detected at node IteratorGetNext defined at (most recent call last):
  File "train.py", line 1, in <module>

/data/train.tfrecord-00000-of-00001; No such file or directory
\t [[{{node IteratorGetNext}}]] [Op:__inference_multi_step_on_iterator_11]"""

SEVERAL = """2 root error(s) found.
  (0) NOT_FOUND:  /data/a; No such file or directory
\t [[{{node ReadFile}}]]
\t [[IteratorGetNext]]
  (1) NOT_FOUND:  /data/a; No such file or directory"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("/run/x.index; No space left on device", "/run/x.index; No space left on device"),
        (INSIDE_FIT, "/data/train.tfrecord-00000-of-00001; No such file or directory"),
        (SEVERAL, "NOT_FOUND:  /data/a; No such file or directory"),
        ("corrupted record at 12 [[{{node ReadFile}}]]", "corrupted record at 12"),
        ("first\nsecond", "first"),
        (
            "{{function_node __wrapped__SaveV2_dtypes_2}} /x; No space left [Op:SaveV2] name: ",
            "/x; No space left",
        ),
        ("", ""),
    ],
)
def test_the_line_that_tells_what_happened(text, line):
    assert first_line(text) == line
