"""The stages of a run, each a function of a `RunContext`; `vqgen.stages.run` calls them in order."""
