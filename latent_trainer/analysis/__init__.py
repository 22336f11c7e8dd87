"""Looking at latents: probes and figures."""
