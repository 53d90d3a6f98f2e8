"""Official archives to shards and statistics; never imports torch.

from alexnet_prep.statistics import compute_stats
stats = compute_stats(["shards/train-*.tar"], Path("shards/stats.npz"), 2, lambda done, total: None)
print(stats.rgb_mean, stats.eigenvalues)
"""

# Names for other rooms, and the modules that they may import from; everything else is private to the room.
__all__ = ["pipeline", "statistics", "verify"]
