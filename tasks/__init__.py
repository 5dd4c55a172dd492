"""Applications of keras_mnv2: `python -m tasks.<task>.<verb> --help`."""

import os

# TensorFlow's start-up notes about the machine would bury our own lines; its errors arrive as
# exceptions all the same.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
