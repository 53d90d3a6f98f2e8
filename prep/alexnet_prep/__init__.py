"""Official archives to shards and statistics; never imports torch."""
