"""Puts this folder on the module path, for the helpers that the tests of all formats share."""
