"""Evaluation: generated answers, graded, with standard errors."""
