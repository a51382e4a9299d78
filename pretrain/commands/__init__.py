"""The words that follow `launch.py`: a config, report, table, store."""
