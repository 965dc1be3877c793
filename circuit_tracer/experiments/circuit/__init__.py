"""How little of a model is enough for an answer: sufficient circuits (method.md section 14)."""
