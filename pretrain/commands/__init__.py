"""The words that follow `launch.py`: run, report, table, store."""
