"""One file a verb of the command line: put the pieces together, print, write files."""
