"""The command line: one file per command or group; each parses, calls and prints."""
