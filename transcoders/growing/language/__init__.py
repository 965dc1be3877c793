"""The synthetic English of the bundled models: words, facts, sentences, tokenizer."""
