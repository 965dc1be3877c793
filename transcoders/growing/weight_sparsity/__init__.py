"""Few weights other than zero: matrices of which only the largest entries are kept."""
