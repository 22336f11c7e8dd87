"""What makes a rollout fast and changes no result."""
