"""Problems that are generated, from a seed."""
