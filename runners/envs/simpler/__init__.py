"""SIMPLER on SAPIEN 3: the original simulator's recipe, robot, tasks and rules, measured against its recordings.

A physics scene is built anew for every episode, without a renderer; pictures come from a second scene that holds the
visual meshes alone and exists only once a camera has been asked for.
"""
