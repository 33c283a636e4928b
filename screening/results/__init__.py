"""What is read from a run: rankings, ledgers, reports, explanations."""
