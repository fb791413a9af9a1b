"""``python -m llmstack`` is the command line."""

from llmstack.cli import main


main(prog_name="llmstack")
