"""Many transcripts: a verdict on each by written rules, and how often they are right."""
