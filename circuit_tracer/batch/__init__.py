"""Many prompts into one store: prompt files, the run store, shards and summaries."""
