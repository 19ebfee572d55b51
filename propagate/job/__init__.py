"""The main job: clips to a plan, a plan to shards, wherever the engine puts the work."""
