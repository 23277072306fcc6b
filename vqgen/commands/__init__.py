"""The commands of vqgen, one module each. A command parses arguments, calls other rooms, prints and writes files."""
