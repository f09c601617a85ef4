"""What a run says of itself: its log, and the views on it (HTML, TensorBoard, terminal).

Every view takes the log's lines through `add(line)`, as dictionaries in the form that log.py describes, so that a run drawn
live and one read from its file look alike.
"""
