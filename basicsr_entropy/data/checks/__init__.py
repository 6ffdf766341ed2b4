"""Checks of paired datasets: measurements of the images, findings, reports."""
