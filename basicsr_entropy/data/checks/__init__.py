"""What is wrong with a set of pairs: measurements, findings, reports."""
