"""The steps of the two-route experiment, a module each."""
