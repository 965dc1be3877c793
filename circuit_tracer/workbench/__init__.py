"""What a person does in one go: open a model with its dictionary, trace into a folder, look at it.

Each is one call: `opening.open_pair`, `tracing.trace_into`, `opening.reopen`, `drawing.graph_svg`,
`viewing.write_page`, `index_pages.run_pages`, `serving.serving`, `pruning.prune_folder`,
`folders.export_graph`, `feature_edits.steer_prompts`, `dissociating.EXPERIMENT.into`,
`health.checks`. The command line only parses, calls and prints.
"""
