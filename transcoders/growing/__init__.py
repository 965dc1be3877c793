"""What the scripts of the bundled models share: a language, its examination, training, cards."""
