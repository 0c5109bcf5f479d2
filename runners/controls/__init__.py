"""Control policies: what a model scores when it sees nothing, or when there is no model at all."""
