"""What a grown model is asked, and how its answers are counted."""
