"""What can go wrong in a build.

BuildError
├── CheckpointError    the checkpoint cannot be had, or is not one that this serves
├── TargetError        a target cannot do what was asked of it
├── RepositoryError    the model repository is not one
└── ParityError        an artefact does not compute what `SamModel` computes
"""

from __future__ import annotations


class BuildError(Exception):
    """A build failed; the message says what was expected, what was found and what to do."""


class CheckpointError(BuildError):
    """The checkpoint cannot be had, or is not one that this project serves."""


class TargetError(BuildError):
    """A target cannot do what was asked of it."""


class RepositoryError(BuildError):
    """The directory is not a SlimSAM model repository."""


class ParityError(BuildError):
    """An artefact does not compute what `SamModel` computes."""
