"""Rows into any file: `encode.save` plans what fits, hands the rows to the module of the format, and checks the result."""
