"""The page in the browser: generate, compress, edit, look at codes and at runs. `vqgen app` serves it."""
