"""Training of the embedded models. Needs torch and numpy; no simulator, so that it runs on a bare GPU machine."""
