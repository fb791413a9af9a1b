"""A call to a language model passes through a stack of layers."""

__all__ = ["__version__"]

__version__ = "0.1.0"
