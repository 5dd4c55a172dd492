"""Semantic segmentation with Mobile DeepLabv3."""
