"""How large an imported tool may be."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds of one tool; ten tools and a dialogue have to fit a prompt.

    Attributes:
      parameters: most top-level parameters; a function with more is dropped.
      bytes: most bytes of the parameters as JSON; a function with more is dropped.
      depth: levels of objects and lists below the parameters at which a reader cuts schemas that
        it has to build (OpenAPI, BFCL); it cuts earlier where `bytes` would be exceeded.
      description: characters at which a tool's description is cut.
      parameter_description: characters at which a reader cuts the description of a parameter.
    """

    parameters: int = 30
    bytes: int = 6000
    depth: int = 4
    description: int = 1000
    parameter_description: int = 200
