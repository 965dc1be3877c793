"""Questions about models, a folder each: what is asked, measured, concluded and reported."""
