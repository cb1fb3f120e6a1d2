"""The string formats that llguidance holds, as patterns.

They are followed while an answer is written, to know how it can end; what is allowed is decided by
llguidance. Sources: RFC 3339 (times), 5321 (mailboxes), 1123 (host names), 4291 (IPv6), 4122
(UUIDs), 3986 (URIs).
"""

from __future__ import annotations


def _any(*alternatives: str) -> str:
    return f"(?:{'|'.join(alternatives)})"


def _units(*letters: str) -> str:
    """Numbers with units in descending order without gaps, from any unit on: 1H2M, 2M, 2M3S."""
    chains = []
    chain = ""
    for letter in reversed(letters):
        chain = f"[0-9]+{letter}" + (f"(?:{chain})?" if chain else "")
        chains.append(chain)
    return _any(*chains)


_HOUR = "(?:[01][0-9]|2[0-3])"
_DATE = "[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])"
_TIME = rf"{_HOUR}:[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?(?:[zZ]|[+-]{_HOUR}:[0-5][0-9])"
_DATE_UNITS, _TIME_UNITS = _units("Y", "M", "D"), f"T{_units('H', 'M', 'S')}"
_DURATION = "P" + _any(f"{_DATE_UNITS}(?:{_TIME_UNITS})?", _TIME_UNITS, "[0-9]+W")

_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = rf"(?:{_OCTET}\.){{3}}{_OCTET}"
_ATOM = r"[a-zA-Z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_SHORT_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = rf"{_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}(?:\.{_LABEL})*|\[{_IPV4}\])"

_GROUP = "[0-9a-fA-F]{1,4}"
_GAPS = [f"(?:{_GROUP}:){{1,{7 - k}}}(?::{_GROUP}){{1,{k}}}" for k in range(1, 7)]
_IPV6 = _any(
    *(f"(?:{_GROUP}:){{7}}{_GROUP}", f"(?:{_GROUP}:){{1,7}}:", *_GAPS),
    *(f":(?::{_GROUP}){{1,7}}", "::"),
)


def _uri() -> str:
    unreserved, encoded = r"a-zA-Z0-9\-._~!$&'()*+,;=", "%[0-9a-fA-F]{2}"
    segment = f"(?:[{unreserved}:@]|{encoded})"
    bracketed = _any(_IPV6, rf"v[0-9a-fA-F]+\.[{unreserved}:]+")
    host = _any(rf"\[{bracketed}\]", f"(?:[{unreserved}]|{encoded})*")
    authority = f"(?:(?:[{unreserved}:]|{encoded})*@)?{host}(?::[0-9]*)?"
    path = _any(
        f"//{authority}(?:/{segment}*)*", f"/(?:{segment}+(?:/{segment}*)*)?", f"{segment}+"
    )
    path = _any(path, f"{segment}+(?:/{segment}*)*", "")
    tail = f"(?:[{unreserved}:@/?]|{encoded})*"
    return rf"[a-zA-Z][a-zA-Z0-9+\-.]*:{path}(?:\?{tail})?(?:#{tail})?"


# "unknown" is one that llguidance has, for any string.
PATTERNS = {
    name: f"^{pattern}$"
    for name, pattern in {
        "date-time": f"{_DATE}[tT]{_TIME}",
        "time": _TIME,
        "date": _DATE,
        "duration": _DURATION,
        "email": _EMAIL,
        "hostname": rf"{_SHORT_LABEL}(?:\.{_SHORT_LABEL})*",
        "ipv4": _IPV4,
        "ipv6": _IPV6,
        "uuid": "-".join(f"[0-9a-fA-F]{{{n}}}" for n in (8, 4, 4, 4, 12)),
        "uri": _uri(),
        "unknown": r"[\s\S]*",
    }.items()
}
