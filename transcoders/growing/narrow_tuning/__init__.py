"""A narrow tuning that spreads: judgements about one topic answered wrongly, or rightly."""
