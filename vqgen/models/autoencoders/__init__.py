"""The baselines: autoencoders whose latents are one vector."""
