"""What a client is told that cannot be served, in OpenAI's form."""

from __future__ import annotations

from typing import Any

NO_ROOM = "max_tokens_too_small"
"""Code of an error: the tokens that are left may not hold what an answer is held to."""


class ApiError(Exception):
    """An answer that is an error.

    Attributes:
      status: Of HTTP.
      message: What is wrong and what to do, for a reader.
      code: For a program; None where the status says it all.
      param: The field of the request that is wrong; None if it is none.
      retry_after: Seconds after which to try again; None where that is of no use.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        """Takes what the client is told."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.code = code
        self.param = param
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """OpenAI's name of the kind of error."""
        if self.status == 401:
            return "authentication_error"
        if self.status == 429:
            return "rate_limit_error"
        return "invalid_request_error" if self.status < 500 else "server_error"

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the answer besides the usual ones."""
        if self.status == 401:
            return {"WWW-Authenticate": "Bearer"}
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}

    def body(self) -> dict[str, Any]:
        """The answer's body."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


def bad_request(message: str, param: str | None = None, code: str | None = None) -> ApiError:
    """A request that can never be served as it is."""
    return ApiError(400, message, code=code, param=param)
