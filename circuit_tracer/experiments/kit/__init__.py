"""What every experiment needs: passes with edits, stages on disk, bootstrap intervals."""
