"""Any file into rows: `decode.open_file` finds out what it is and hands it to the module of its format.

Runs inside the decoding process (isolated/), with no care for crashes.
"""
