"""The bundled models, a folder each, and `growing`, what their scripts share."""
