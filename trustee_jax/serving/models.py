"""What is served under which name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from trustee_jax.chat import ChatFormat
from trustee_jax.engine import Engine, Role, Sampling
from trustee_jax.serving.errors import ApiError


@dataclass(frozen=True, eq=False)
class ServedModel:
    """One name that clients may ask for.

    Attributes:
      name: The name.
      engine: What answers.
      role: As whom: "policy" with the adapter, "simulator" the base of the same engine.
      format: Chat format.
      max_length: Longest context, in tokens.
      thinking: Whether it thinks where a request does not say.
      sampling: Of requests that do not say.
      fingerprint: Of its weights.
    """

    name: str
    engine: Engine
    role: Role
    format: ChatFormat
    max_length: int
    thinking: bool
    sampling: Sampling
    fingerprint: str


class ServedModels(Mapping[str, ServedModel]):
    """The models by name; the first is the one that the server was started for."""

    def __init__(self, models: Sequence[ServedModel]) -> None:
        """Takes models of distinct names."""
        self._models = {model.name: model for model in models}

    def __getitem__(self, name: str) -> ServedModel:
        """The model of a name.

        Raises:
          ApiError: There is none.
        """
        try:
            return self._models[name]
        except KeyError:
            known = ", ".join(map(repr, self._models))
            raise ApiError(
                404,
                f"the model {name!r} does not exist: this server has {known}",
                code="model_not_found",
                param="model",
            ) from None

    def __contains__(self, name: object) -> bool:
        """Whether there is one of that name."""
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._models)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._models)

    @property
    def engines(self) -> list[Engine]:
        """Each engine once."""
        return list(dict.fromkeys(model.engine for model in self._models.values()))
