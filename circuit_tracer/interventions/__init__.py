"""Change features and see what the model does: ablate, clamp, steer (method.md section 7)."""
