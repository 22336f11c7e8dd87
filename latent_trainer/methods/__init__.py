"""Methods: what is learned. Presets of published methods, and the parts they are combined from."""
