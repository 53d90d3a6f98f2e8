"""Shards to batches to a trained network and its error; the only package with torch."""
