"""Pre-trained models: families, sources, preprocessing, saving and loading."""
