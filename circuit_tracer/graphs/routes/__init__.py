"""Routes through a graph: the k best signed paths, through features and through heads."""
