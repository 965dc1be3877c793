"""What every experiment needs: prompts with roles, passes, edits, stages on disk, statistics."""
