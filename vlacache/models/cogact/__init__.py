"""CogACT: a Prismatic VLM whose last hidden state conditions a diffusion transformer over action chunks."""
