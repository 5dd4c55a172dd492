"""Puts this folder on the module path, for the helpers that tests of all tasks share."""
