"""What a trust report measures, one question a file."""
