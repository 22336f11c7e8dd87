"""What makes a rollout fast and changes no result; the plain path (``fast=False``) runs none of it."""
