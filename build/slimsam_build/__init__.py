"""From a checkpoint of Segment Anything to gated artifacts in a Triton model repository.

checkpoints   load one: from the hub, from a directory, or the bundled demo
convert       convert one of the original SAM or SlimSAM code
graphs        encoder and decoder over its weights
targets       the table of Triton's runtimes; export of the graphs for each
parity        the gate: artifacts beside `SamModel`
pipeline      all of it: `build`
repository    the model repository, and `check`, which looks after what was built
"""
