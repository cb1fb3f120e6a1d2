"""Several runs that differ in a few options: which they are, and running them one by one."""

from trustee_jax.sweep.space import SweepError, product, variant

__all__ = ["SweepError", "product", "variant"]
