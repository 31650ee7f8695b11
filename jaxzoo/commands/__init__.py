"""The command lines, a file for each verb."""
