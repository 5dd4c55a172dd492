"""Data sets, as TFDS builders."""
