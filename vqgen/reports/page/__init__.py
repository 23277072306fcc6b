"""The page of a run: one file of HTML, built from plain data by templates. Nothing here reads a run folder."""
