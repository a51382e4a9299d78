"""Run directories: their files, tables and measures, and the stages that they hold."""
