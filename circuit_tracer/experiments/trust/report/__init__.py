"""The trust report for the terminal and as a figure."""
