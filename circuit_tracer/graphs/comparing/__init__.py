"""Two graphs side by side: aligned positions, overlap, a merged graph."""
